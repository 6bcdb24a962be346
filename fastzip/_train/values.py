"""What stands beside an archive, by position: row i of it belongs to sample i.

What is in memory already becomes an array once, whatever its own index says: a pandas Series that
was sorted or sampled is indexed by labels, and those aren't positions. What reads its rows when it
is asked stays as it is, and is read in ascending order, each row once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from fastzip._signals import let_pass

Positions: TypeAlias = npt.NDArray[np.int64]

_COUNTED: Final = (
    *("first", "second", "third", "fourth", "fifth"),
    *("sixth", "seventh", "eighth", "ninth", "tenth"),
)
_TEXT_MOST: Final = 256 << 20
"""Bytes: text that NumPy's strings of one width would take more for stays Python's."""
_EXACT: Final = 1 << 53
"""Integers above this aren't what they were once they are floats."""
_IN_MEMORY: Final = ("__array_interface__", "__array_struct__", "__dlpack__")
OTHER_FILES: Final = (
    *(".npy", ".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".feather", ".xlsx"),
    *(".h5", ".hdf5", ".pt", ".pkl"),
)
"""Endings of files that hold labels and are no archives."""


def place(number: int) -> str:
    """Which source is meant, for messages: number 0 is the first source."""
    return f"the {_COUNTED[number]} source" if number < len(_COUNTED) else f"source {number + 1}"


class Lazy:
    """Rows of a file, or of anything else that reads them when it is indexed."""

    def __init__(self, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.array, self.shape, self.dtype = array, shape, dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Positions) -> npt.NDArray[Any]:
        """These rows, in this order. HDF5 takes ascending positions only, each once."""
        if not len(rows):
            return np.empty((0, *self.shape[1:]), self.dtype)
        ascending, places = np.unique(rows, return_inverse=True)
        first, last = int(ascending[0]), int(ascending[-1])
        if last - first + 1 == len(ascending):
            found = self.array[first : last + 1]
        elif hasattr(self.array, "oindex"):  # Zarr: along the first axis
            found = self.array.oindex[ascending]
        else:
            found = self.array[ascending]
        found = found if isinstance(found, np.ndarray) else np.asarray(found)
        if found.shape[:1] != ascending.shape:
            raise ValueError(
                f"{type(self.array).__name__} gave an array of shape {found.shape} for "
                f"{len(ascending)} positions"
            )
        same = len(ascending) == len(rows) and bool((places[1:] > places[:-1]).all())
        return found if same else found[places]


Array: TypeAlias = "npt.NDArray[Any] | Lazy"


class Values:
    """One value for each sample: the rows of an array, all or those that keys chose."""

    def __init__(self, array: Array, rows: Positions | None = None) -> None:
        self.array, self.rows = array, rows

    def __len__(self) -> int:
        return len(self.array) if self.rows is None else len(self.rows)

    def __repr__(self) -> str:
        return f"{len(self)} of {self.array.dtype}{list(self.array.shape)}"

    def chosen(self, samples: Positions) -> Positions:
        """Where in the array these samples' rows are."""
        return samples if self.rows is None else self.rows[samples]


def values_of(given: Any, what: str) -> Values:
    """What was given beside an archive, or a tuple of it and its keys; TypeError, naming the place
    `what`, if it has no value for each position."""
    if not isinstance(given, tuple):
        return Values(_array_of(given, what))
    if len(given) != 2:
        raise TypeError(
            f"{what} is a tuple of {len(given)}; a tuple is a source and its keys, and values, one "
            "for each sample, are a list or an array"
        )
    array = _array_of(given[0], what)
    return Values(array, _rows(len(array), given[1], what))


def _rows(n: int, keys: Any, what: str) -> Positions:
    """Keys of an array of n rows: a slice, positions, or a mask."""
    if isinstance(keys, slice):
        return np.arange(n, dtype=np.int64)[keys]
    if isinstance(keys, (str, bytes)) or np.ndim(keys) != 1 or isinstance(keys, (Set, Mapping)):
        raise TypeError(f"the keys of {what} must be one-dimensional: a slice, positions, a mask")
    array = _array_of(list(keys) if isinstance(keys, tuple) else keys, f"the keys of {what}")
    chosen = array if isinstance(array, np.ndarray) else np.asarray(array.array)
    if len(chosen) and chosen.dtype.kind not in "biu":
        raise TypeError(
            f"the keys of {what} are {chosen.dtype}; those of an array are positions, a mask, or a "
            "slice"
        )
    return np.arange(n, dtype=np.int64)[chosen if len(chosen) else []]


def _array_of(given: Any, what: str) -> Array:
    array = _taken(given, what)
    if isinstance(array, Lazy):
        return array
    if not array.ndim:
        raise _refusal(given, what, "that is one value")
    if array.dtype == object and array is not given:
        return _of_list(array.tolist(), given, what)
    return array


def _taken(given: Any, what: str) -> Array:
    """An array, which may still be one of Python's objects, or what stays lazy."""
    if isinstance(given, np.ndarray):
        return given
    if isinstance(given, (str, bytes, os.PathLike, Mapping, Set, Iterator)):
        raise _refusal(given, what)
    if hasattr(given, "to_numpy"):  # pandas, Polars, PyArrow, xarray
        _check_columns(given, what)
        try:
            return np.asarray(given.to_numpy())
        except Exception as exc:  # PyArrow, where that would take a copy
            let_pass(exc)
            return _converted(given, what)
    if _is_buffer(given) or any(hasattr(given, name) for name in _IN_MEMORY):
        return _converted(given, what)
    if isinstance(given, Sequence) and not hasattr(given, "shape"):
        return _of_list(list(given), given, what)
    lazy = _lazy(given) if hasattr(given, "__getitem__") else None
    if lazy is not None:
        return lazy
    if hasattr(given, "__getitem__") and not hasattr(given, "__array__"):
        return _probed(given, what)
    return _converted(given, what)


def _converted(given: Any, what: str) -> npt.NDArray[Any]:
    """What NumPy makes of it."""
    try:
        if hasattr(given, "__dlpack__") and not hasattr(given, "__array__"):
            return np.from_dlpack(given)
        array = np.asarray(given)
    except Exception as exc:  # tensors on another device, or that require grad
        let_pass(exc)
        raise _refusal(given, what, f"NumPy makes no array of it ({exc})") from exc
    if not array.ndim and array.dtype == object:
        raise _refusal(given, what)
    return array


def _is_buffer(given: Any) -> bool:
    try:
        memoryview(given).release()
    except (TypeError, ValueError, BufferError) as exc:
        let_pass(exc)
        return False
    return True


def _check_columns(given: Any, what: str) -> None:
    """The columns of a table become one array if they are of one type."""
    types = getattr(given, "dtypes", None)
    if types is None or getattr(given, "ndim", 2) == 1 or not hasattr(given, "columns"):
        return
    names = list(dict.fromkeys(map(str, types)))
    if len(names) > 1:
        kinds = ", ".join(names)
        raise _refusal(given, what, f"its columns are of several types ({kinds}); give one of them")


def _lazy(given: Any) -> Lazy | None:
    """What is indexed like an array, and isn't one in memory: of h5py, Zarr, Dask, netCDF4."""
    shape, dtype = getattr(given, "shape", None), getattr(given, "dtype", None)
    if not isinstance(shape, tuple) or not shape or dtype is None:
        return None
    try:
        return Lazy(given, tuple(map(int, shape)), np.dtype(dtype))
    except (TypeError, ValueError) as exc:
        let_pass(exc)
        return None


def _probed(given: Any, what: str) -> Lazy:
    """What has a length, and says when it is tried whether it takes an array of positions."""
    try:
        n = len(given)
        tried = np.array([0, n - 1] if n else [], np.int64)
        found = np.asarray(given[tried])
    except Exception as exc:
        let_pass(exc)
        raise _refusal(given, what, f"it can't be indexed by positions ({exc})") from exc
    if found.shape[:1] != tried.shape:
        raise _refusal(given, what, "it can't be indexed by an array of positions")
    return Lazy(given, (n, *found.shape[1:]), found.dtype)


def _of_list(values: list[Any], given: Any, what: str) -> npt.NDArray[Any]:
    """An array of what a sequence holds, if NumPy's is the same."""
    paths = (str, os.PathLike)
    if values and all(isinstance(v, paths) and _is_archive(os.fspath(v)) for v in values):
        raise TypeError(f"{what} is a list of paths; open each of them with fastzip.load")
    for text in (str, bytes):
        if values and all(isinstance(value, text) for value in values):
            return _of_text(values)
    try:
        array = np.array(values)
    except Exception as exc:
        let_pass(exc)
        raise _refusal(given, what, f"its elements make no array ({exc})") from exc
    if array.dtype.kind in "OUS":  # numbers among text become text
        leaves = np.array(values, object).ravel().tolist()
        kinds = {type(leaf) for leaf in leaves}
        if array.dtype.kind == "O" or not any(
            all(issubclass(kind, text) for kind in kinds) for text in (str, bytes)
        ):
            names = ", ".join(sorted(kind.__name__ for kind in kinds))
            raise _refusal(given, what, f"its elements make no array of numbers or text ({names})")
    rounded = array.dtype.kind == "f" and array.ndim == 1 and abs(array).max(initial=0) >= _EXACT
    if rounded and any(isinstance(value, int) and abs(value) > _EXACT for value in values):
        raise _refusal(given, what, "no integers of NumPy's hold all of its elements")
    return array


def _is_archive(path: Any) -> bool:
    return os.fsdecode(path).lower().endswith((".npz", ".zip"))


def _of_text(values: list[Any]) -> npt.NDArray[Any]:
    """Text as NumPy's strings; as Python's where those would lose NULs, or take much memory."""
    width = max(map(len, values))
    unit, nul = (4, "\0") if isinstance(values[0], str) else (1, b"\0")
    if len(values) * width * unit > _TEXT_MOST or any(value.endswith(nul) for value in values):
        return np.array(values, object)
    return np.array(values)


def _refusal(given: Any, what: str, why: str = "") -> TypeError:
    """What to say of something that isn't taken, and what to give instead."""
    if isinstance(given, (str, bytes, os.PathLike)):
        return path_refusal(given, what)
    if isinstance(given, Mapping):
        why = "values are taken by position; give [d[key] for key in npz.files] of a dict d"
    elif isinstance(given, Set):
        why = "a set has no order"
    elif isinstance(given, Iterator):
        why = "it can be gone through only once; give list(…) of it"
    kind = type(given).__name__
    article = "an" if kind[0] in "aeiouAEIOU" or kind == "ndarray" else "a"
    text = f"{what} is {article} {kind}" if given is not None else f"{what} is None"
    text += "; it takes an NpzFile, an array or list of values, or one of these and its keys as a "
    return TypeError(f"{text}tuple: {why}" if why else f"{text}tuple")


def path_refusal(path: Any, what: str) -> TypeError:
    """The same of a path: how to give what is in the file."""
    name = os.fsdecode(path)
    ending = os.path.splitext(name)[1].lower()
    if ending == ".npy":
        instead = f"give numpy.load({name!r}), or with mmap_mode='r' as the second argument"
    elif ending in (".h5", ".hdf5"):
        instead = f"give the data set: h5py.File({name!r})[name]"
    elif ending in OTHER_FILES:
        instead = "give the values in it: a list, or a column of what pandas or Polars reads"
    else:
        instead = "open it with fastzip.load, and give the archive, or one of its arrays"
    return TypeError(f"{what} is a path, {name!r}; {instead}")
