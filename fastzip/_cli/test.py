"""``fastzip test``: are all members what the directory says?"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

import fastzip
from fastzip import _dropin, _zip, errors
from fastzip._batch import Many, pieces
from fastzip._cli import console
from fastzip._cli import members as _members
from fastzip._cli.console import LOCATED, escape

HELP: Final = "verify every member"
DESCRIPTION: Final = """\
Read every member of each archive and verify its length and CRC-32, on all threads. Each bad
member is printed with the reason; the exit status is 1 if there is any, or if an archive can't
be read. An encrypted member whose password is missing counts as bad: it couldn't be verified."""
EXAMPLES: Final = """\
examples:
  fastzip test training.npz
  fastzip test -q *.zip && echo fine         print only what is bad
  fastzip test -p private.zip                ask for the password"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``test``."""
    parser.add_argument("archives", nargs="+", metavar="FILE")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="print only what is bad, and show no bar"
    )
    _members.add_threads(parser)
    _members.add_password(parser)


def run(args: argparse.Namespace) -> int:
    """Verify."""
    args.archive = args.archives[0]
    pwd = _members.password(args)
    threads = args.threads or fastzip.get_num_threads()
    paint = console.painter()
    failed: Exception | None = None
    bad_members = 0
    for path in args.archives:
        try:
            with _members.open_archive(path, pwd) as archive:
                bad = _test(_dropin.reader_of(archive), path, threads, args.quiet, paint)
                bad_members += bad
                members, total = len(archive.index), _total(_dropin.reader_of(archive))
        except Exception as exc:
            if len(args.archives) == 1 or not isinstance(exc, (OSError, *LOCATED)):
                raise
            failed = failed or exc
            console.write(paint(console.one_line(exc), console.RED) + "\n")
            continue
        if bad:
            text = f"{bad:,} of {console.plural(members, 'member')} {'is' if bad == 1 else 'are'}"
            console.write(f"{escape(path)}: {text} {paint('bad', console.RED)}\n")
        elif not args.quiet:
            text = f"{console.plural(members, 'member')}, {console.size(total)}"
            console.write(f"{escape(path)}: {paint('ok', console.GREEN)}, {text}\n")
    return int(bad_members > 0 or failed is not None)


def _total(reader: Any) -> int:
    return int(reader.index.rows["size"].sum(dtype=np.float64))


def _test(reader: Any, path: str, threads: int, quiet: bool, paint: Any) -> int:
    """Test all members of one archive, and print the bad ones; returns how many they are."""
    bad = 0
    with console.bar(f"testing {escape(path)}", _total(reader), quiet) as bar:
        for position, exc in failures(reader, threads, bar.advance):
            bad += 1
            text = str(exc).removeprefix(f"{reader.index.where}: ")
            name = reader.index.name(position)
            text = console.harmless(text.removeprefix(f"{name}: "))
            bar.say(f"{escape(path)}: {paint(escape(name), console.RED)}: {text}")
    return bad


def failures(reader: Any, threads: int, advance: Any) -> Iterator[tuple[int, Exception]]:
    """Position and exception of each bad member: in the archive's order, but for members above
    64 MiB, which come last, since each has one thread and they share no memory."""
    sizes = reader.index.rows["size"]
    large = np.flatnonzero(sizes > _zip.WHOLE)
    for piece in pieces(sizes, threads, _zip.WHOLE):
        if sizes[piece.start] > _zip.WHOLE:
            continue
        positions = np.arange(piece.start, piece.stop)
        many = Many(reader, positions, threads)
        for i in sorted(many.failed):
            yield piece.start + i, many.failed[i]
        advance(int(sizes[piece].sum()))
    if len(large):
        yield from _large(reader, large.tolist(), threads, advance)


def _large(
    reader: Any, positions: list[int], threads: int, advance: Any
) -> Iterator[tuple[int, Exception]]:
    """The same of members that are decoded in pieces, one thread each."""

    def work(i: int, stop: Callable[[], bool]) -> None:
        for data in reader.pieces(positions[i]):
            if stop():
                return
            advance(len(data))

    results = _zip.run_each(work, len(positions), threads, errors.is_failure)
    for i, exc in sorted(results.items()):
        if exc is not None:
            yield positions[i], exc
