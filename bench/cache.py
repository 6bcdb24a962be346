"""A file out of the page cache, and the proof that it is.

`posix_fadvise(DONTNEED)` asks the kernel to drop a file's clean pages that nobody has mapped. What
the disk, its controller or the host of a virtual machine keep in their own memory stays there: cold
means "not in this system's memory", no more. Where pages stay (tmpfs, some network file systems)
nothing cold is measured.
"""

import os

_PROBES = 32


class StaysCached(Exception):
    """The file can't be had cold here."""


def cached(path: str) -> int | None:
    """How many of some pages, spread over the file, are in memory; None: nobody says."""
    fd = os.open(path, os.O_RDONLY)
    try:
        size, found, one = os.fstat(fd).st_size, 0, [bytearray(1)]
        for i in range(_PROBES):
            try:
                found += os.preadv(fd, one, size * i // _PROBES, os.RWF_NOWAIT)
            except BlockingIOError:
                pass
            except OSError:
                return None
        return found
    finally:
        os.close(fd)


def drop(path: str) -> None:
    """Drop the file's pages; StaysCached if they don't go."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)  # pages that wait to be written stay
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    left = cached(path)
    if left is None:
        raise StaysCached("this file system doesn't tell what is in the page cache")
    if left > _PROBES // 8:
        raise StaysCached("the file's pages stay in the page cache")
