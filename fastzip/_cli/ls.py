"""``fastzip ls``: names, sizes, methods, a line for each member."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from fastzip import _dropin
from fastzip._cli import console, members
from fastzip._cli.members import Wanted, chunks, dates, header_of, method_names, shape_text

HELP: Final = "list the members"
DESCRIPTION: Final = """\
List the members of an archive: size, method and name, a line for each, in the archive's order.
Only the directory is read, so a million members begin to come at once. Control characters in
names are shown as escapes, and a backslash as two; -0 and --json give names as they are."""
EXAMPLES: Final = """\
examples:
  fastzip ls training.npz                    size, method, name
  fastzip ls -l training.npz 'ix-00*'        also compressed size, CRC-32, date
  fastzip ls --npy training.npz | head       also dtype and shape
  fastzip ls -1 texts.zip '*.txt' | wc -l    names alone
  fastzip ls -0 texts.zip | xargs -0 ...     names as they are, each with a NUL behind it
  fastzip ls --json training.npz | jq .size  an object for each member, one a line"""

_HEADERS: Final = 256
"""So many members at a time where each one's header is read."""

Positions = npt.NDArray[np.int64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``ls``."""
    parser.add_argument("archive", metavar="FILE")
    parser.add_argument(
        "members",
        nargs="*",
        metavar="GLOB",
        help="only members of this name, or that fit this pattern; * goes across slashes",
    )
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("-1", action="store_true", dest="names", help="names alone")
    kind.add_argument(
        "-0", "--null", action="store_true", help="names as they are, with a NUL behind each"
    )
    kind.add_argument(
        "-l", "--long", action="store_true", help="compressed size, CRC-32 and date as well"
    )
    kind.add_argument("--json", action="store_true", help="a JSON object a line")
    parser.add_argument("--npy", action="store_true", help="dtype and shape of arrays as well")
    members.add_password(parser)


def run(args: argparse.Namespace) -> int:
    """List."""
    if args.npy and (args.names or args.null):
        args.usage_error("--npy is not for names alone")
    pwd = members.password(args) if args.npy else None  # nothing else is encrypted
    with members.open_archive(args.archive, pwd) as archive:
        index = archive.index
        wanted = Wanted(args.members)
        most = _HEADERS if args.npy else members.MEMBERS
        show = _show(args, _dropin.reader_of(archive))
        for positions, names in chunks(index, wanted, most):
            console.write(show(positions, names))
            sys.stdout.flush()
    return 0


def _show(
    args: argparse.Namespace, reader: Any
) -> Callable[[npt.NDArray[np.int64], list[str]], str]:
    """What makes text of some members."""
    if args.null:
        return lambda positions, names: "\0".join(names) + "\0"
    if args.json:
        return lambda positions, names: _json(reader, positions, names, args.npy)
    paint = console.painter()

    def painted(names: list[str], statuses: npt.NDArray[Any]) -> list[str]:
        shown = console.escape_all(names)
        if paint("", "") == "":
            return shown
        bad = statuses.tolist()
        colours = [console.RED if bad[i] else console.BLUE * name.endswith("/")
                   for i, name in enumerate(names)]  # fmt: skip
        return [paint(n, c) if c else n for n, c in zip(shown, colours, strict=True)]

    if args.names:

        def show(positions: Positions, names: list[str]) -> str:
            statuses = reader.index.rows["status"][positions]
            return "\n".join(painted(names, statuses)) + "\n"

        return show

    rows = reader.index.rows
    widest = {f: len(str(rows[f].max(initial=0))) for f in ("size", "compressed_size")}

    line = f"%{widest['size']}d  "
    if args.long:
        line += f"%{widest['compressed_size']}d  %-8s  %08x  %-19s  "
    else:
        line += "%-8s  "
    line += "%s  %s\n" if args.npy else "%s\n"

    def lines(positions: Positions, names: list[str]) -> str:
        chosen = rows[positions]
        columns: list[Iterable[Any]] = [chosen["size"].tolist()]
        methods = method_names(chosen["method"], chosen["flags"])
        if args.long:
            columns += [chosen["compressed_size"].tolist(), methods, chosen["crc"].tolist()]
            columns.append(dates(reader.index, positions))
        else:
            columns.append(methods)
        if args.npy:
            columns.append(_specs(reader, positions))
        columns.append(painted(names, chosen["status"]))
        return "".join(map(line.__mod__, zip(*columns, strict=True)))

    return lines


def _specs(reader: Any, positions: Positions) -> Iterable[str]:
    """dtype and shape of each member; ``-`` where it is no array, its code where it is damaged."""
    for position in positions.tolist():
        header, code = header_of(reader, position)
        if header is None:
            yield f"{f'[{code}]' if code else '-':<10}  {'-':<14}"
        else:
            yield f"{header.spec.dtype!s:<10}  {shape_text(header.spec.shape):<14}"


def _json(reader: Any, positions: Positions, names: list[str], npy: bool) -> str:
    """An object for each member. Written by hand: json.dumps of each takes four times as long."""
    chosen = reader.index.rows[positions]
    rows = zip(
        map(quoted, names),
        chosen["size"].tolist(),
        chosen["compressed_size"].tolist(),
        map(quoted, method_names(chosen["method"], chosen["flags"] & 0)),
        members.is_encrypted(chosen["flags"]).tolist(),
        chosen["crc"].tolist(),
        (quoted(d.replace(" ", "T")) if d else "null" for d in dates(reader.index, positions)),
        _json_specs(reader, positions) if npy else [""] * len(names),
        strict=True,
    )  # fmt: skip
    return "".join(
        f'{{"name": {name}, "size": {size}, "compressed_size": {packed}, "method": {method}, '
        f'"encrypted": {"true" if encrypted else "false"}, "crc": "{crc:08x}", "date": {date}'
        f"{spec}}}\n"
        for name, size, packed, method, encrypted, crc, date, spec in rows
    )


def _json_specs(reader: Any, positions: Positions) -> Iterable[str]:
    for position in positions.tolist():
        header, code = header_of(reader, position)
        if header is None:
            yield f', "error": {quoted(code)}' if code else ""
            continue
        dtype, shape, fortran = header.spec
        order = "true" if fortran else "false"
        yield f', "dtype": {quoted(str(dtype))}, "shape": {list(shape)}, "fortran_order": {order}'
