"""Which members are meant: names and positions, one or many, by one rule for every call.

Of a name that isn't there the exception knows which one may have been meant, but looks for it only
when it is shown: programs that try a name and catch the `KeyError` don't pay for it.
"""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Collection, Iterable, Iterator, MappingView, Sequence, Set
from functools import partial
from itertools import islice
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _core, errors
from fastzip._signals import let_pass
from fastzip._zip.index import Index
from fastzip._zip.suggest import nearest

Positions = npt.NDArray[np.int64]

_PIECE: Final = 4096
_SHOWN: Final = 3
_REPR: Final = reprlib.Repr()  # whatever a key's own repr does
_REPR.maxstring = _REPR.maxother = 80  # of a name's 65,535 characters
_TRUTHS: Final = frozenset((bool, np.bool_))


# ---- one member, or many -----------------------------------------------------------------------


def position_number(key: Any, n: int) -> int:
    """A position that counts from the front, out of one that may count from the end."""
    if isinstance(key, (bool, np.bool_)):
        raise TypeError(f"a key must be a name or a position, not {type(key).__name__}")
    try:
        position = operator.index(key)
    except TypeError as exc:
        let_pass(exc)
        kind = type(key).__name__
        raise TypeError(f"a key must be a name or a position, not {kind}") from None
    if not -n <= position < n:
        raise _out_of_range(position, n)
    return position + n if position < 0 else position


def position_of(index: Index, key: Any) -> int:
    """The position of one member: a name as NumPy means it, or a position."""
    if not isinstance(key, str):
        return position_number(key, len(index))
    position = index.directory.find_key(str.__str__(key))  # NumPy's strings are others
    if position < 0:
        raise no_key(index, key)
    return position


def chosen_keys(keys: Any, n: int, what: str = "keys") -> Positions | list[Any]:
    """Positions, out of a slice, a mask, or a sequence of positions; where there may be something
    else among the keys, such as names, a list of them as they are."""
    if isinstance(keys, slice):
        return np.arange(*keys.indices(n), dtype=np.int64)
    if type(keys) is not np.ndarray and not isinstance(keys, (list, tuple, range)):
        check_order(keys, what)
        keys = np.asarray(keys) if hasattr(keys, "__array__") else list(keys)
    if isinstance(keys, (list, tuple)):
        kinds = set(map(type, keys))
        named = any(issubclass(kind, str) for kind in kinds)
        if named or (len(kinds) > 1 and not kinds <= _TRUTHS):
            return list(keys)
    array = np.asarray(keys)
    if array.ndim != 1:
        if not array.ndim:
            check_order(array, what)
        raise TypeError(f"{what} must be one-dimensional, not of shape {array.shape}")
    if len(array) == 0:
        return np.empty(0, np.int64)
    if array.dtype.kind == "b":
        if len(array) != n:
            raise IndexError(f"the boolean mask has {len(array)} elements for {n} members")
        return np.flatnonzero(array)
    if array.dtype.kind in "UTO":
        return (
            list(keys) if isinstance(keys, (list, tuple)) else chosen_keys(array.tolist(), n, what)
        )
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what} must be names, positions or a boolean mask, not {array.dtype}")
    if array.dtype.kind == "u" and array.max() >= 1 << 63:
        raise _out_of_range(int(array.max()), n)
    positions = array.astype(np.int64)  # a copy: negative ones are replaced
    bad = _core.from_front(positions, n)
    if bad >= 0:
        raise _out_of_range(int(positions[bad]), n)
    return positions


def positions_of(index: Index, keys: Any) -> Positions:
    """Names as NumPy means them, positions, a slice or a boolean mask, as positions."""
    chosen = chosen_keys(keys, len(index))
    if not isinstance(chosen, list):
        return chosen
    positions = np.empty(len(chosen), np.int64)
    try:
        unknown = index.directory.find_all(chosen, positions, True)
    except TypeError as exc:  # not all of them are names
        let_pass(exc)
        return np.array([position_of(index, key) for key in chosen], np.int64)
    if unknown >= 0:
        raise no_key(index, chosen[unknown])
    return positions


def check_order(keys: Any, what: str) -> None:
    """Refuse what isn't several keys, and what has no order of its own."""
    if isinstance(keys, (str, bytes, bytearray)) or not _iterable(keys):
        raise TypeError(
            f"a list of {what} is wanted, not {type(keys).__name__}; for one: [{_short(keys)}]"
        )
    if isinstance(keys, Set) and not isinstance(keys, (MappingView, Sequence)):
        raise TypeError(
            f"a list of {what} is wanted, not {type(keys).__name__}, whose order differs from one "
            f"process to the next; sorted({what}) has an order"
        )


def _iterable(keys: Any) -> bool:
    return isinstance(keys, Iterable) and getattr(keys, "ndim", 1) != 0


def _out_of_range(position: int, n: int) -> IndexError:
    return IndexError(f"position {position} is out of range for an archive of {n} members")


# ---- names that aren't there -------------------------------------------------------------------


def no_key(index: Index, key: Any) -> errors.MissingKeyError:
    """What `npz[key]` raises: NumPy's text."""
    missing = errors.MissingKeyError(f"{key} is not a file in the archive")
    missing._hint = partial(_in_directory, index.directory, index.where, key, True)
    return missing


def no_member(index: Index, name: Any) -> errors.MissingKeyError:
    """What `ZipFile.getinfo` raises: `zipfile`'s text."""
    missing = errors.MissingKeyError(f"There is no item named {name!r} in the archive")
    missing._hint = partial(_in_directory, index.directory, index.where, name, False)
    return missing


def no_name(text: str, name: Any, names: Collection[str], where: str) -> errors.MissingKeyError:
    """The same for names that are kept beside an archive."""
    missing = errors.MissingKeyError(text)
    missing._hint = partial(_in_names, names, where, name)
    return missing


def _in_directory(directory: _core.Directory, where: str, key: Any, npy: bool) -> str:
    """The note for a name that isn't there. The directory keeps no file open."""
    if not isinstance(key, str):
        return _no_name_at_all(key, npy)
    has = directory.find_key if npy else directory.find
    n = len(directory)

    def names() -> Iterator[str]:
        for start in range(0, n, _PIECE):
            yield from directory.names(start, min(n, start + _PIECE), npy)

    meant = next((name for name in _variants(key) if has(name) >= 0), None)
    return _note(meant or nearest(key, names()), where, n, names(), "key" if npy else "member")


def _in_names(names: Collection[str], where: str, key: Any) -> str:
    if not isinstance(key, str):
        return _no_name_at_all(key, False)
    meant = next((name for name in _variants(key) if name in names), None)
    return _note(meant or nearest(key, names), where, len(names), iter(names), "name")


def _variants(key: str) -> tuple[str, ...]:
    """What may be written instead and is quickly looked up, however many names there are."""
    key = str.__str__(key)
    plain = key.replace("\\", "/").removeprefix("./").lstrip("/")
    return plain, f"{plain}.npy", plain.removesuffix(".npy"), f"{plain}/"


def _note(meant: str | None, where: str, n: int, names: Iterator[str], what: str) -> str:
    if meant is not None:
        return f"{where}: did you mean {_short(meant)}?"
    if n == 0:
        return f"{where} is empty"
    some = ", ".join(map(_short, islice(names, _SHOWN)))
    if n <= _SHOWN:
        return f"{where} has the {what}{'s' if n > 1 else ''} {some}"
    return f"{where} has {n:,} {what}s, such as {some}"


def _short(key: Any) -> str:
    """A key as Python writes it, and not all of a long one."""
    return _REPR.repr(str.__str__(key) if isinstance(key, str) else key)


def _no_name_at_all(key: Any, npy: bool) -> str:
    """What to write instead of a key that is no name."""
    many = "fetch" if npy else "read_many"
    if isinstance(key, bytes):
        return f"names are text: {_short(key.decode('utf-8', 'replace'))}"
    if isinstance(key, (int, np.integer)) and type(key) is not bool:
        return f"members are read by position with {many}([{operator.index(key)}])"
    if npy and isinstance(key, tuple) and len(key) > 1 and isinstance(key[0], str):
        inner = [_inner(part) for part in key[1:]]
        if "" not in inner:
            array = f"npz[{_short(key[0])}]"
            return f"an array is indexed when it has been read: {array}[{', '.join(inner)}]"
    if isinstance(key, (slice, list, tuple)):
        given = list(key) if isinstance(key, tuple) else key
        return f"several members are read with {many}({_short(given)})"
    if hasattr(key, "__array__") and not isinstance(key, np.generic):
        return f"several members are read with {many}(keys)"
    return f"names are text, not {type(key).__name__}"


def _inner(part: Any) -> str:
    """An index as it is written between brackets; empty if it is none."""
    if part is Ellipsis:
        return "..."
    if isinstance(part, slice):
        ends = ["" if end is None else _short(end) for end in (part.start, part.stop, part.step)]
        return ":".join(ends if ends[2] else ends[:2])
    return str(operator.index(part)) if isinstance(part, (int, np.integer)) else ""
