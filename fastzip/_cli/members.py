"""An archive for the command line: opened, its members chosen by patterns, told in columns."""

from __future__ import annotations

import argparse
import fnmatch
import getpass
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import fastzip
from fastzip import _dropin, _zip
from fastzip._cli.console import LOCATED, CommandError, did_you_mean

MEMBERS: Final = 4096
"""So many members are listed at a time: the first lines are out before the rest is looked at."""
_MOST_ENTRIES: Final = 8 << 20
_ENCRYPTED: Final = 0x0001  # flag bit, APPNOTE 4.4.4
METHODS: Final = {n: method.name for n, method in _zip.METHODS.items()} | {
    1: "shrunk",
    6: "imploded",
    98: "ppmd",
    _zip.AES: "aes",
}
"""APPNOTE 4.4.5."""


# ---- options that several verbs have ---------------------------------------------------------


def add_password(parser: argparse.ArgumentParser) -> None:
    """``-p``, which asks, and ``-P``, as unzip has it."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "-p", "--password", action="store_true", help="ask for the password of encrypted members"
    )
    group.add_argument(
        "-P",
        metavar="TEXT",
        dest="password_text",
        help="the password itself, which other users of this machine can see; -p is safer",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """``-t``."""
    parser.add_argument(
        "-t", "--threads", type=_threads_of, metavar="N", help="threads (default: fastzip's)"
    )


def _threads_of(text: str) -> int:
    try:
        return _zip.thread_count(int(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 1024") from None


def count(text: str) -> int:
    """A whole number above zero, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def password(args: argparse.Namespace) -> bytes | None:
    """The password that was given, or is typed in now."""
    if args.password:
        return getpass.getpass(f"password of {args.archive}: ").encode() or None
    return args.password_text.encode() if args.password_text else None


def open_archive(path: Any, pwd: bytes | None = None) -> fastzip.ZipFile:
    """The archive at this path; encrypted members are read with this password."""
    archive = fastzip.ZipFile(path)
    reader = _dropin.reader_of(archive)
    reader.pwd = pwd
    return archive


# ---- members by name or pattern --------------------------------------------------------------


class Wanted:
    """What the command line asked for: names, NumPy's keys, and patterns.

    A member is meant by its name, by its name without ``.npy``, and by a pattern of ``*``, ``?``
    and ``[...]`` that fits its name; as in unzip, ``*`` goes across slashes.

    Parameters
    ----------
    patterns : sequence of str
        None of them: all members.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = patterns
        self._expressions = []
        for pattern in patterns:
            exact = f"{re.escape(pattern)}(?:\\.npy)?\\Z"
            expression = re.compile(f"(?s:{exact})|{fnmatch.translate(pattern)}")
            self._expressions.append(expression.match)
        self._hits = [False] * len(patterns)

    def choose(self, names: list[str]) -> list[int]:
        """The indices of those that are meant."""
        chosen: set[int] = set()
        for i, matches in enumerate(self._expressions):
            found = [k for k, name in enumerate(names) if matches(name)]
            self._hits[i] |= bool(found)
            chosen.update(found)
        return sorted(chosen)

    def check(self, index: Any) -> None:
        """Raise if something that was asked for isn't in this archive."""
        for pattern, hit in zip(self.patterns, self._hits, strict=True):
            if not hit:
                keys = index.directory.names(0, min(len(index), MEMBERS), True)
                text = f"{index.where}: no member matches {pattern!r}"
                hint = did_you_mean(pattern.removesuffix(".npy"), keys)
                raise CommandError("no_member", text + hint)


def chunks(
    index: Any, wanted: Wanted, most: int = MEMBERS
) -> Iterator[tuple[npt.NDArray[np.int64], list[str]]]:
    """Positions and names of the members that are meant, so many at a time, in their order."""
    for start in range(0, len(index), most):
        stop = min(len(index), start + most)
        names = index.directory.names(start, stop, False)
        positions = np.arange(start, stop)
        if wanted.patterns:
            chosen = wanted.choose(names)
            names, positions = [names[i] for i in chosen], positions[chosen]
        if names:
            yield positions, names
    wanted.check(index)


def positions_of(index: Any, patterns: Sequence[str]) -> npt.NDArray[np.int64]:
    """The members that are meant; in the order of the patterns where they are plain names.

    Of several members of one name it is the last, as everywhere."""
    plain = [_plain(index, pattern) for pattern in patterns]
    if patterns and None not in plain:
        return np.array(plain, np.int64)
    found = [positions for positions, _ in chunks(index, Wanted(patterns))]
    return np.concatenate(found) if found else np.empty(0, np.int64)


def _plain(index: Any, name: str) -> int | None:
    found: int | None = index.find(name)
    if found is None:
        key = index.directory.find_key(name)
        return None if key < 0 else int(key)
    return found


# ---- columns ---------------------------------------------------------------------------------


def method_names(methods: npt.NDArray[Any], flags: npt.NDArray[Any]) -> list[str]:
    """What members were compressed by; with ``+crypt`` if they are encrypted as well."""
    texts: dict[int, str] = {}
    keys = (methods.astype(np.int64) << 1 | flags & _ENCRYPTED).tolist()
    for key in set(keys):
        method, crypt = key >> 1, bool(key & 1) and key >> 1 != _zip.AES
        texts[key] = METHODS.get(method, f"method-{method}") + "+crypt" * crypt
    return [texts[key] for key in keys]


def is_encrypted(flags: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """By the flags of the directory."""
    encrypted: npt.NDArray[np.bool_] = (flags & _ENCRYPTED) != 0
    return encrypted


def _stamps(index: Any, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Time and date of these members as MS-DOS has them (APPNOTE 4.4.6), read from the directory
    again: time in the low 16 bits."""
    record = index.directory.record
    starts = np.array([record(i) for i in positions.tolist()], np.int64)
    first, last = int(starts[0]), int(starts[-1])
    if last - first > _MOST_ENTRIES:
        pieces = [index.read(at, 46)[12:16] for at in starts.tolist()]
        return np.frombuffer(b"".join(pieces), "<u4").astype(np.int64)
    entries = np.frombuffer(index.read(first, last - first + 46), np.uint8)
    at = (starts - first + 12)[:, None] + np.arange(4)
    stamps: npt.NDArray[np.int64] = entries[at].copy().view("<u4").ravel().astype(np.int64)
    return stamps


def dates(index: Any, positions: npt.NDArray[np.int64]) -> list[str]:
    """When the members were last changed, as ``2026-05-17 09:30:00``; empty where that is no date.

    The clock is that of whoever made the archive: ZIP has no time zones."""
    stamps = _stamps(index, positions).tolist()
    texts = {stamp: _date(stamp) for stamp in set(stamps)}  # mostly few
    return [texts[stamp] for stamp in stamps]


def _date(stamp: int) -> str:
    time, day = stamp & 0xFFFF, stamp >> 16
    fields = (day >> 9) + 1980, (day >> 5) & 15, day & 31, time >> 11, (time >> 5) & 63
    try:
        return str(datetime(*fields, (time & 31) * 2))
    except ValueError:
        return ""


def header_of(reader: Any, position: int) -> tuple[Any, str]:
    """(the .npy header or None if it is no array, why it can't be read or nothing)."""
    try:
        return reader.header(position), ""
    except LOCATED as exc:
        return None, str(getattr(exc, "code", ""))


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape without spaces."""
    return str(shape).replace(" ", "")
