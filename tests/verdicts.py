"""What the reader makes of an archive, and what tests/policy.py states, in the same form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import policy

import fastzip
from fastzip._npy.arrays import ArrayReader

REFUSALS = (
    fastzip.BadZipFile,
    fastzip.UnsupportedError,
    fastzip.LimitError,
    fastzip.PasswordError,
)
Which = Callable[[int], range]
"""Of so many members, those to look at."""


def natively(opened: Any, limits: Any, which: Which, largest: int = 1 << 64) -> Any:
    """Each member's name, and its bytes or its code, None if it is larger than `largest`; or the
    archive's code."""
    try:
        reader = ArrayReader(opened, limits=limits)
    except REFUSALS as exc:
        return exc.code
    found = []
    for i in which(len(reader.index)):
        try:
            skip = reader.directory.row(i)[1] > largest
            data: Any = None if skip else reader.data(i)
        except REFUSALS as exc:
            data = exc.code
        found.append((reader.directory.raw_name(i), data))
    return found


def stated(data: Any, limits: Any, which: Which, largest: int = 1 << 64) -> Any:
    """The same, by the policy."""
    limits = policy.Limits(*limits)
    try:
        members = policy.open_archive(data, limits)
    except policy.Refused as exc:
        return exc.code
    found = []
    for i in which(len(members)):
        member = members[i]
        try:
            content: Any = None if member.size > largest else policy.read(data, member, limits)
        except policy.Refused as exc:
            content = exc.code
        found.append((member.name, content))
    return found
