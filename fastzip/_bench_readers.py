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
from fastzip import _core

_PATCHES: Final = {"zlib-ng": "zlib_ng.zlib_ng", "ISA-L": "isal.isal_zlib"}
"""What `zipfile` may use instead of zlib: the module of each that has zlib's functions."""


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


def readers(arrays: bool, threads: int) -> tuple[list[Reader], dict[str, str]]:
    """Those that are installed, the usual one first; and why others aren't used.

    Parameters
    ----------
    arrays : bool
        Read arrays of an .npz; else bytes.
    threads : int
        For what fastzip reads in batches.
    """
    usual = _numpy if arrays else _zipfile
    found = [usual()]
    missing = {}
    for name, module in _PATCHES.items():
        try:
            patch = importlib.import_module(module)
        except ImportError as exc:
            missing[f"{found[0].name} + {name}"] = f"not installed ({exc.name or exc})"
            continue
        found.append(usual(name, patch))
    engines = fastzip.engines()
    ours = _npz if arrays else _ours
    kinds = {
        "fastzip": None,
        "fastzip, zlib-ng": ("zlib_ng", False, 0),
        "fastzip, libdeflate": ("libdeflate", True, 0),
        "fastzip, batch": ("batch", engines["libdeflate"]["available"], 1),
    }
    for label, kind in kinds.items():
        if kind is None:
            found.append(ours(label, threads, contextlib.nullcontext))
            continue
        engine, libdeflate, lanes = kind
        info: Any = engines[engine]  # type: ignore[literal-required]
        if not info["available"]:
            missing[label] = info["source"]
            continue
        found.append(ours(label, threads, _setting(libdeflate, lanes)))
    return found, missing


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


def _npz(name: str, threads: int, setting: Any) -> Reader:
    return Reader(
        name=name,
        open=fastzip.load,
        one=lambda npz, key, _: npz[key],
        batch=lambda npz, _, positions: npz.fetch(positions, threads=threads),
        run=lambda npz, _, positions: _verify(npz._reader, positions, threads),
        setting=setting,
    )


def _ours(name: str, threads: int, setting: Any) -> Reader:
    return Reader(
        name=name,
        open=fastzip.ZipFile,
        one=lambda archive, name, _: archive.read(name),
        batch=lambda archive, names, _: archive.read_many(names, threads=threads),
        run=lambda archive, _, positions: _verify(archive._reader, positions, threads),
        setting=setting,
    )


def _verify(reader: Any, positions: Any, threads: int) -> None:
    from fastzip._many import Many

    Many(reader, positions, threads).raise_failure()
