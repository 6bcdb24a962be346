"""Read arrays out of ZIP and NPZ archives, fast.

The archive's directory is parsed once into flat arrays, members are inflated where they will be
used, and the unit of work is a batch.

>>> import io, numpy as np, fastzip
>>> file = io.BytesIO()
>>> np.savez_compressed(file, **{f"ix-{i}": np.full(2, i) for i in range(4)})
>>> npz = fastzip.load(file.getvalue())  # or a path
>>> npz.fetch(["ix-3", "ix-1"])
array([[3, 3],
       [1, 1]])
"""

from zipfile import (
    ZIP_BZIP2,
    ZIP_DEFLATED,
    ZIP_LZMA,
    ZIP_STORED,
    LargeZipFile,
    ZipInfo,
    is_zipfile,
)

try:
    from fastzip import _core  # noqa: F401
except ImportError as _exc:
    from fastzip import _unbuilt

    _unbuilt.explain(_exc)

from fastzip._batch import trim
from fastzip._dropin import NpzFile, Path, ZipFile, load, open_npz, patch_numpy, unpatch_numpy
from fastzip._npy import ArraySpec
from fastzip._train import Groups, Loader, Padded, Ragged, group
from fastzip._unbuilt import version as _version
from fastzip._zip import Index, engines, get_num_threads, set_num_threads
from fastzip.errors import (
    BadZipFile,
    CRCError,
    LimitError,
    PasswordError,
    TruncatedError,
    UnsupportedError,
)

__version__ = _version()

__all__ = [
    "ZIP_BZIP2",
    "ZIP_DEFLATED",
    "ZIP_LZMA",
    "ZIP_STORED",
    "ArraySpec",
    "BadZipFile",
    "CRCError",
    "Groups",
    "Index",
    "LargeZipFile",
    "LimitError",
    "Loader",
    "NpzFile",
    "Padded",
    "Path",
    "PasswordError",
    "Ragged",
    "TruncatedError",
    "UnsupportedError",
    "ZipFile",
    "ZipInfo",
    "__version__",
    "engines",
    "get_num_threads",
    "group",
    "is_zipfile",
    "load",
    "open_npz",
    "patch_numpy",
    "set_num_threads",
    "trim",
    "unpatch_numpy",
]

for _name in __all__:
    _thing = globals()[_name]
    if getattr(_thing, "__module__", "").startswith("fastzip._"):
        _thing.__module__ = __name__  # where its users find it, whatever room it is in
