"""A file out of the page cache, and the proof that it is.

`posix_fadvise(DONTNEED)` asks the kernel to drop a file's clean pages that nobody has mapped. What
the disk, its controller or the host of a virtual machine keep in their own memory stays there: cold
means "not in this system's memory", no more. Where pages stay (tmpfs, some network file systems)
nothing cold is measured.
"""

import ctypes
import mmap
import os

import numpy as np

MOST_LEFT = 0.02  # of a file's pages: others may read it as well
_LIBC = ctypes.CDLL(None, use_errno=True)


class StaysCached(Exception):
    """The file can't be had cold here."""


def cached(path: str) -> float:
    """Which part of the file's pages is in memory, by `mincore`, which reads none of them."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return 0.0
        with mmap.mmap(file.fileno(), size, prot=mmap.PROT_READ) as mapped:
            pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
            start = np.frombuffer(mapped, np.uint8)
            failed = _LIBC.mincore(
                ctypes.c_void_p(start.ctypes.data),
                ctypes.c_size_t(size),
                ctypes.c_void_p(pages.ctypes.data),
            )
            del start  # a mapping that is looked at can't be closed
    if failed:
        raise StaysCached("this system doesn't tell what is in the page cache")
    return float((pages & 1).mean())


def drop(path: str) -> None:
    """Drop the file's pages; StaysCached if they don't go."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)  # pages that wait to be written stay
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    left = cached(path)
    if left > MOST_LEFT:
        raise StaysCached(f"{left:.0%} of the file stay in the page cache")
