"""Compares fastzip with the standard library over every real ZIP archive of a machine.

    python tests/compare/real_archives.py [FOLDER...]

looks for wheels, jars, office files, .npz, torch files and whatever else is a ZIP archive by its
content, and compares names, sizes and every byte with `zipfile`; .npz and .npy with `numpy.load` as
well, one at a time and in a batch. Encrypted members must be refused with that code, and so must
others that neither reads. Exit status 1 if anything differs.

--strict adds what strict=True would have refused.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import stat
import sys
import time
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import fastzip
from fastzip._npy.arrays import ArrayReader
from fastzip._zip import sources as _sources
from fastzip._zip.index import Limits

SUFFIXES = {
    "aar": "Android", "apk": "Android", "crx": "browser extension", "xpi": "browser extension",
    "docx": "office", "dotx": "office", "pptx": "office", "potx": "office", "xlsx": "office",
    "xltx": "office", "odb": "office", "odf": "office", "odg": "office", "odp": "office",
    "ods": "office", "odt": "office", "otg": "office", "oth": "office", "otp": "office",
    "ots": "office", "ott": "office", "epub": "office", "oxt": "office",
    "vsix": "browser extension", "ear": "jar", "jar": "jar", "war": "jar", "jmod": "Java module",
    "whl": "wheel", "egg": "egg", "npz": "npz", "pt": "torch", "pth": "torch", "pt2": "torch",
    "zip": "zip", "pyz": "zipapp", "pex": "zipapp",
}  # fmt: skip
MAGICS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK00")
BY_CONTENT = "other, by content"
NEVER = ("/proc", "/sys", "/dev", "/run")
PIECE = 1 << 20
LARGEST = 2 << 30
"""Members of more bytes are left out, and counted."""

# What an archive or a member fails with in zipfile; OSError and the like are not its verdict.
REFUSALS = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error, EOFError, ValueError,
    lzma.LZMAError,
    OverflowError, KeyError,
)  # fmt: skip


@dataclass
class Result:
    """What came of one file."""

    path: str
    kind: str
    verdict: str = "same"
    """Or: differs, refused by both, no archive, fastzip alone, unreadable."""
    members: int = 0
    arrays: int = 0
    nbytes: int = 0
    notes: list[str] = field(default_factory=list)
    """Each difference, in words."""
    refused: dict[str, int] = field(default_factory=dict)
    """Members that fastzip rightly refuses, by code; "too large" were left out."""
    strict: dict[str, int] = field(default_factory=dict)
    """What strict=True refuses, by code; -1 stands for the archive as a whole."""

    def differs(self, text: str) -> None:
        self.verdict = "differs"
        if len(self.notes) < 20:
            self.notes.append(text)


# ---- what to compare -------------------------------------------------------------------------


def kind_of(path: str) -> str | None:
    """Is this file worth a comparison, and as what? By its name, then by its content."""
    suffix = path.rpartition(".")[2].lower()
    if suffix == "npy":
        return "npy"
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
        if suffix in SUFFIXES and magic:
            return SUFFIXES[suffix] if magic in MAGICS or zipfile.is_zipfile(path) else None
        if magic in MAGICS or zipfile.is_zipfile(path):
            return BY_CONTENT
    except OSError:
        pass
    return None


def files_in(folders: list[str]) -> Iterator[str]:
    """Every regular file below these, once."""
    seen = set()
    stack = list(reversed(folders))
    while stack:
        folder = stack.pop()
        if os.path.abspath(folder).startswith(NEVER):
            continue
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except NotADirectoryError:
            yield folder
            continue
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                stack.append(entry.path)
            elif stat.S_ISREG(status.st_mode) and status.st_size >= 22:
                identity = (status.st_dev, status.st_ino)
                if identity not in seen:
                    seen.add(identity)
                    yield entry.path


def default_folders() -> list[str]:
    """Where a machine keeps most of its archives; none lies within another."""
    wanted = [sys.prefix, sys.base_prefix, "/usr", "/opt", "/var", "/srv", str(Path.home())]
    found: list[str] = []
    for name in sorted({os.path.realpath(name) for name in wanted if os.path.isdir(name)}):
        if not any(name.startswith(other.rstrip("/") + "/") for other in found):
            found.append(name)
    return found


# ---- one file --------------------------------------------------------------------------------


def code_of(exc: BaseException) -> str:
    return str(getattr(exc, "code", "")) or type(exc).__name__


def attempt(call: Callable[[], Any]) -> Any:
    """What the call returns, or the exception that it raises."""
    try:
        return call()
    except Exception as exc:
        return exc


def attempt_ours(call: Callable[[], Any]) -> Any:
    """The same for fastzip, whose refusals all have a code: anything else is a bug, and raised."""
    result = attempt(call)
    if isinstance(result, Exception) and not getattr(result, "code", ""):
        raise result
    return result


def read_view(reader: ArrayReader, position: int) -> Any:
    """A member's bytes, as a view that can be cut without a copy; or the exception."""
    data = attempt_ours(lambda: reader.data(position))
    return data if isinstance(data, Exception) else memoryview(data)


def same_stream(archive: zipfile.ZipFile, info: zipfile.ZipInfo, data: memoryview) -> bool:
    """Does zipfile read exactly these bytes? Piece by piece; raises what zipfile raises."""
    at = 0
    with archive.open(info) as stream:
        while piece := stream.read(PIECE):
            if data[at : at + len(piece)] != piece:
                return False
            at += len(piece)
    return at == len(data)


def zipfile_knows(method: int) -> bool:
    """Does zipfile read it here?"""
    check: Any = zipfile._check_compression  # type: ignore[attr-defined]
    return not isinstance(attempt(lambda: check(method)), Exception)


def drain(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    with archive.open(info) as stream:
        while stream.read(PIECE):
            pass


def compare_member(
    result: Result,
    archive: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    reader: ArrayReader,
    position: int,
) -> None:
    row = reader.index.rows[position]
    where = f"member {position}, {info.orig_filename!r}"
    name = attempt(lambda: reader.index.name(position))
    stated = (info.orig_filename, info.file_size, info.compress_size, info.CRC, info.compress_type)
    ours = (name, *(int(row[key]) for key in ("size", "compressed_size", "crc", "method")))
    if ours != stated or int(row["flags"]) != info.flag_bits:
        result.differs(f"{where}: the directories differ: zipfile {stated}, fastzip {ours}")
    if info.file_size > LARGEST:
        result.refused["too large"] = result.refused.get("too large", 0) + 1
        return
    data = read_view(reader, position)
    if info.flag_bits & 0x2041:
        code = "password" if info.flag_bits & 0x2041 == 1 else "encrypted"
        if isinstance(data, Exception) and code_of(data) == code:
            result.refused[code] = result.refused.get(code, 0) + 1
        else:
            got = code_of(data) if isinstance(data, Exception) else "its bytes"
            result.differs(f"{where}: {got} where the refusal {code!r} was expected")
    elif not zipfile_knows(info.compress_type):
        if isinstance(data, Exception):
            code = code_of(data)
            if code not in ("method", "package"):
                result.differs(f"{where}: {data}")
            result.refused[code] = result.refused.get(code, 0) + 1
        else:  # its CRC was right
            result.nbytes += len(data)
    elif isinstance(data, Exception):
        try:
            drain(archive, info)
        except REFUSALS:
            code = f"both: {code_of(data)}"
            result.refused[code] = result.refused.get(code, 0) + 1
        else:
            result.differs(f"{where}: zipfile reads it, fastzip: {data}")
    else:
        result.nbytes += len(data)
        try:
            if not same_stream(archive, info, data):
                result.differs(f"{where}: other bytes")
        except REFUSALS as exc:
            result.differs(f"{where}: fastzip reads it, zipfile: {type(exc).__name__}: {exc}")


def compare_zip(result: Result, strict: bool) -> None:
    """Names, sizes, bytes."""
    archive = attempt(lambda: zipfile.ZipFile(result.path))
    opened = _sources.open_path(result.path)
    try:
        reader = attempt_ours(lambda: ArrayReader(opened))
        if isinstance(archive, Exception):
            if isinstance(reader, Exception):
                result.verdict = "refused by both"
                result.refused[code_of(reader)] = 1
            else:
                result.verdict = "fastzip alone"
                result.members = len(reader.index)
                result.notes.append(f"zipfile: {type(archive).__name__}: {archive}")
            return
        with archive:
            if isinstance(reader, Exception):
                refused_alone(result, archive, reader)
                return
            infos = archive.infolist()
            result.members = len(infos)
            if len(infos) != len(reader.index):
                result.differs(f"{len(infos)} members in zipfile, {len(reader.index)} in fastzip")
                return
            for position, info in enumerate(infos):
                compare_member(result, archive, info, reader, position)
        if strict:
            try_strict(result, opened, reader)
    finally:
        opened.source.close()


def refused_alone(result: Result, archive: zipfile.ZipFile, exc: Exception) -> None:
    """fastzip refuses what zipfile opens. That is a difference, except where zipfile gets nothing
    out of it, or not all since it is the last part of a split archive."""
    infos, read = archive.infolist(), 0
    for info in infos:
        try:
            drain(archive, info)
            read += 1
        except (*REFUSALS, OSError):
            continue
    with open(result.path, "rb") as file:
        magic = file.read(4)
    if not infos and result.kind == BY_CONTENT and magic not in MAGICS:
        result.verdict = "no archive"  # a program that holds the bytes of an end record, mostly
    elif infos and (read == 0 or (read < len(infos) and code_of(exc) == "multi_disk")):
        result.verdict = "refused by both"
        result.refused[code_of(exc)] = 1
    else:
        result.differs(f"zipfile opens it, fastzip: {exc}")


def try_strict(result: Result, opened: Any, lenient: ArrayReader) -> None:
    """What would strict=True refuse that isn't refused anyway?"""
    reader = attempt_ours(lambda: ArrayReader(opened, limits=Limits(strict=True)))
    if isinstance(reader, Exception):
        result.strict[code_of(reader)] = -1
        return
    for position in range(len(reader.index)):
        if int(reader.index.rows[position]["size"]) > LARGEST:
            continue
        data = read_view(reader, position)
        if isinstance(data, Exception) and not isinstance(read_view(lenient, position), Exception):
            code = code_of(data)
            result.strict[code] = result.strict.get(code, 0) + 1


def same_array(ours: Any, theirs: Any) -> bool:
    """Bit for bit; what NumPy refuses, fastzip must refuse, and the other way round."""
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        return isinstance(theirs, Exception) and isinstance(ours, Exception)
    if isinstance(theirs, bytes) or isinstance(ours, bytes):
        return isinstance(ours, type(theirs)) and bytes(ours) == theirs
    if (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
        return False
    if ours.flags.fnc != theirs.flags.fnc:
        return False
    return bool(ours.tobytes("A") == theirs.tobytes("A"))


def compare_arrays(result: Result, strict: bool) -> None:
    """As numpy.load reads it, one at a time and two in a batch."""
    theirs = attempt(lambda: np.load(result.path))
    ours = attempt(lambda: fastzip.load(result.path))
    if isinstance(theirs, Exception) or isinstance(ours, Exception) or result.kind == "npy":
        if not same_array(ours, theirs):
            result.differs(f"numpy.load: {str(theirs)[:200]!r}, fastzip.load: {str(ours)[:200]!r}")
        elif isinstance(ours, Exception):
            result.verdict = "refused by both"
            result.refused[code_of(ours)] = 1
        else:
            result.arrays, result.nbytes = 1, ours.nbytes
            if strict:
                again = attempt(lambda: fastzip.load(result.path, strict=True))
                if isinstance(again, Exception):
                    result.strict[code_of(again)] = -1
        return
    with theirs, ours:
        if theirs.files != ours.files:
            result.differs("NpzFile.files differ")
            return
        careful = attempt(lambda: fastzip.load(result.path, strict=True)) if strict else None
        for key in theirs.files:
            a, b = attempt(lambda k=key: ours[k]), attempt(lambda k=key: theirs[k])
            result.arrays += 1
            if not same_array(a, b):
                result.differs(f"{key}: numpy {str(b)[:100]!r}, fastzip {str(a)[:100]!r}")
            elif isinstance(a, np.ndarray):
                batch = attempt(lambda k=key: ours.fetch([k, k]))
                native = a.astype(a.dtype.newbyteorder("="), order="C")
                if isinstance(batch, Exception):
                    result.differs(f"{key}: a batch fails: {batch}")
                elif any(row.tobytes() != native.tobytes() for row in batch):
                    result.differs(f"{key}: a batch has other bytes")
                if isinstance(careful, fastzip.NpzFile):
                    c = attempt(lambda k=key: careful[k])
                    if isinstance(c, Exception) and code_of(c) == "npy_trailing":
                        result.strict["npy_trailing"] = result.strict.get("npy_trailing", 0) + 1


def compare(task: tuple[str, str], strict: bool = False) -> dict[str, Any]:
    """One file; a dict, since it crosses processes."""
    path, kind = task
    result = Result(path, kind)
    warnings.simplefilter("ignore")
    try:
        if kind != "npy":
            compare_zip(result, strict)
        if kind in ("npz", "npy") and result.verdict == "same":
            compare_arrays(result, strict)
    except OSError as exc:
        result.verdict = "unreadable"
        result.notes.append(str(exc))
    except Exception as exc:  # neither reader's verdict: it must be seen, with its file
        result.differs(f"{type(exc).__name__}: {exc}")
    return asdict(result)


# ---- all of them -----------------------------------------------------------------------------


def progress(items: Any, total: int | None, what: str) -> Any:
    """The items, with a bar on a terminal where tqdm is installed."""
    if sys.stderr.isatty():
        try:
            from tqdm import tqdm
        except ImportError:
            return items
        return tqdm(items, what, total, leave=False)
    return items


def find(folders: list[str]) -> list[tuple[str, str]]:
    found = []
    for path in progress(files_in(folders), None, "looking"):
        kind = kind_of(path)
        if kind is not None:
            found.append((path, kind))
    return found


def table(results: list[dict[str, Any]], strict: bool) -> list[str]:
    """In Markdown, a line for each kind."""
    columns = ["kind", "files", "members", "arrays", "MB", "the same", "refused by both",
               "no archive", "fastzip alone", "differ"]  # fmt: skip
    if strict:
        columns += ["refused by strict", "and why"]
    lines = ["| " + " | ".join(columns) + " |", "|---" + "|---:" * (len(columns) - 1) + "|"]
    kinds = [*sorted({r["kind"] for r in results}), "all"]
    for kind in kinds:
        of = [r for r in results if kind in (r["kind"], "all")]
        verdicts = Counter(r["verdict"] for r in of)
        cells: list[Any] = [kind, len(of), sum(r["members"] for r in of)]
        cells += [sum(r["arrays"] for r in of), sum(r["nbytes"] for r in of) // 10**6]
        cells += [verdicts[v] for v in ("same", "refused by both", "no archive")]
        cells += [verdicts[v] for v in ("fastzip alone", "differs")]
        if strict:
            codes = Counter(code for r in of for code in r["strict"])
            cells += [sum(bool(r["strict"]) for r in of)]
            cells += [", ".join(f"{code} {n}" for code, n in codes.most_common())]
        lines.append("| " + " | ".join(f"{c:,}" if isinstance(c, int) else c for c in cells) + " |")
    return lines


def report(results: list[dict[str, Any]], strict: bool, seconds: float) -> None:
    print("\n".join(table(results, strict)))
    refused: Counter[str] = Counter()
    for result in results:
        refused.update(result["refused"])
    if refused:
        print("\nRefused, rightly: " + ", ".join(f"{c} {n:,}" for c, n in refused.most_common()))
    for verdict in ("differs", "fastzip alone", "unreadable"):
        for result in results:
            if result["verdict"] == verdict:
                print(f"\n{verdict}: {result['path']}")
                for note in result["notes"]:
                    print(f"    {note}")
    differ = sum(r["verdict"] == "differs" for r in results)
    print(f"\n{len(results):,} files in {seconds:.0f} s: {differ:,} differ")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Compare fastzip with zipfile and numpy over real archives."
    )
    parser.add_argument("folders", nargs="*", help="default: where a machine keeps most of them")
    parser.add_argument("--strict", action="store_true", help="what would strict=True refuse?")
    parser.add_argument("--json", metavar="FILE", help="write what came of each file")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--exclude", metavar="FOLDER", action="append", default=[])
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    tasks = find(options.folders or default_folders())
    left_out = tuple(os.path.join(os.path.abspath(name), "") for name in options.exclude)
    tasks = [task for task in tasks if not os.path.abspath(task[0]).startswith(left_out or ("\0",))]
    work, what = partial(compare, strict=options.strict), f"{len(tasks):,} files"
    with ExitStack() as stack:
        results: Iterator[dict[str, Any]] = map(work, tasks)
        if options.jobs > 1:
            pool = stack.enter_context(ProcessPoolExecutor(options.jobs))
            results = pool.map(work, tasks, chunksize=4)
        done = list(progress(results, len(tasks), what))
    report(done, options.strict, time.perf_counter() - start)
    if options.json:
        Path(options.json).write_text(json.dumps(done, indent=1))
    return int(any(result["verdict"] == "differs" for result in done))


if __name__ == "__main__":
    sys.exit(main())
