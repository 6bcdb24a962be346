"""Binds the inflate engines when fastzip is imported, and says which are in use.

zlib-ng is required: its wheel's extension module exports zlib-ng's own C functions, which are
looked up through the module's handle, so a build that is linked against a shared libz-ng is found
as well. An engine is used only after it has inflated a stream and computed a CRC as the standard
library does.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import TypedDict

from fastzip import _core

__all__ = ["engines"]

_ZLIB_NG = (
    "zng_inflateInit2_",
    "zng_inflate",
    "zng_inflateReset",
    "zng_inflateEnd",
    "zng_crc32_z",
)
_LIBDEFLATE = (
    "libdeflate_alloc_decompressor",
    "libdeflate_free_decompressor",
    "libdeflate_deflate_decompress_ex",
    "libdeflate_crc32",
)
_LEVELS = ("avx512", "avx2", "portable")
_LANES_FROM = 4  # members: with fewer, the interleaved engine's lanes have too little to do


class EngineInfo(TypedDict):
    """One engine: is it usable, from where, and if not, why."""

    available: bool
    version: str | None
    source: str


class EnginesInfo(TypedDict):
    """What `engines` returns."""

    inflate: str
    batches: str
    crc32: str
    forced: str | None
    zlib_ng: EngineInfo
    libdeflate: EngineInfo
    interleaved: EngineInfo


def _missing(reason: object) -> EngineInfo:
    return {"available": False, "version": None, "source": str(reason)}


def _addresses(library: ctypes.CDLL, names: Sequence[str]) -> list[int]:
    found = []
    for name in names:
        address = ctypes.cast(getattr(library, name), ctypes.c_void_p).value
        if not address:
            raise ImportError(f"{name} has no address")
        found.append(address)
    return found


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def _proves_itself() -> bool:
    """Does the engine in use inflate a stream of dynamic codes and one of long matches, and refuse
    a broken one?"""
    text = b"".join(b"%d%s" % (i * i % 97, b"fastzip" if i % 3 else b"npz") for i in range(60))
    long = text + b"".join(text[:step] * (900 // step) for step in (1, 7, 40, 100))
    stream, other = _deflated(text), _deflated(long)
    return (
        _core.inflate(stream, len(text)) == text
        and _core.inflate(other, len(long)) == long
        and isinstance(_core.inflate(stream[:-1], len(text)), int)
        and isinstance(_core.inflate(stream, len(text) - 1), int)
        and _core.crc32(text) == zlib.crc32(text)
    )


def _bind(version: str, source: str, addresses: Sequence[int]) -> EngineInfo:
    """Try the zlib-ng with these functions; leave none bound if it doesn't prove itself."""
    if version.split(".")[0] != "2":
        return _missing(f"{source}: version {version!r}; fastzip knows the stream layout of 2.x")
    _core.use_engine(False)
    if _core.bind_zlib_ng(*addresses) and _proves_itself():
        return {"available": True, "version": version, "source": source}
    _core.bind_zlib_ng(0, 0, 0, 0, 0)
    return _missing(f"{source}: zlib-ng {version} failed its proof")


def _bind_library(open_library: Callable[[], tuple[ctypes.CDLL, str]]) -> EngineInfo:
    try:
        library, source = open_library()
        version_of = library.zlibng_version
        version_of.restype = ctypes.c_char_p
        return _bind(version_of().decode(), source, _addresses(library, _ZLIB_NG))
    except (ImportError, OSError, AttributeError) as exc:
        return _missing(exc)


def _wheel() -> tuple[ctypes.CDLL, str]:
    module = importlib.import_module("zlib_ng.zlib_ng")
    if module.__file__ is None:
        raise ImportError("zlib_ng.zlib_ng has no file")
    return ctypes.CDLL(module.__file__), "the zlib-ng package"


def _system() -> tuple[ctypes.CDLL, str]:
    return ctypes.CDLL("libz-ng.so.2"), "libz-ng.so.2"


def _bind_zlib_ng() -> EngineInfo:
    linked = _core.linked_zlib_ng()
    if linked is not None:
        version, addresses = linked
        return _bind(version, "linked when fastzip was built", addresses)
    tried = []
    for opener in (_wheel, _system):
        info = _bind_library(opener)
        if info["available"]:
            return info
        tried.append(info["source"])
    return _missing("; ".join(tried))


def _bind_libdeflate() -> EngineInfo:
    try:
        package = importlib.import_module("deflate")
        module = importlib.import_module("deflate._deflate")
        if module.__file__ is None:
            raise ImportError("deflate._deflate has no file")
        addresses = _addresses(ctypes.CDLL(module.__file__), _LIBDEFLATE)
    except (ImportError, OSError, AttributeError) as exc:
        return _missing(exc)
    _core.bind_libdeflate(*addresses)
    _core.use_engine(True, alone=True)
    proven = _proves_itself()
    _core.use_engine(False)
    if not proven:
        _core.bind_libdeflate(0, 0, 0, 0)
        return _missing("libdeflate failed its proof")
    version = getattr(package, "__version__", "")
    source = f"the deflate package {version}".rstrip()
    return {"available": True, "version": None, "source": source}  # libdeflate doesn't tell its own


def _use_interleaved(forced: str | None) -> EngineInfo:
    """Set the interleaved engine to work where it is faster than one stream after the other."""
    asked = os.environ.get("FASTZIP_CPU") or None
    if asked not in (None, *_LEVELS):
        levels = f"{', '.join(_LEVELS[:-1])} or {_LEVELS[-1]}"
        raise ImportError(f"FASTZIP_CPU is {asked!r}; it may be {levels}")
    level = _core.use_lanes(0, asked)
    if level is None:
        raise ImportError(f"FASTZIP_CPU is {asked}, but this CPU lacks that")
    if forced not in (None, "interleaved"):
        return _missing(f"FASTZIP_ENGINE is {forced}")
    if forced is None and level == "portable":
        return _missing("without AVX2 and BMI2 it isn't faster than one stream after the other")
    _core.use_lanes(1, level)
    if not _proves_itself():
        _core.use_lanes(0, level)
        return _missing(f"level {level} failed its proof")
    _core.use_lanes(1 if forced else _LANES_FROM, level)
    return {"available": True, "version": None, "source": f"fastzip's own, level {level}"}


def _choose() -> EnginesInfo:
    forced = os.environ.get("FASTZIP_ENGINE") or None
    if forced == "batch":
        warnings.warn(
            "FASTZIP_ENGINE=batch is deprecated: the engine is called interleaved",
            FutureWarning,  # a DeprecationWarning would be shown to nobody who only sets a variable
            stacklevel=2,
        )
        forced = "interleaved"
    if forced not in (None, "zlib-ng", "libdeflate", "interleaved"):
        raise ImportError(
            f"FASTZIP_ENGINE is {forced!r}; it may be zlib-ng, libdeflate or interleaved"
        )
    zlib_ng = _bind_zlib_ng()
    if forced == "zlib-ng" and zlib_ng["available"]:
        libdeflate = _missing("FASTZIP_ENGINE is zlib-ng")
    else:
        libdeflate = _bind_libdeflate()
    if forced == "zlib-ng" and not zlib_ng["available"]:
        raise ImportError(f"FASTZIP_ENGINE is zlib-ng, but: {zlib_ng['source']}")
    if forced == "libdeflate" and not libdeflate["available"]:
        raise ImportError(
            f"FASTZIP_ENGINE is libdeflate, but: {libdeflate['source']}; pip install 'deflate>=0.8'"
        )
    if not zlib_ng["available"]:
        if not libdeflate["available"]:
            raise ImportError(
                f"fastzip needs zlib-ng: {zlib_ng['source']}; pip install --force-reinstall zlib-ng"
            )
        warnings.warn(
            f"fastzip found no usable zlib-ng ({zlib_ng['source']}) and uses libdeflate alone",
            RuntimeWarning,
            stacklevel=2,
        )
    whole = "libdeflate" if libdeflate["available"] else "zlib-ng"
    _core.use_engine(whole == "libdeflate")
    interleaved = _use_interleaved(forced)
    alone = interleaved["available"] and (forced == "interleaved" or whole == "zlib-ng")
    return {
        "inflate": "interleaved" if alone else whole,
        "batches": "interleaved" if interleaved["available"] else whole,
        "crc32": whole,
        "forced": forced,
        "zlib_ng": zlib_ng,
        "libdeflate": libdeflate,
        "interleaved": interleaved,
    }


_IN_USE = _choose()


def engines() -> EnginesInfo:
    """Tell which inflate engines are there, and which one is in use.

    Returns
    -------
    dict
        ``batches``: the engine for many members, ``"interleaved"`` (fastzip's own, which inflates
        several streams side by side on one thread) where the CPU has what it takes; ``inflate``:
        the one for single members, ``"libdeflate"`` where that is installed, else as for many;
        ``crc32``: the engine for checksums; ``forced``: what the environment variable
        ``FASTZIP_ENGINE`` asked for, instead, when fastzip was imported; ``zlib_ng``,
        ``libdeflate`` and ``interleaved``: for each, ``available``, ``version`` and ``source``
        (where it comes from and, of ``interleaved``, for which level of CPU; or why it isn't
        used). Where it says ``"interleaved"``, members under 300 bytes or above 16 MiB are still
        done by libdeflate or zlib-ng. zlib-ng has the last word on what another engine refuses.

    Examples
    --------
    >>> import fastzip
    >>> fastzip.engines()["batches"] in ("zlib-ng", "libdeflate", "interleaved")
    True
    """
    return {
        **_IN_USE,
        "zlib_ng": _IN_USE["zlib_ng"].copy(),
        "libdeflate": _IN_USE["libdeflate"].copy(),
        "interleaved": _IN_USE["interleaved"].copy(),
    }
