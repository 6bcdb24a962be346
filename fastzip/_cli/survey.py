"""What is in an archive, summed up: for ``fastzip info``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _dropin, _zip, errors
from fastzip._cli import console
from fastzip._cli import members as _members
from fastzip._cli.members import MEMBERS, is_encrypted, method_names

SAMPLE: Final = 2000
"""Members whose local headers are read, unless all are asked for."""
_ARCHIVES: Final = (".npz", ".zip")
_FEW: Final = 16
_LONGEST_SUFFIX: Final = 8
_ROWS: Final = 32

Kind = tuple[str, tuple[int, ...]]
"""dtype and shape of an array."""


def layout_of(kinds: Set[Kind], arrays: int) -> str:
    """What the samples of so many arrays are: it depends on that which batches can be read.

    ``"rows"``: the rows of a few large arrays, as in x_train, y_train, x_test and y_test.
    ``"alike"``: the members, which are of one dtype and shape. ``"lengths"``: the members, which
    differ in length alone. ``"unlike"``: members of several kinds. Empty without arrays."""
    if not kinds:
        return ""
    of_rows = {(dtype, shape[1:]) for dtype, shape in kinds}
    if arrays <= _FEW and max(shape[0] if shape else 0 for _, shape in kinds) >= _ROWS:
        # Samples that are members come in many of a kind; of columns there is one of each.
        several = len(of_rows) > 1 or (arrays <= 3 and all(row for _, row in of_rows))
        if arrays == 1 or (several and 2 * len(kinds) > arrays):
            return "rows"
    if len(kinds) == 1:
        return "alike"
    return "lengths" if len(of_rows) == 1 and all(shape for _, shape in kinds) else "unlike"


@dataclass
class Survey:
    """An archive in numbers. What is counted in `arrays` and `placed` are the members that were
    looked at; all else is about all of them."""

    path: str
    file_size: int
    members: int
    folders: int
    size: int
    compressed_size: int
    methods: dict[str, tuple[int, int, int]]
    """Method: members, bytes, compressed bytes."""
    sizes: tuple[int, int, int]
    """Smallest, median, largest member."""
    encrypted: int
    unreadable: dict[str, int]
    """Reason code: members that the directory alone rules out."""
    duplicates: int
    archives: list[str]
    """Names of a few members that are archives themselves."""
    zip64: bool
    comment: bytes
    prefix: int
    """Bytes in front of the first member."""
    sampled: int = 0
    sampled_all: bool = False
    arrays: Counter[tuple[str, tuple[int, ...], bool]] = field(default_factory=Counter)
    """(dtype, shape, in Fortran order)"""
    objects: int = 0
    converted: int = 0
    """Arrays in Fortran order or in the other byte order."""
    others: Counter[str] = field(default_factory=Counter)
    """Members that are no arrays, by the ends of their names."""
    columns: dict[str, tuple[Kind, bool]] = field(default_factory=dict)
    """Of the first few arrays: key -> (kind, is it stored?)."""
    damaged: Counter[str] = field(default_factory=Counter)
    placed: int = 0
    """Stored arrays whose place was looked up, …"""
    aligned: Counter[int] = field(default_factory=Counter)
    """… and how many of them begin at a multiple of so many bytes; 0 stands for their item size."""
    large_deflated: int = 0
    """Arrays above 64 MiB that are compressed."""

    @property
    def ratio(self) -> float:
        """Bytes for each compressed byte."""
        return self.size / max(1, self.compressed_size)

    @property
    def layout(self) -> str:
        """What `layout_of` says of the arrays that can be in batches."""
        kinds = {(dtype, shape) for dtype, shape, _ in self.arrays if dtype != "object"}
        return layout_of(kinds, self.arrays.total())


def survey(archive: Any, path: str, everything: bool, advance: Any) -> Survey:
    """Look at an archive; at all members' headers only if `everything` is true."""
    reader = _dropin.reader_of(archive)
    index = reader.index
    rows = index.rows
    folders = _are_folders(index)
    files = np.flatnonzero(~folders)
    sizes = rows["size"][files]
    tail = index.directory.record(len(index))
    behind = index.read(tail, min(4, reader.source.size - tail))
    result = Survey(
        path=path,
        file_size=reader.source.size,
        members=len(index),
        folders=len(index) - len(files),
        size=_sum(rows["size"]),
        compressed_size=_sum(rows["compressed_size"]),
        methods=_by_method(rows[files]),
        sizes=_spread(sizes),
        encrypted=int(is_encrypted(rows["flags"]).sum()),
        unreadable=_unreadable(rows),
        duplicates=_duplicates(index),
        archives=_nested(index),
        zip64=behind == b"PK\6\6",
        comment=archive.comment,
        prefix=_least(rows["header_offset"]) if len(rows) else 0,
    )  # fmt: skip
    chosen = files
    if not everything and len(files) > SAMPLE:
        drawn = np.random.default_rng(0).choice(len(files), SAMPLE, replace=False)
        chosen = files[np.sort(drawn)]
    result.sampled, result.sampled_all = len(chosen), len(chosen) == len(files)
    for position in chosen.tolist():
        _look(reader, position, result)
        advance(1)
    return result


def _sum(values: npt.NDArray[Any]) -> int:
    total = int(values.sum(dtype=np.float64))
    return total if total >= 1 << 53 else int(values.sum(dtype=np.uint64))


def _least(values: npt.NDArray[Any]) -> int:
    return int(values.min()) if len(values) else 0


def _spread(sizes: npt.NDArray[Any]) -> tuple[int, int, int]:
    median = int(np.median(sizes)) if len(sizes) else 0
    return _least(sizes), median, int(sizes.max(initial=0))


def _are_folders(index: Any) -> npt.NDArray[np.bool_]:
    """Names that end with a slash; only empty members can be folders."""
    folders = np.zeros(len(index), np.bool_)
    for i in np.flatnonzero(index.rows["size"] == 0).tolist():
        folders[i] = index.directory.raw_name(i).endswith(b"/")
    return folders


def _by_method(rows: npt.NDArray[Any]) -> dict[str, tuple[int, int, int]]:
    kinds: dict[str, tuple[int, int, int]] = {}
    for method in np.unique(rows["method"]).tolist():
        those = rows[rows["method"] == method]
        (name,) = method_names(those["method"][:1], those["flags"][:1] & 0)
        before = kinds.get(name, (0, 0, 0))
        here = len(those), _sum(those["size"]), _sum(those["compressed_size"])
        kinds[name] = tuple(a + b for a, b in zip(before, here, strict=True))  # type: ignore[assignment]
    return dict(sorted(kinds.items(), key=lambda item: -item[1][0]))


def _unreadable(rows: npt.NDArray[Any]) -> dict[str, int]:
    statuses, counts = np.unique(rows["status"], return_counts=True)
    found = {
        errors.code_of(status): n
        for status, n in zip(statuses.tolist(), counts.tolist(), strict=True)
        if status
    }
    known = np.array([*_zip.METHODS, _zip.AES])
    foreign = int((~np.isin(rows["method"], known) & (rows["status"] == 0)).sum())
    return found | {"method": found.get("method", 0) + foreign} if foreign else found


def _duplicates(index: Any) -> int:
    """Members that nobody reads by name, since a later one has the same."""
    n, hidden = len(index), 0
    find = index.directory.find
    for start in range(0, n, MEMBERS):
        names = index.directory.names(start, min(n, start + MEMBERS), False)
        hidden += sum(find(name) != i for i, name in enumerate(names, start))
    return hidden


def _nested(index: Any, most: int = 5) -> list[str]:
    found: list[str] = []
    for start in range(0, len(index), MEMBERS):
        names = index.directory.names(start, min(len(index), start + MEMBERS), False)
        found += [name for name in names if name.lower().endswith(_ARCHIVES)]
        if len(found) >= most:
            break
    return found[:most]


def _look(reader: Any, position: int, result: Survey) -> None:
    """Read one member's headers."""
    header, code = _members.header_of(reader, position)
    if header is None:
        if code in result.unreadable:
            pass
        elif code:
            result.damaged[code] += 1
        else:
            suffix = os.path.splitext(reader.index.name(position))[1]
            result.others[suffix.lower()[:_LONGEST_SUFFIX]] += 1
        return
    dtype, shape, fortran = header.spec
    result.arrays[str(dtype), shape, fortran] += 1
    result.objects += dtype.hasobject
    result.converted += not dtype.isnative or (fortran and len(shape) > 1)
    if len(result.columns) < _FEW and not dtype.hasobject:
        key = reader.index.name(position).removesuffix(".npy")
        result.columns[key] = (str(dtype), shape), reader.is_plain(position)
    if not reader.is_plain(position):
        result.large_deflated += header.nbytes > 64 << 20
        return
    try:
        offset = reader.data_offset(position) + header.offset
    except console.LOCATED as exc:
        result.damaged[str(getattr(exc, "code", ""))] += 1
        return
    result.placed += 1
    for step in (64, 4096):
        result.aligned[step] += offset % step == 0
    result.aligned[0] += offset % max(1, dtype.alignment) == 0
