"""What kinds of headers an archive's members have: learnt once, then no read is needed for a shape.

The headers of members of different lengths differ in one number, and that follows from the member's
size, which the directory states. So all that is kept is a small integer for each member, its kind.
The fronts of members that nobody has looked at are read natively, many at once; NumPy's parser sees
one header of each kind.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from fastzip import _core, errors
from fastzip._npy.arrays import ArrayReader
from fastzip._npy.header import Header, is_native, parse
from fastzip._signals import let_pass

Positions = npt.NDArray[np.int64]

ODD: Final = -1
"""Instead of a kind: this member's header must be asked for each time."""
_UNKNOWN: Final = 0
_SHAPE: Final = b"'shape': ("
_HEADER_MOST: Final = 512
"""Longer headers make no kind: it is what the core looks at."""
_KINDS: Final = 64
"""So many kinds at most; an archive of more is no data set, and a member is compared with all."""
_PIECE: Final = 8192
"""Members that are looked at in one go."""
_WORTH_A_THREAD: Final = 64
"""Members: waking a thread takes as long as looking at some of them."""


class Kind(NamedTuple):
    """Headers that differ in the length of axis 0 alone, of members that hold just the array."""

    header: Header
    """The one that was seen first."""
    text: bytes
    """That header without the number, and without the padding at its end."""
    before: int
    """Bytes of `text` in front of the number."""
    unit: int
    """Bytes of payload for each of axis 0."""
    direct: bool
    """Is the payload, byte for byte, what a batch holds?"""

    @property
    def native(self) -> tuple[bytes, int, int, int]:
        """What the core wants to know."""
        return self.text, self.before, self.header.offset, self.unit

    def write(self, length: int) -> bytes | None:
        """The header of a member of this length; None if it would be a longer one."""
        raw = self.text[: self.before] + b"%d" % length + self.text[self.before :]
        padding = self.header.offset - 1 - len(raw)
        return None if padding < 0 else raw + b" " * padding + b"\n"

    def fits(self, header: Header, size: int) -> bool:
        """Is the header of a member of `size` bytes of this kind?"""
        shape = header.spec.shape
        whole = bool(shape) and size == header.offset + header.nbytes
        return whole and self.write(shape[0]) == header.raw


def kind_of(header: Header, size: int) -> Kind | None:
    """What kind this header is, of a member of `size` bytes; None if it belongs to no kind.

    Where in the header the number stands is proved, not guessed: with another one in its place,
    NumPy's parser must find the same array with another length."""
    spec = header.spec
    if not header.plain or not spec.shape or size != header.offset + header.nbytes:
        return None
    unit = math.prod(spec.shape[1:]) * spec.dtype.itemsize
    at = header.raw.rfind(_SHAPE) + len(_SHAPE)
    number = b"%d" % spec.shape[0]
    if not unit or header.offset > _HEADER_MOST or not header.raw.startswith(number + b",", at):
        return None
    behind = header.raw[at + len(number) : -1].rstrip(b" ")
    one_order = not spec.fortran_order or all(n == 1 for n in spec.shape[1:])
    direct = one_order and is_native(spec.dtype)
    kind = Kind(header, header.raw[:at] + behind, at, unit, direct)
    other = spec.shape[0] - 1 if spec.shape[0] > 1 else spec.shape[0] + 1
    raw = kind.write(other)
    if raw is None or not kind.fits(header, size):
        return None
    try:
        again = parse(raw, len(raw)).spec
    except ValueError as exc:
        let_pass(exc)
        return None
    return kind if again == spec._replace(shape=(other, *spec.shape[1:])) else None


class Shapes:
    """The kinds of an archive's members, as far as they are known.

    Takes 4 bytes a member. Safe to use from many threads and after a fork: there is no lock. An
    entry is written once, two threads write what means the same, and kinds are only added."""

    def __init__(self, members: int) -> None:
        self.ids = np.zeros(members, np.int32)
        """For each member 1 + its kind, `ODD`, or 0 if nobody has looked at it."""
        self.kinds: list[Kind] = []

    def find(
        self, reader: ArrayReader, positions: Positions, threads: int, max_header_size: int
    ) -> npt.NDArray[np.int32]:
        """Each member's kind, or `ODD`. Members that can't be read are odd: who asks for their
        headers is told why."""
        ids = self.ids[positions]
        if not ids.all():
            self._look(reader, np.unique(positions[ids == _UNKNOWN]), threads, max_header_size)
            ids = self.ids[positions]
        for i, kind in enumerate(self.kinds):
            said = kind.header.offset - (10 if kind.header.raw[6] == 1 else 12)
            if said > max_header_size:
                ids[ids == i + 1] = ODD
        ids[ids == _UNKNOWN] = ODD
        ids[ids > 0] -= 1
        return ids

    def lengths(
        self, reader: ArrayReader, positions: Positions, ids: npt.NDArray[np.int32]
    ) -> npt.NDArray[np.int64]:
        """Their lengths, and 0 for the odd ones."""
        heads = np.array([kind.header.offset for kind in self.kinds] + [0], np.int64)
        units = np.array([kind.unit for kind in self.kinds] + [1], np.int64)
        sizes = reader.index.rows["size"][positions].astype(np.int64)
        sizes[ids == ODD] = 0
        return np.asarray((sizes - heads[ids]) // units[ids])

    def _look(
        self, reader: ArrayReader, positions: Positions, threads: int, max_header_size: int
    ) -> None:
        """Look at the fronts of these members."""
        for start in range(0, len(positions), _PIECE):
            left = positions[start : start + _PIECE]
            while len(left):
                known = [kind.native for kind in self.kinds]
                found = np.empty(len(left), np.int32)
                wanted = min(threads, max(1, len(left) // _WORTH_A_THREAD))
                _core.find_kinds(reader.source, reader.directory, left, known, wanted, found)
                self.ids[left[found >= 0]] = found[found >= 0] + 1
                left = left[found < 0]
                for i, position in enumerate(left.tolist()):
                    if self._ask(reader, position, max_header_size):
                        left = left[i + 1 :]  # with one kind more, others may be known
                        break
                else:
                    break

    def _ask(self, reader: ArrayReader, position: int, max_header_size: int) -> bool:
        """Look at a member that is of no known kind; is its kind a new one?"""
        size = reader.directory.row(position)[1]
        try:
            header = reader.header(position, max_header_size)
        except Exception as exc:
            if not errors.is_failure(exc):
                raise
            header = None
        for i, kind in enumerate(self.kinds):  # the core doesn't read this one's method
            if header is not None and kind.fits(header, size):
                self.ids[position] = i + 1
                return False
        new = None
        if header is not None and len(self.kinds) < _KINDS:
            new = kind_of(header, size)
        if new is None:
            # Who asks for its header reads it again, each time: it may be the limit, or the disk.
            self.ids[position] = ODD
            return False
        self.kinds.append(new)
        # Another thread may have added one meanwhile, perhaps the same.
        self.ids[position] = 1 + next(i for i, kind in enumerate(self.kinds) if kind is new)
        return True


def shapes_of(reader: ArrayReader) -> Shapes:
    """What is known of this archive; made when it is asked for."""
    attributes: dict[str, Any] = reader.__dict__
    known = attributes.get("shapes")
    if known is None:
        known = attributes.setdefault("shapes", Shapes(len(reader.index)))
    shapes: Shapes = known
    return shapes
