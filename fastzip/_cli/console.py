"""What the verbs of the command line share: text that is safe to print, colours, bars, errors."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, Final, TextIO

from fastzip import _zip, errors
from fastzip._zip import nearest

# What would move the cursor, change colours or hide text if it were printed: C0 and C1 controls,
# line separators, marks that reverse the direction of writing, halves of surrogate pairs.
_CONTROLS: Final = r"\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT: Final = re.compile(rf"[\x00-\x1f{_CONTROLS}]")
_IN_NAMES: Final = re.compile(rf"[\\\x00-\x1f{_CONTROLS}]")
_IN_MANY: Final = re.compile(rf"[\\\x00-\x09\x0b-\x1f{_CONTROLS}]")  # names, a line each
_SHORT: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

PATIENCE: Final = 10.0
"""Seconds between two lines about progress."""

BOLD: Final = "1"
RED: Final = "31"
GREEN: Final = "32"
YELLOW: Final = "33"
BLUE: Final = "1;34"


LOCATED: Final[tuple[type[Exception], ...]] = (
    *{kind for kind, _ in (errors.TABLE | errors.OTHERS).values()},
    errors.ReadError,
)
"""What is raised about an archive or a member."""


class CommandError(ValueError):
    """The command can't go on; the message is one line for the person who started it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{text} [{code}]")
        self.code = code


# ---- text ------------------------------------------------------------------------------------


def _escaped(match: re.Match[str]) -> str:
    letter = match[0]
    number = ord(letter)
    return _SHORT.get(letter) or (f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}")


def escape(name: str) -> str:
    """A member's name as one harmless line; a backslash is doubled, so that it can be undone.

    Examples
    --------
    >>> print(escape("a\\tb\\x1b[31m"))
    a\\tb\\x1b[31m
    """
    return _IN_NAMES.sub(_escaped, name)


def escape_all(names: list[str]) -> list[str]:
    """The same for many, for which one look is enough if all of them are harmless."""
    joined = "\n".join(names)
    if joined.count("\n") == len(names) - 1 and _IN_MANY.search(joined) is None:
        return names
    return [escape(name) for name in names]


def harmless(text: str) -> str:
    """A message as one line that does nothing to a terminal."""
    return _IN_TEXT.sub(_escaped, " ".join(text.split()))


def one_line(error: BaseException) -> str:
    """What `error` says, its notes and its code, without a second line and errno's decoration."""
    code = getattr(error, "code", "")
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{os.fsdecode(error.filename)}: {error.strerror}"
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # str(KeyError) is a repr
    else:
        text = str(error)
    if not text:
        text = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    text = "; ".join([text, *getattr(error, "__notes__", ())])
    if isinstance(error, OSError) and error.errno:
        code = code or errno.errorcode.get(error.errno, "")
    if code and f"[{code}" not in text:
        text += f" [{code}]"
    return harmless(text)


def did_you_mean(wanted: str, names: Iterable[str]) -> str:
    """The end of a message about a name that isn't there: the one that is most like it."""
    found = nearest(wanted, names)
    return "" if found is None else f"; did you mean {found!r}?"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A number and its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size(count: float) -> str:
    """Bytes as people read them.

    Examples
    --------
    >>> size(912), size(13.9 * 2**20)
    ('912 B', '13.9 MiB')
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:,.1f} TiB"


def duration(seconds: float) -> str:
    """A time with three digits that count."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale:
            return f"{three(seconds / scale)} {unit}"
    return f"{three(seconds / 1e-9)} ns"


def three(value: float) -> str:
    """Three digits that count, or all of a larger number."""
    return f"{value:#.3g}" if value < 99.95 else f"{value:,.0f}"


def write(text: str) -> None:
    """Write to standard output; what its encoding lacks is written as an escape."""
    out = _output()
    try:
        out.write(text)
    except UnicodeEncodeError:
        encoding = out.encoding or "ascii"
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))


def table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Columns under one another: the first to the left, numbers and all others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *cells in rows:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append((indent + "   ".join((first.ljust(widths[0]), *aligned))).rstrip())
    return "\n".join(lines) + "\n"


def binary() -> IO[bytes]:
    """Standard output as bytes."""
    out = _output()
    out.flush()
    return out.buffer


def _output() -> TextIO:
    if sys.stdout is None:  # a shell's >&-
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")
    return sys.stdout


# ---- the terminal ----------------------------------------------------------------------------


def _is_terminal(stream: Any) -> bool:
    return os.environ.get("TERM") != "dumb" and stream is not None and bool(stream.isatty())


def painter(stream: Any = None) -> Callable[[str, str], str]:
    """paint(text, colour), which does nothing without a terminal, or where NO_COLOR is set."""
    shown = _is_terminal(sys.stdout if stream is None else stream)
    if not shown or os.environ.get("NO_COLOR"):
        return lambda text, colour: text
    return lambda text, colour: f"\x1b[{colour}m{text}\x1b[0m"


def _disabled() -> bool:
    """Does the environment switch off tqdm's bars?"""
    return os.environ.get("TQDM_DISABLE", "") not in ("", "0")


def bars(quiet: bool = False) -> bool:
    """Are progress bars wanted, and can there be any?"""
    if quiet or _disabled() or not _is_terminal(sys.stderr):
        return False
    return importlib.util.find_spec("tqdm") is not None


class Bar:
    """A bar of bytes on a terminal's standard error, or nothing."""

    def __init__(self, shown: bool, advance: Callable[[int], Any]) -> None:
        self.shown = shown
        self.advance = advance

    def say(self, line: str) -> None:
        """Print a line without hurting the bar."""
        if not self.shown:
            write(line + "\n")
            return
        from tqdm import tqdm

        with tqdm.external_write_mode(file=sys.stdout):
            write(line + "\n")
            sys.stdout.flush()


@contextlib.contextmanager
def bar(what: str, total: int, quiet: bool = False) -> Iterator[Bar]:
    """Show a bar while the block runs, where one is wanted."""
    shown = bars(quiet)
    with _zip.progress_bar(shown, what, total) as advance:
        yield Bar(shown, advance)


@contextlib.contextmanager
def count_bar(
    what: str, total: int, shown: bool, lines: bool = False
) -> Iterator[Callable[..., Any]]:
    """A bar of things, not of bytes, which goes when the block ends; where none can be shown a line
    now and then, if `lines` asks for it; or nothing."""
    if shown:
        from tqdm import tqdm

        with tqdm(total=total, desc=what, leave=False) as counted:
            yield counted.update
        return
    lines = lines and sys.stderr is not None and not _disabled()
    done, due = 0, time.monotonic() + PATIENCE

    def advance(n: int = 1) -> None:
        nonlocal done, due
        done += n
        if lines and done < total and time.monotonic() >= due:
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)
            due = time.monotonic() + PATIENCE

    yield advance
