"""``fastzip extract``: members to files."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Final

import numpy as np

import fastzip
from fastzip import _dropin, errors
from fastzip._batch import Extraction, parts_of
from fastzip._cli import console, members
from fastzip._cli.console import CommandError, escape

HELP: Final = "write members to files"
DESCRIPTION: Final = """\
Extract members, on all threads. Each file is written under a temporary name, verified, and then
renamed, so it is whole or not there, and nothing is written outside of the folder: names lose
leading slashes and '..', and links that lead out are refused. Where a file is there already,
nothing is written at all, unless -o or -n says what to do. A damaged member is left out and told
of; the others are extracted, and the exit status is 1."""
EXAMPLES: Final = """\
examples:
  fastzip extract texts.zip -d texts
  fastzip extract texts.zip 'a/*' -n         keep the files that are there
  fastzip extract -o -q update.zip -d /srv   replace them, and say nothing"""

_TOLD: Final = 3
"""So many files that are there already are named."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``extract``."""
    parser.add_argument("archive", metavar="FILE")
    parser.add_argument(
        "members",
        nargs="*",
        metavar="MEMBER",
        help="a name, an array's name without .npy, or a pattern; by default, all of them",
    )
    parser.add_argument(
        "-d", "--dir", metavar="DIR", dest="directory", default="", help="the folder to write to"
    )
    policy = parser.add_mutually_exclusive_group()
    policy.add_argument(
        "-o", "--overwrite", action="store_true", help="replace files that are there already"
    )
    policy.add_argument(
        "-n", "--never-overwrite", action="store_true", help="keep files that are there already"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no bar, and no last line")
    members.add_threads(parser)
    members.add_password(parser)


class _Patient(Extraction):
    """An extraction that goes on after a damaged member."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.bad: list[tuple[str, str]] = []

    def flush(self) -> None:
        try:
            super().flush()
        except console.LOCATED as exc:
            self.note(exc)

    def note(self, exc: Exception) -> None:
        """Remember what failed; raise what isn't about a member."""
        located: Any = exc
        if located.member is None:
            raise exc
        self.bad += located.failed or [(located.member, located.code)]


def run(args: argparse.Namespace) -> int:
    """Extract."""
    folder = args.directory or os.curdir
    with members.open_archive(args.archive, members.password(args)) as archive:
        reader = _dropin.reader_of(archive)
        if args.members:
            positions = members.positions_of(archive.index, args.members)
        else:
            positions = np.arange(len(archive.index))
        name_of = reader.index.name  # it ends at a NUL byte, as in zipfile
        jobs = [(i, name_of(i).partition("\0")[0]) for i in positions.tolist()]
        kept = 0
        if not args.overwrite:
            there = _there_already(folder, [name for _, name in jobs])
            if there and not args.never_overwrite:
                raise _exists(folder, [jobs[i][1] for i in there])
            kept = len(there)
            jobs = [job for i, job in enumerate(jobs) if i not in there]
        sizes = archive.index.rows["size"]
        total = sum(int(sizes[position]) for position, _ in jobs)
        threads = args.threads or fastzip.get_num_threads()
        with console.bar("extracting", total, args.quiet) as bar:
            extraction = _Patient(reader, folder, threads, None, bar.advance)
            for position, name in jobs:
                if not parts_of(name) and not name.endswith("/"):
                    extraction.bad.append((name, "name"))
                    continue
                try:
                    extraction.add(position, name)
                except console.LOCATED as exc:
                    extraction.note(exc)
            extraction.flush()
    files = sum(not name.endswith("/") for _, name in jobs)
    return _tell(args, extraction.bad, files - len(extraction.bad), kept)


def _there_already(folder: str, names: list[str]) -> set[int]:
    """Which of these would replace something."""
    if not os.path.isdir(folder):
        return set()
    there = set()
    for i, name in enumerate(names):
        parts = parts_of(name)
        if parts and not name.endswith("/") and os.path.lexists(os.path.join(folder, *parts)):
            there.add(i)
    return there


def _exists(folder: str, names: list[str]) -> CommandError:
    shown = ", ".join(os.path.join(folder, *parts_of(name)) for name in names[:_TOLD])
    more = f" and {len(names) - _TOLD:,} more" if len(names) > _TOLD else ""
    one = len(names) == 1
    return CommandError(
        "EEXIST",
        f"{shown}{more}: {'is' if one else 'are'} there already; -o replaces "
        f"{'it' if one else 'them'}, -n keeps {'it' if one else 'them'}",
    )


def _texts() -> dict[str, str]:
    texts = {code: text for code, (_, text) in (errors.TABLE | errors.OTHERS).items()}
    return texts | {"name": "nothing is left of the name without dots and slashes"}


def _tell(args: argparse.Namespace, bad: list[tuple[str, str]], files: int, kept: int) -> int:
    for name, code in bad:
        text = _texts().get(code, "it can't be read")
        where = console.harmless(args.archive)
        print(f"fastzip: {where}: {escape(name)}: {text} [{code}]", file=sys.stderr)
    if not args.quiet:
        done = console.plural(files, "file")
        notes = f", {kept:,} kept as they were" if kept else ""
        notes += f", {len(bad):,} bad" if bad else ""
        console.write(f"{escape(args.archive)}: {done} extracted{notes}\n")
    return int(bool(bad))
