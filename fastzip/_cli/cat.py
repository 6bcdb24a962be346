"""``fastzip cat``: members to standard output."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

import numpy as np

from fastzip import _dropin, errors
from fastzip._cli import console, members

HELP: Final = "write members to standard output"
DESCRIPTION: Final = """\
Write the bytes of members to standard output, one after another, in the order in which they are
named. A member of up to 64 MiB is verified before its first byte is written; a longer one is
verified as it is written, and if it is damaged its last part is held back and the exit status
is 1."""
EXAMPLES: Final = """\
examples:
  fastzip cat texts.zip a/0001.txt
  fastzip cat logs.zip '2026-*.log' | grep error
  fastzip cat training.npz ix-000007 > one.npy
  fastzip cat --npy training.npz ix-000007   the array, as NumPy prints it"""

_PIECE: Final = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``cat``."""
    parser.add_argument("archive", metavar="FILE")
    parser.add_argument(
        "members",
        nargs="+",
        metavar="MEMBER",
        help="a name, an array's name without .npy, or a pattern",
    )
    parser.add_argument(
        "--npy", action="store_true", help="arrays as text, long ones with dots in the middle"
    )
    members.add_password(parser)


def run(args: argparse.Namespace) -> int:
    """Write."""
    with members.open_archive(args.archive, members.password(args)) as archive:
        positions = members.positions_of(archive.index, args.members)
        if args.npy:
            for position in positions.tolist():
                _write_array(_dropin.reader_of(archive), position)
            return 0
        out = console.binary()
        for position in positions.tolist():
            with archive.open(_dropin.info_at(archive, position)) as member:
                while piece := member.read(_PIECE):
                    out.write(piece)
        out.flush()
    return 0


def _write_array(reader: Any, position: int) -> None:
    array = reader.member(position)
    if not isinstance(array, np.ndarray):
        name = reader.index.name(position)
        text = f"{errors.place(reader.index.where, name)}: the member is not an array [no_array]"
        raise errors.refusal("no_array", text, reader.index.where, name)
    with np.printoptions(linewidth=100):
        console.write(f"{array}\n")
    sys.stdout.flush()
