"""``fastzip demo``: its arguments."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from fastzip._cli.members import count

HELP: Final = "compare np.load and fastzip on one shuffled epoch"
DESCRIPTION: Final = """\
Make an archive of glyph bitmaps with np.savez_compressed, or take yours; read one shuffled epoch
of it the usual way, one key at a time, and with fastzip, in batches; check that every batch is
equal bit for bit; print what each took and draw a contact sheet of one batch. Samples are the
members (np.load and NpzFile.fetch), the rows of the largest of a few large arrays (np.load and
Loader), or members of bytes, such as JPEGs (zipfile and ZipFile.read_many). Needs the extra
demo."""
EXAMPLES: Final = """\
examples:
  fastzip demo                               make an archive, and throw it away
  fastzip demo --members 25000 --dir data    keep it for the next time
  fastzip demo training.npz --batch 256      your own
  fastzip demo images.zip --sheet cats.png   where the sheet goes; a file there is replaced"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``demo``."""
    parser.add_argument("archive", nargs="?", type=Path, help="your own .npz; by default, make one")
    parser.add_argument(
        "--members", type=count, metavar="N", help="bitmaps in the archive to make (default: 5000)"
    )
    parser.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        dest="directory",
        help="keep the made archive here, and reuse one that is there",
    )
    parser.add_argument(
        "--batch", type=count, default=64, metavar="N", help="samples in a batch (default: 64)"
    )
    parser.add_argument(
        "--threads", type=count, metavar="N", help="threads of a fetch (default: fastzip's)"
    )
    parser.add_argument(
        "--limit",
        type=count,
        metavar="N",
        help="samples in the epoch (default: all of a made archive, and of yours at most 20,000 "
        "samples or 4 GiB)",
    )
    parser.add_argument(
        "--sheet",
        type=Path,
        metavar="PNG",
        help="contact sheet (default: fastzip-demo.png, or -2 and so on where there is one)",
    )


def run(args: argparse.Namespace) -> int:
    """Compare."""
    if args.archive is not None and args.members is not None:
        args.usage_error("--members is for an archive to make, not for yours")
    from fastzip._cli import demo_steps

    demo_steps.run(
        demo_steps.Options(
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
