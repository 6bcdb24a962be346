"""Ways to read an archive, side by side: for ``fastzip bench``.

All of them read what the same positions say: arrays of an .npz, or the bytes of members.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

import fastzip
from fastzip import _core, _dropin
from fastzip._cli import bench_byhand

_PATCHES: Final = {"zlib-ng": "zlib_ng.zlib_ng", "ISA-L": "isal.isal_zlib"}
"""What `zipfile` may use instead of zlib: the module of each that has zlib's functions."""

_BY_HAND: Final = {"libdeflate": bench_byhand.libdeflate, "cramjam": bench_byhand.cramjam}
"""What inflates a whole stream at once."""

_ENGINES: Final = {
    "fastzip": None,
    "fastzip, zlib-ng": "zlib_ng",
    "fastzip, libdeflate": "libdeflate",
    "fastzip, interleaved": "interleaved",
}
"""fastzip as it is, and by each of its engines alone."""


@dataclass(frozen=True)
class Reader:
    """One way of reading.

    Attributes
    ----------
    name : str
    open : callable
        ``open(path)``, which gives an archive.
    one, batch, run : callable
        ``(archive, names, positions)``: one member; several as one array, or as a list of bytes;
        several whose content is only verified.
    setting : callable
        A context manager in which all of these are called.
    """

    name: str
    open: Callable[[str], Any]
    one: Callable[[Any, str, int], Any]
    batch: Callable[[Any, list[str], Any], Any]
    run: Callable[[Any, list[str], Any], Any]
    setting: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext


@contextlib.contextmanager
def _zipfile_with(module: Any) -> Iterator[None]:
    """`zipfile` inflates, and computes CRCs, by this module's functions."""
    standard: Any = zipfile
    before = standard.zlib, standard.crc32
    standard.zlib, standard.crc32 = module, module.crc32
    try:
        yield
    finally:
        standard.zlib, standard.crc32 = before


@contextlib.contextmanager
def _engine(libdeflate: bool, lanes: int) -> Iterator[None]:
    """fastzip inflates by one engine alone."""
    level = os.environ.get("FASTZIP_CPU") or None
    before = _core.lanes_from()
    _core.use_engine(libdeflate)
    _core.use_lanes(lanes, level)
    try:
        yield
    finally:
        _core.use_engine(fastzip.engines()["crc32"] == "libdeflate")
        _core.use_lanes(before, level)


class Missing(Exception):
    """This way of reading isn't there; the message says why."""


def names(arrays: bool) -> list[str]:
    """All ways of reading that there could be, in the order in which they are always told."""
    usual = "np.load" if arrays else "zipfile"
    patched = [f"{usual} + {name}" for name in _PATCHES]
    return [usual, *patched, "SPDL", *(f"{name} by hand" for name in _BY_HAND), *_ENGINES]


def readers(arrays: bool, threads: int) -> tuple[list[Reader], dict[str, str]]:
    """Those that are installed, the usual one first; and why others aren't used.

    Parameters
    ----------
    arrays : bool
        Read arrays of an .npz; else bytes.
    threads : int
        For what fastzip reads in batches.
    """
    found, missing = [], {}
    for name in names(arrays):
        try:
            found.append(make(name, arrays, threads))
        except Missing as exc:
            missing[name] = str(exc)
    return found, missing


def make(name: str, arrays: bool, threads: int) -> Reader:
    """The reader of this name, out of `names(arrays)`. Nothing else is imported.

    Raises
    ------
    Missing
        If it isn't installed, or can't read such archives.
    """
    if name in _ENGINES:
        return (_npz if arrays else _ours)(name, threads, _engine_setting(name))
    try:
        if name == "SPDL":
            if not arrays:
                raise Missing("reads arrays alone")
            load_npz = importlib.import_module("spdl.io").load_npz
            return _by_hand(name, arrays, lambda path: bench_byhand.Spdl(path, load_npz))
        if name.endswith(" by hand"):
            functions = _BY_HAND[name.removesuffix(" by hand")]()
            return _by_hand(name, arrays, lambda path: bench_byhand.ByHand(path, *functions))
        usual = _numpy if arrays else _zipfile
        _, _, patch = name.partition(" + ")
        return usual(patch, importlib.import_module(_PATCHES[patch]) if patch else None)
    except (ImportError, AttributeError) as exc:
        raise Missing(f"not installed ({getattr(exc, 'name', None) or exc})") from exc


def _engine_setting(name: str) -> Callable[[], contextlib.AbstractContextManager[None]]:
    kind = _ENGINES[name]
    if kind is None:
        return contextlib.nullcontext
    engines: Any = fastzip.engines()
    if not engines[kind]["available"]:
        raise Missing(engines[kind]["source"])
    libdeflate = kind != "zlib_ng" and engines["libdeflate"]["available"]
    return _setting(libdeflate, int(kind == "interleaved"))


def _setting(libdeflate: bool, lanes: int) -> Callable[[], contextlib.AbstractContextManager[None]]:
    return lambda: _engine(libdeflate, lanes)


def _patched(name: str, module: Any) -> Any:
    return (lambda: _zipfile_with(module)) if name else contextlib.nullcontext


def _label(first: str, name: str) -> str:
    return f"{first} + {name}" if name else first


def _numpy(name: str = "", module: Any = None) -> Reader:
    return Reader(
        name=_label("np.load", name),
        open=np.load,
        one=lambda npz, key, _: npz[key],
        batch=lambda npz, keys, _: np.stack([npz[key] for key in keys]),
        run=lambda npz, keys, _: [npz.zip.read(f"{key}.npy") for key in keys] and None,
        setting=_patched(name, module),
    )


def _zipfile(name: str = "", module: Any = None) -> Reader:
    return Reader(
        name=_label("zipfile", name),
        open=zipfile.ZipFile,
        one=lambda archive, name, _: archive.read(name),
        batch=lambda archive, names, _: [archive.read(name) for name in names],
        run=lambda archive, names, _: [archive.read(name) for name in names] and None,
        setting=_patched(name, module),
    )


def _by_hand(name: str, arrays: bool, opener: Callable[[str], Any]) -> Reader:
    def one(archive: Any, key: str) -> Any:
        return archive.array(key) if arrays else archive.read(key)

    def batch(archive: Any, keys: list[str], _: Any) -> Any:
        found = [one(archive, key) for key in keys]
        return np.stack(found) if arrays else found

    def run(archive: Any, keys: list[str], _: Any) -> None:
        for key in keys:
            one(archive, key)

    return Reader(name, opener, lambda archive, key, _: one(archive, key), batch, run)


def _npz(name: str, threads: int, setting: Any) -> Reader:
    return Reader(
        name=name,
        open=fastzip.load,
        one=lambda npz, key, _: npz[key],
        batch=lambda npz, _, positions: npz.fetch(positions, threads=threads),
        run=lambda npz, _, positions: _verify(_dropin.reader_of(npz), positions, threads),
        setting=setting,
    )


def _ours(name: str, threads: int, setting: Any) -> Reader:
    return Reader(
        name=name,
        open=fastzip.ZipFile,
        one=lambda archive, name, _: archive.read(name),
        batch=lambda archive, names, _: archive.read_many(names, threads=threads),
        run=lambda archive, _, positions: _verify(_dropin.reader_of(archive), positions, threads),
        setting=setting,
    )


def _verify(reader: Any, positions: Any, threads: int) -> None:
    from fastzip._batch import Many

    Many(reader, positions, threads).raise_failure()
