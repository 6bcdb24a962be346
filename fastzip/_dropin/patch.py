"""`patch_numpy`: have `numpy.load` go through fastzip, for code that can't be changed."""

from __future__ import annotations

import functools
import warnings
from types import TracebackType
from typing import Any

import numpy as np

from fastzip._dropin.loading import load, numpy_load
from fastzip._dropin.npz import NpzFile

__all__ = ["patch_numpy", "unpatch_numpy"]

_before: list[Any] = []
"""What np.load was before each patch. No lock, which a forked child could find held for ever."""


@functools.wraps(numpy_load)
def _load(*args: Any, **kwargs: Any) -> Any:
    try:
        loaded = load(*args, **kwargs)
    except ValueError as exc:
        code = getattr(exc, "code", "")
        if code == "max_buffered":
            text = f"{exc}; numpy.load reads it in its own way"
            warnings.warn(text, RuntimeWarning, stacklevel=2)
        elif code != "not_npz":
            raise
        try:
            return numpy_load(*args, **kwargs)
        except Exception as theirs:
            theirs.add_note(str(exc))
            raise theirs from None
    if isinstance(loaded, NpzFile):
        loaded.mmap_mode = None  # which has no effect on archives in NumPy
    return loaded


class _Patched:
    """What `patch_numpy` returns: leaving the ``with`` block takes the patch back, once."""

    def __init__(self) -> None:
        self._patched = True

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._patched:
            self._patched = False
            unpatch_numpy()


def patch_numpy() -> _Patched:
    """Have `numpy.load` go through `fastzip.load`, in the whole process.

    Archives are then opened as `fastzip.NpzFile`, and with them whatever calls ``np.load`` by that
    name is faster, such as `scipy.sparse.load_npz`. Names bound before, by ``from numpy import
    load``, stay NumPy's own. Every compression method that NumPy reads is read. An archive in a
    file object that `fastzip.load` would refuse to read into memory as a whole is left to NumPy's
    own reader, with a RuntimeWarning.

    Returns
    -------
    context manager
        Leaving its block takes the patch back. Calls nest: as many `unpatch_numpy` as there were
        `patch_numpy` restore what ``np.load`` was before.

    See Also
    --------
    unpatch_numpy, load

    Examples
    --------
    >>> import io, numpy as np, fastzip
    >>> file = io.BytesIO()
    >>> np.savez(file, x=np.arange(3))
    >>> _ = file.seek(0)
    >>> with fastzip.patch_numpy():
    ...     type(np.load(file))
    <class 'fastzip.NpzFile'>
    >>> _ = file.seek(0)
    >>> type(np.load(file))
    <class 'numpy.lib.npyio.NpzFile'>
    """
    _before.append(np.load)
    np.load = _load
    return _Patched()


def unpatch_numpy() -> None:
    """Take back one `patch_numpy`; the last one restores what `numpy.load` was.

    Without a patch nothing happens. If somebody else has replaced ``np.load`` in the meantime,
    theirs stays.

    See Also
    --------
    patch_numpy

    Examples
    --------
    >>> import numpy as np, fastzip
    >>> before = np.load
    >>> _ = fastzip.patch_numpy()
    >>> np.load is before
    False
    >>> fastzip.unpatch_numpy()
    >>> np.load is before
    True
    """
    if _before:
        before = _before.pop()
        if np.load is _load:
            np.load = before
