"""Read arrays out of ZIP and NPZ archives, fast.

The archive's directory is parsed once into flat arrays, members are inflated where they will be
used, and the unit of work is a batch.

>>> import fastzip
>>> npz = fastzip.load("training.npz")        # doctest: +SKIP
>>> batch = npz.fetch(["ix-000007", "ix-000001"])  # doctest: +SKIP
"""

from importlib.metadata import version as _version
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
    raise ImportError(
        "fastzip's native core isn't built here; if this is its source folder, work from another "
        "one, or run: pip install -e ."
    ) from _exc

from fastzip._codecs import engines
from fastzip._fetch import trim
from fastzip._groups import Groups, group
from fastzip._load import load
from fastzip._npy import ArraySpec
from fastzip._patch import patch_numpy, unpatch_numpy
from fastzip._threads import get_num_threads, set_num_threads
from fastzip.archive import Path, ZipFile
from fastzip.errors import (
    BadZipFile,
    CRCError,
    LimitError,
    PasswordError,
    TruncatedError,
    UnsupportedError,
)
from fastzip.loader import Loader
from fastzip.npz import NpzFile

__version__ = _version("fastzip-reader")

__all__ = [
    "ZIP_BZIP2",
    "ZIP_DEFLATED",
    "ZIP_LZMA",
    "ZIP_STORED",
    "ArraySpec",
    "BadZipFile",
    "CRCError",
    "Groups",
    "LargeZipFile",
    "LimitError",
    "Loader",
    "NpzFile",
    "Path",
    "PasswordError",
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
    "patch_numpy",
    "set_num_threads",
    "trim",
    "unpatch_numpy",
]
