"""The command ``fastzip``: one verb per subcommand.

Each verb imports what it needs when it runs, so that an extra which one of them wants is no
burden to the others. A verb returns the exit status and raises for everything else.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastzip import __version__

# What a verb may raise about its files and arguments: told in one line. The rest is a bug, and
# shows its traceback.
_EXPECTED = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    NotImplementedError,
    zipfile.BadZipFile,
    zlib.error,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        0 if all went well, 1 after an error (one line on stderr), 130 after an interrupt. Bad
        usage leaves through ``SystemExit(2)``, as argparse does it.
    """
    args = _parser().parse_args(argv)
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader left, as `head` does. The interpreter would complain when it flushes stdout
        # at exit, so nothing may be left to flush.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except _EXPECTED as error:
        print(f"fastzip: {_one_line(error)}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastzip", description="Read arrays out of ZIP and NPZ archives, fast."
    )
    parser.add_argument("--version", action="version", version=f"fastzip {__version__}")
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_demo(verbs)
    return parser


def _add_demo(verbs: Any) -> None:
    parser = verbs.add_parser(
        "demo",
        help="compare np.load and fastzip on one shuffled epoch",
        description=(
            "Make an archive of glyph bitmaps with np.savez_compressed, or take yours; read one "
            "shuffled epoch of it with np.load, one key at a time, and with fastzip, in batches; "
            "check that every batch is equal bit for bit; print what each took and draw a "
            "contact sheet of one batch."
        ),
    )
    parser.add_argument("archive", nargs="?", type=Path, help="your own .npz; by default, make one")
    parser.add_argument(
        "--members", type=_count, metavar="N", help="bitmaps in the archive to make (default: 5000)"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        dest="directory",
        help="keep the made archive here, and reuse one that is there",
    )
    parser.add_argument(
        "--batch", type=_count, default=64, metavar="N", help="samples in a batch (default: 64)"
    )
    parser.add_argument(
        "--threads", type=_count, metavar="N", help="threads of a fetch (default: fastzip's)"
    )
    parser.add_argument(
        "--limit",
        type=_count,
        metavar="N",
        help="samples in the epoch (default: all of a made archive, and of yours at most 20,000 "
        "samples or 4 GiB)",
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="PNG", help="contact sheet (default: fastzip-demo.png)"
    )
    parser.set_defaults(run=_demo, usage_error=parser.error)


def _demo(args: argparse.Namespace) -> int:
    if args.archive is not None and args.members is not None:
        args.usage_error("--members is for an archive to make, not for yours")
    from fastzip import _demo

    _demo.run(
        _demo.Options(
            archive=args.archive,
            members=args.members or 5000,
            directory=args.directory,
            batch=args.batch,
            threads=args.threads,
            limit=args.limit,
            sheet=args.sheet,
        )
    )
    return 0


def _count(text: str) -> int:
    """A whole number above zero, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return int(text)


def _one_line(error: BaseException) -> str:
    """What `error` says, without a second line and without errno's decoration."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # str(KeyError) is a repr
    else:
        text = str(error)
    if not text:
        text = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    return " ".join(text.split())
