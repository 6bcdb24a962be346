"""The contracts of others: `numpy.load` and `zipfile.ZipFile`, kept to the letter.

What differs from NumPy and `zipfile` stands in ``docs/drop-in.md``. `reader_of` is how other
rooms reach what reads an archive that a user has opened.
"""

from fastzip._dropin.access import check_open, header_limit_of, info_at, reader_of
from fastzip._dropin.archive import Path, ZipFile
from fastzip._dropin.loading import load, open_npz
from fastzip._dropin.npz import NpzFile
from fastzip._dropin.patch import patch_numpy, unpatch_numpy

__all__ = [
    "reader_of",
    "info_at",
    "header_limit_of",
    "check_open",
    "NpzFile",
    "Path",
    "ZipFile",
    "load",
    "open_npz",
    "patch_numpy",
    "unpatch_numpy",
]
