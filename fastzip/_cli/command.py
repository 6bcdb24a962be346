"""The command ``fastzip``: one verb per subcommand, one module per verb.

A verb's module has ``HELP``, ``DESCRIPTION``, ``EXAMPLES``, ``add_arguments(parser)`` and
``run(args)``, which returns the exit status and raises for everything else. It imports what it
needs when it runs, so that an extra which one of them wants is no burden to the others.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any, Final

from fastzip import __version__
from fastzip._cli import bench, cat, completion, demo, doctor, extract, info, ls, test
from fastzip._cli.console import LOCATED, did_you_mean, one_line

VERBS: Final[dict[str, Any]] = {
    "ls": ls,
    "info": info,
    "test": test,
    "cat": cat,
    "extract": extract,
    "bench": bench,
    "demo": demo,
    "doctor": doctor,
    "completion": completion,
}

# What a verb may raise about its files and arguments: told in one line. The rest is a bug, and
# shows its traceback.
_EXPECTED: Final[tuple[type[Exception], ...]] = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    MemoryError,
    NotImplementedError,
    *LOCATED,
    zipfile.BadZipFile,
    zlib.error,
)

INTERRUPTED: Final = 130  # as a shell tells of SIGINT, …
CLOSED_PIPE: Final = 141  # … and of SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        0 if all went well, or there are no arguments and the help is printed; 1 after an error (one
        line on stderr), and if an archive that was tested or extracted is damaged; 130 after an
        interrupt; 141 if the reader of the output left. Bad usage leaves through ``SystemExit(2)``,
        as argparse does it.
    """
    try:
        args = _parse(sys.argv[1:] if argv is None else list(argv))
        status: int = args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit:
        _let_go()
        raise
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        status = CLOSED_PIPE
    except _EXPECTED as error:
        _let_go()
        print(f"fastzip: {one_line(error)}", file=sys.stderr)
        status = 1
    _let_go()
    return status


def _parse(words: list[str]) -> argparse.Namespace:
    """What argparse makes of the command line; of a misspelt word, what may have been meant."""
    parser = make_parser()
    if not words:
        parser.print_help()
        parser.exit()
    if not words[0].startswith("-") and words[0] not in VERBS:
        parser.error(f"there is no command {words[0]!r}{did_you_mean(words[0], VERBS)}")
    args, unknown = parser.parse_known_args(words)
    if unknown:
        verbs = {verb.name: verb for verb in completion.verbs_of(parser)}
        known = verbs[args.verb].options if args.verb else []
        names = [name for option in known for name in option.names] + ["--version"]
        hint = did_you_mean(unknown[0].partition("=")[0], names)
        args.usage_error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    if args.verb is None:
        parser.error("the following arguments are required: COMMAND")
    return args


def make_parser() -> argparse.ArgumentParser:
    """The parser of all verbs."""
    parser = argparse.ArgumentParser(
        prog="fastzip",
        description="Read ZIP and NPZ archives, fast.",
        epilog="'fastzip COMMAND -h' shows each command's options, and examples.",
    )
    parser.add_argument("--version", action="version", version=f"fastzip {__version__}")
    parser.set_defaults(usage_error=parser.error)
    verbs = parser.add_subparsers(title="commands", metavar="COMMAND", dest="verb")
    for name, module in VERBS.items():
        verb = verbs.add_parser(
            name,
            help=module.HELP,
            description=module.DESCRIPTION,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(run=module.run, usage_error=verb.error, make_parser=make_parser)
    return parser


def _let_go() -> None:
    """Leave nothing in standard output that the interpreter would stumble over when it ends."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
