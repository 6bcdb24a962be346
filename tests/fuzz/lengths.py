"""Members of different lengths: what batches of them hold, against each member read alone.

A batch lies in memory that ends, or begins, at a page that nobody may touch; the bytes between its
members are looked at afterwards."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np
from guard import Guarded
from parts import policy

from fastzip import _core
from fastzip._npy.header import native
from fastzip._npy.kinds import shapes_of

CANARY = 0xA5
MOST_JOBS = 24


class Wanted(NamedTuple):
    """What a batch must be, if all of its members go together."""

    dtype: np.dtype[Any]
    trail: tuple[int, ...]
    arrays: list[Any]

    @property
    def lengths(self) -> list[int]:
        return [len(array) for array in self.arrays]

    def padded(self, length: int, value: Any) -> Any:
        out = np.full((len(self.arrays), length, *self.trail), value, self.dtype)
        for row, array in zip(out, self.arrays, strict=True):
            row[: len(array)] = array[:length]
        return out


def parsed(content: bytes, strict: bool) -> Any:
    """The array that a member holds, as `policy` says; None if it holds none."""
    if not content.startswith(b"\x93NUMPY"):
        return None
    try:
        true = policy.array(content, strict)
    except policy.Refused:
        return None
    if not true.payload:
        return np.empty(true.shape, true.dtype)
    order: Any = "F" if true.fortran_order else "C"
    return np.ndarray(true.shape, true.dtype, true.payload, order=order)


def wanted(contents: list[Any], strict: bool) -> Wanted | None:
    """None: a batch of these members must be refused."""
    arrays = [parsed(c, strict) if isinstance(c, bytes) else None for c in contents]
    if any(array is None or not array.ndim for array in arrays):
        return None
    dtype, trail = native(arrays[0].dtype), arrays[0].shape[1:]
    if any(native(a.dtype) != dtype or a.shape[1:] != trail for a in arrays):
        return None
    return Wanted(dtype, trail, [a.astype(dtype) for a in arrays])


def same(found: Any, array: Any, what: str) -> None:
    assert not isinstance(found, str), (what, found)
    assert (found.dtype, found.shape) == (array.dtype, array.shape), (what, found, array)
    assert found.tobytes() == array.tobytes(), what


def compare(npz: Any, keys: list[int], contents: list[Any], salt: int, outputs: Guarded) -> None:
    """Ragged and padded batches of these members, whose bytes or statuses are `contents`."""
    rng = random.Random(salt)
    expected = wanted(contents, False)
    threads = rng.choice((1, 1, 3))
    for out in (None, outputs) if expected else (None,):
        ragged(npz, keys, expected, out, rng, threads)
        padded(npz, keys, expected, out, rng, threads)
    parts(npz, keys, contents, outputs, rng, threads)


def room(outputs: Guarded | None, shape: tuple[int, ...], dtype: Any, rng: random.Random) -> Any:
    """Memory for just that; None if there is none, or none is wanted."""
    nbytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if outputs is None or not 0 < nbytes <= outputs.size:
        return None
    space = np.frombuffer(outputs.space(nbytes, rng.random() < 0.5), np.uint8)
    space[:] = CANARY
    return space.view(dtype).reshape(shape)


def ragged(
    npz: Any, keys: list[int], expected: Any, out: Any, rng: random.Random, threads: int
) -> None:
    if expected is None:
        refused(lambda: npz.fetch_ragged(keys, threads=threads))
        return
    array = np.concatenate(expected.arrays)
    out = room(out, array.shape, array.dtype, rng)
    values, offsets = npz.fetch_ragged(keys, out=out, threads=threads)
    same(values, array, "ragged")
    assert offsets.tolist() == [0, *np.cumsum(expected.lengths).tolist()]


def padded(
    npz: Any, keys: list[int], expected: Any, out: Any, rng: random.Random, threads: int
) -> None:
    if expected is None:
        refused(lambda: npz.fetch_padded(keys, threads=threads))
        return
    longest = max(expected.lengths)
    length = rng.choice((longest, longest + 3, longest // 2))
    value = 1 if expected.dtype.kind in "buifc" else 0
    array = expected.padded(length, value or np.zeros((), expected.dtype))
    out = room(out, array.shape, array.dtype, rng)
    given = {"fill_value": value, "length": length, "out": out, "threads": threads}
    if longest > length:
        refused(lambda: npz.fetch_padded(keys, **given))
    values, lengths = npz.fetch_padded(keys, truncate=True, **given)
    same(values, array, "padded")
    assert lengths.tolist() == [min(n, length) for n in expected.lengths]


def refused(call: Any) -> None:
    """It must be refused, by an error of fastzip's own."""
    try:
        found = call()
    except Exception as exc:
        if not getattr(exc, "code", None):
            raise
    else:
        raise AssertionError(f"no error, but {found}")


def parts(
    npz: Any,
    keys: list[int],
    contents: list[Any],
    outputs: Guarded,
    rng: random.Random,
    threads: int,
) -> None:
    """The core's own batch, with gaps between the members: nothing in them is changed."""
    reader = npz._reader
    shapes = shapes_of(reader)
    ids = shapes.find(reader, np.array(keys, np.int64), 1, 10_000)
    jobs = [i for i in range(len(keys)) if ids[i] >= 0]
    lengths = shapes.lengths(reader, np.array(keys, np.int64), ids)
    places, at = [], 0
    for i in jobs:
        at += rng.choice((0, 0, 0, 1, 130, 700))
        places.append(at)
        at += int(lengths[i]) * shapes.kinds[ids[i]].unit
    if not jobs or at > outputs.size:
        return
    out = np.frombuffer(outputs.space(at, rng.random() < 0.5), np.uint8)
    out[:] = CANARY
    statuses = np.empty(len(jobs), np.int32)
    _core.fetch_parts(
        *(reader.source, reader.directory, np.array([keys[i] for i in jobs], np.int64)),
        *([kind.native for kind in shapes.kinds], ids[jobs].astype(np.int32)),
        *(np.array(places, np.uintp), out, threads, True, statuses),
    )
    gap = np.ones(at, bool)
    for i, place, status in zip(jobs, places, statuses.tolist(), strict=True):
        kind = shapes.kinds[ids[i]]
        nbytes = int(lengths[i]) * kind.unit
        gap[place : place + nbytes] = False
        whole = contents[i]
        if isinstance(whole, bytes) and whole.startswith(kind.write(int(lengths[i])) or b"-"):
            assert status == 0, (i, status)
            assert out[place : place + nbytes].tobytes() == whole[kind.header.offset :], i
        else:
            assert status != 0, i
    assert (out[gap] == CANARY).all(), "bytes between the members were changed"
