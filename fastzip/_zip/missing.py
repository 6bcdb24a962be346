"""What to say of a path that leads nowhere: a URL, or a name that is a little wrong."""

from __future__ import annotations

import errno
import glob
import os
import re
from itertools import islice
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from fastzip import errors
from fastzip._signals import let_pass
from fastzip._zip.suggest import nearest

__all__ = ["explained"]

# pathlib makes one slash of two; fsspec chains protocols, as in simplecache::s3://bucket/key.
_URL: Final = re.compile(r"(?:[a-z][a-z0-9+.-]+::)*([a-z][a-z0-9+.-]+):/", re.IGNORECASE)
_SUFFIXES: Final = (".npz", ".npy", ".zip")
_LOOKED_AT: Final = 5_000
"""Entries of a folder, which may have millions."""


def explained(exc: OSError, path: str) -> OSError:
    """The error for a path that leads nowhere: another one for a URL, or the same with a note."""
    match = _URL.match(path)
    if match is not None and isinstance(exc, FileNotFoundError):
        of_url: OSError = _of_url(path, match[1].lower())
        return of_url
    note = _note(path)
    if note is not None:
        exc.add_note(note)
    return exc


def _of_url(url: str, scheme: str) -> Any:
    if scheme == "file":
        local = unquote(urlsplit(url).path)
        text = f"file URLs are not read; pass the path itself, {local!r}"
    else:
        text = (
            f"{scheme} URLs are not read yet; download the file first, or pass its bytes, or a "
            "binary file object such as fsspec.open(url).open()"
        )
    made = errors.OTHERS["url"][0](errno.ENOENT, text, url)
    return errors.locate(made, "url", url)


def _note(path: str) -> str | None:
    if path.startswith("~") and os.path.exists(os.path.expanduser(path)):
        return "'~' is not expanded in paths; use os.path.expanduser"
    if glob.has_magic(path) and next(glob.iglob(path), None) is not None:
        return f"patterns are not expanded in paths; glob.glob({path!r}) lists what matches"
    if os.path.islink(path):
        return f"it is a link to {os.readlink(path)!r}, which does not exist"
    folder, name = os.path.split(path.rstrip("/"))
    missing = ""
    while folder and not os.path.isdir(folder) and folder != os.path.dirname(folder):
        missing = folder
        folder, name = os.path.split(folder)
    if missing and os.path.exists(missing):
        return f"{missing!r} is a file, not a folder"
    try:
        with os.scandir(folder or ".") as entries:
            names = [e.name for e in islice(entries, _LOOKED_AT) if not missing or e.is_dir()]
    except OSError as exc:
        let_pass(exc)
        return None
    found = nearest(name, names) if missing else _beside(name, names)
    if missing:
        there = f"; there is {found!r} beside it" if found is not None else ""
        return f"there is no folder {missing!r}{there}"
    return None if found is None else f"there is {found!r} beside it; did you mean that?"


def _beside(name: str, names: list[str]) -> str | None:
    """Another file that may be meant: endings that all files share make no likeness."""
    for suffix in _SUFFIXES:
        if name + suffix in names:
            return name + suffix
    stem, suffix = os.path.splitext(name)
    of_stem: dict[str, str] = {}
    for other in sorted(names, key=lambda other: not other.endswith(suffix)):
        root, ending = os.path.splitext(other)
        if ending in (*_SUFFIXES, suffix):
            of_stem.setdefault(root, other)
    found = nearest(stem, of_stem)
    return None if found is None else of_stem[found]
