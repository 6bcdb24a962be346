"""Which members of an archive are samples, and whether they fit, found before an epoch begins.

Sizes stand in the directory. Of members that are of one size, and named alike, one front is read;
of the others a few, the rarest sizes first. What is damaged isn't told here, but with its batch.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from fastzip import _batch, _dropin, _zip, errors
from fastzip._dropin import NpzFile
from fastzip._npy import Header, native
from fastzip._train.values import place

Positions: TypeAlias = npt.NDArray[np.int64]
Alike: TypeAlias = Literal["whole", "rows", "any"]
"""Are samples to be of one dtype and shape, of one but for the length of axis 0, or just arrays?"""

_NPY: Final = 1
_ASIDE: Final = 2
"""What `name_kinds` tells of a name."""
_LOOKS: Final = 256
"""Fronts that are read at most: some milliseconds, or a second or two from a cold disk."""
_FEW: Final = 32
"""An archive of more members isn't one of a large array for each key."""
_SHOWN: Final = 3


class _Misfit(NamedTuple):
    """A member that can't be a sample, and why."""

    sample: int
    what: str
    code: str
    header: Header | None


def choose_samples(npz: NpzFile, keys: Any, what: str) -> Positions | None:
    """The positions of the samples: those of the keys, or of all members but folders and what
    macOS and Windows leave beside files; None for all members."""
    if isinstance(keys, (str, bytes)):
        keys = str(keys) if isinstance(keys, str) else bytes(keys)  # NumPy's have another repr
        raise TypeError(
            f"the keys of {what} must be a list of keys, not the one key {keys!r}; if the rows of "
            f"that array are the samples, give the array: npz[{keys!r}]"
        )
    if keys is not None:
        return _zip.positions_of(npz.index, keys)
    aside = _name_kinds(npz) == _ASIDE
    return np.flatnonzero(~aside) if aside.any() else None


def _name_kinds(npz: NpzFile) -> npt.NDArray[np.uint8]:
    kinds = np.empty(len(npz.index), np.uint8)
    npz.index.directory.name_kinds(kinds)
    return kinds


def check_samples(npz: NpzFile, positions: Positions | None, alike: Alike, maker: str) -> None:
    """Raise `ArrayError` if there are members among them that can't be samples of one source; its
    ``.failed`` lists them. `maker` is what takes the source, for messages."""
    kinds, sizes = _name_kinds(npz), npz.index.rows["size"]
    if positions is not None:
        kinds, sizes = kinds[positions], sizes[positions]
    if not len(sizes):
        return
    chosen = _Chosen(npz, positions, alike, maker)
    usual, odd = _odd_ones(kinds, sizes)
    tried = list(dict.fromkeys((int(usual[0]), int(usual[len(usual) // 2]), int(usual[-1]))))
    first: tuple[int, Header] | None = None
    misfits = []
    for sample in tried:
        found = chosen.look(sample, None)
        if isinstance(found, Header):
            first = sample, found
            break
        if found is not None:
            misfits.append(found)
    if alike == "rows" and first is not None:
        odd = _by_remainder(kinds, sizes, odd, first[1])
    for sample in np.sort(odd[:_LOOKS]).tolist():
        found = chosen.look(sample, None if first is None else first[1])
        if isinstance(found, _Misfit):
            misfits.append(found)
        elif found is not None and first is None:
            first = sample, found
    if misfits:
        unseen = len(usual) > len(tried) and any(misfit.sample in tried for misfit in misfits)
        more = unseen or len(odd) > _LOOKS
        raise chosen.refusal(sorted(misfits, key=lambda m: m.sample), first, more)


def _odd_ones(
    kinds: npt.NDArray[np.uint8], sizes: npt.NDArray[np.uint64]
) -> tuple[Positions, Positions]:
    """The samples of the most usual size and kind of name; and the others, the rarest first."""
    plain = kinds == _NPY
    if np.count_nonzero(plain) < np.count_nonzero(kinds == 0):
        plain = kinds == 0
    if plain.all() and (sizes == sizes[0]).all():
        return np.arange(len(sizes)), np.empty(0, np.int64)
    values, which, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    most = np.bincount(which[plain], minlength=len(values)).argmax()
    usual = (which == most) & (plain if plain.any() else True)
    odd = np.flatnonzero(~usual)
    rarity = np.where(plain[odd], counts[which[odd]], 0)
    return np.flatnonzero(usual), odd[np.argsort(rarity, kind="stable")]


def _by_remainder(
    kinds: npt.NDArray[np.uint8], sizes: npt.NDArray[np.uint64], odd: Positions, first: Header
) -> Positions:
    """Of members of different lengths those come first whose sizes aren't so many rows."""
    rows = first.spec.shape[0] if first.spec.shape else 1
    unit = max(1, first.nbytes // max(1, rows))
    whole = (sizes[odd] - np.uint64(first.offset)) % np.uint64(unit) == 0
    return odd[np.argsort(whole & (kinds[odd] == _NPY), kind="stable")]


class _Chosen:
    """The members that were chosen for a source."""

    def __init__(self, npz: NpzFile, positions: Positions | None, alike: Alike, maker: str) -> None:
        self.npz, self.positions, self.alike, self.maker = npz, positions, alike, maker

    def __len__(self) -> int:
        return len(self.npz.index) if self.positions is None else len(self.positions)

    def position(self, sample: int) -> int:
        return sample if self.positions is None else int(self.positions[sample])

    def key(self, sample: int) -> str:
        return self.npz.index.key(self.position(sample))

    def look(self, sample: int, first: Header | None) -> Header | _Misfit | None:
        """The header of this sample, or why it doesn't fit; None if it can't be read."""
        position, reader = self.position(sample), _dropin.reader_of(self.npz)
        try:
            header = reader.header(position, _dropin.header_limit_of(self.npz))
            if header is None and reader.index.name(position).endswith(".npy"):
                reader.data(position)  # is it damaged?
        except Exception as exc:
            if not errors.is_failure(exc) or getattr(exc, "code", "") == "interrupted":
                raise
            return None
        why = _batch.unfit(header)
        if header is None or why is not None:
            return _Misfit(sample, *(why or _batch.NOT_AN_ARRAY), header)
        if self.alike == "rows" and not header.spec.shape:
            return _Misfit(sample, "0-dimensional, so it has no length", "shape", header)
        if first is not None and not _is_like(header, first, self.alike):
            return _Misfit(sample, _described(header), "unlike", header)
        return header

    def refusal(
        self, misfits: list[_Misfit], first: tuple[int, Header] | None, more: bool
    ) -> Exception:
        """What is wrong with which members, and what to write instead."""
        index = self.npz.index
        failed = [(self.key(misfit.sample), misfit.code) for misfit in misfits]
        text = self.layout()
        if text is None:
            told = [f"{key!r} is {m.what}" for (key, _), m in zip(failed, misfits, strict=True)]
            if len(told) > _SHOWN:
                told[_SHOWN:] = [f"and {len(told) - _SHOWN:,} more"]
            count = f"{'at least ' if more else ''}{len(misfits):,} of {len(self):,} members"
            text = f"{count} can't be samples of one source: {'; '.join(told)}"
            if first is None:
                text += ". A sample is a member that is an array"
            else:
                aside = self.aside()
                failed += [(key, "no_array") for key in aside or []]
                keys = None if aside is None else [key for key, _ in failed]
                text += self.remedy(misfits, *first, keys)
        code, name = misfits[0].code, index.name(self.position(misfits[0].sample))
        text = f"{errors.place(index.where)}: {text}"
        exc: Any = errors.refusal(code, text, index.where, name)
        exc.failed = failed
        refusal: Exception = exc
        return refusal

    def aside(self) -> list[str] | None:
        """The keys of the members that are no samples by their names; None if keys were given, and
        so those that don't fit are to be left out of these."""
        index = self.npz.index
        aside = np.flatnonzero(_name_kinds(self.npz) == _ASIDE)
        if len(self) + len(aside) != len(index):
            return None
        return [index.key(position) for position in aside.tolist()]

    def remedy(
        self, misfits: list[_Misfit], sample: int, header: Header, keys: list[str] | None
    ) -> str:
        """What the members are that fit, and how the others are left out, or taken as well."""
        text = ""
        if any(misfit.code == "unlike" for misfit in misfits):
            text = f"; others, such as {self.key(sample)!r}, are {_described(header)}"
        lengths = (m.header is not None and _is_like(m.header, header, "rows") for m in misfits)
        if self.alike == "whole" and header.spec.shape and all(lengths):
            return f"{text}. Padded(npz) and Ragged(npz) take members of different lengths"
        if keys is None:
            return f"{text}. Leave them out of the keys"
        given = "Padded(npz, keys)" if self.alike == "rows" else f"{self.maker}((npz, keys), ...)"
        left_out = str(keys) if len(keys) <= _SHOWN else "dict(error.failed)"
        return (
            f"{text}. To leave them out: {given} with keys = [key for key in npz.files if key not "
            f"in {left_out}]{', where error is this' if len(keys) > _SHOWN else ''}"
        )

    def headers(self) -> list[Header] | None:
        """All headers, if they are few and all can be rows of a batch."""
        if len(self) > _FEW:
            return None
        found = [self.look(sample, None) for sample in range(len(self))]
        headers = [header for header in found if isinstance(header, Header)]
        return headers if len(headers) == len(found) else None

    def layout(self) -> str | None:
        """What to write if this is an archive of large arrays, which have a row for each sample:
        several of one length, but not of as many axes."""
        headers = self.headers() if self.alike == "whole" else None
        if headers is None or not all(header.spec.shape for header in headers):
            return None
        largest = max(headers, key=lambda header: header.nbytes)
        n = largest.spec.shape[0]
        same = [i for i, header in enumerate(headers) if header.spec.shape[0] == n]
        if n < 2 or len({len(headers[i].spec.shape) for i in same}) < 2:
            return None
        same.sort(key=lambda i: headers[i] is not largest)  # and else as they stand
        told = [f"{self.key(i)!r} is {_described(header)}" for i, header in enumerate(headers)]
        arrays = ", ".join(f"npz[{self.key(i)!r}]" for i in same[:2])
        return (
            f"it holds {len(headers)} arrays with a row for each sample, and not a member for each "
            f"sample: {'; '.join(told)}. To take rows as samples: {self.maker}({arrays}, ...)"
            + ("" if self.maker == "Loader" else f", npz being {_loaded(self.npz)}")
        )


def _is_like(header: Header, first: Header, alike: Alike) -> bool:
    ours, theirs = header.spec.shape, first.spec.shape
    if alike == "rows":
        ours, theirs = ours[1:], theirs[1:]
    same = ours == theirs and native(header.spec.dtype) == native(first.spec.dtype)
    return same or alike == "any"


def _described(header: Header) -> str:
    return _batch.describe_array(header.spec.shape, native(header.spec.dtype))


def mismatch(sizes: list[int], archives: list[NpzFile | None], maker: str) -> ValueError | None:
    """What to say if the sources, of so many samples, aren't of one length: the first that differs,
    and the array that may have been meant, if a source is an archive that holds it."""
    number = next((i for i, n in enumerate(sizes) if n != sizes[0]), None)
    if number is None:
        return None
    text = f"{place(0)} has {sizes[0]:,} samples, and {place(number)} has {sizes[number]:,}"
    for npz, n in ((archives[number], sizes[0]), (archives[0], sizes[number])):
        if npz is None:
            continue
        chosen, where = _Chosen(npz, None, "whole", maker), errors.place(npz.index.where)
        rows = [
            f"{_loaded(npz)}[{chosen.key(i)!r}]"
            for i, header in enumerate(chosen.headers() or [])
            if header.spec.shape[:1] == (n,)
        ]
        if rows:
            return ValueError(f"{text}; {where} has an array of {n:,} rows: {' or '.join(rows)}")
        layout = chosen.layout()
        if layout is not None:
            return ValueError(f"{text}; {where}: {layout}")
    return ValueError(text)


def _loaded(npz: NpzFile) -> str:
    """How the archive is written in a message."""
    by_path = _dropin.reader_of(npz).opened.by_path
    return f"fastzip.load({npz.index.where!r})" if by_path else "npz"
