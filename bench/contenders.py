"""Everything that the suite compares, each behind the same few methods.

A contender is a name, the kinds of work that it can do, and a function that makes its `Ways` in the
process that does the work. The order here is the order in every table and picture.
"""

import io
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import converted
import data
import numpy as np
from numpy.typing import NDArray

import fastzip
from fastzip._cli import bench_byhand as _bench_byhand
from fastzip._cli import bench_readers as _bench_readers
from fastzip._cli import machine as _machine
from fastzip._cli.bench_readers import Missing

Array = NDArray[Any]


class Ways:
    """How one contender does the work. What a subclass doesn't override is done as people do it
    who have nothing else: a member after the other, or by a pool of threads."""

    shared = True  # threads may read one archive at once

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self.others: list[Any] = []  # the same archive for each thread but one, where they can't

    def path(self, name: str) -> str:
        """The file that it reads of a set."""
        return data.path(name)

    def setting(self) -> AbstractContextManager[Any]:
        """In what all of the following is called."""
        return nullcontext()

    def open(self, path: str) -> Any:
        raise NotImplementedError

    def count(self, archive: Any) -> int:
        return len(archive)

    def one(self, archive: Any, key: str, position: int) -> Array:
        raise NotImplementedError

    def several(self, archive: Any, keys: list[str], positions: Array) -> list[Array]:
        n = self.threads
        archives = [archive, *self.others] if self.others else [archive] * n
        pairs = list(zip(keys, positions.tolist(), strict=True))

        def some(i: int) -> list[Array]:
            return [self.one(archives[i], *pair) for pair in pairs[i::n]]

        if self.pool is None:
            return some(0)
        found: list[Any] = [None] * len(keys)
        for i, arrays in enumerate(self.pool.map(some, range(n))):
            found[i::n] = arrays
        return found

    def batch(self, archive: Any, keys: list[str], positions: Array) -> Array:
        return np.stack(self.several(archive, keys, positions))

    def padded(self, archive: Any, keys: list[str], positions: Array) -> Array:
        arrays = self.several(archive, keys, positions)
        most = max(map(len, arrays))
        others = [(0, 0)] * (arrays[0].ndim - 1)
        return np.stack([np.pad(a, [(0, most - len(a)), *others]) for a in arrays])

    def epoch(self, archive: Any, keys: list[str], seed: int, size: int) -> Iterator[Array]:
        order = np.random.default_rng(seed).permutation(len(keys))
        for start in range(0, len(order), size):
            some = order[start : start + size]
            yield self.batch(archive, [keys[i] for i in some.tolist()], some)

    def extract(self, path: str, folder: str) -> None:
        raise NotImplementedError


class Shared(Ways):
    """What `fastzip bench` reads an archive with as well."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads)
        self.reader = _bench_readers.make(name, True, threads)
        self.shared = not name.startswith("np.load")  # which reads with zipfile

    def setting(self) -> AbstractContextManager[Any]:
        return self.reader.setting()

    def open(self, path: str) -> Any:
        return self.reader.open(path)

    def one(self, archive: Any, key: str, position: int) -> Array:
        array: Array = self.reader.one(archive, key, position)
        return array


class Zipfile(Ways):
    """`zipfile`, and `np.load` of what it read; or with another library in place of zlib.

    Up to the fix of CPython's issue 127847 it seeks relative to a position that threads share,
    where a local header has an extra field, as NumPy's have: of 6,000 times that two threads read
    20 members of one archive with Python 3.12.1, 220 failed.
    """

    shared = False

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads)
        self.reader = _bench_readers.make(name, False, threads)

    def setting(self) -> AbstractContextManager[Any]:
        return self.reader.setting()

    def open(self, path: str) -> Any:
        return zipfile.ZipFile(path)

    def count(self, archive: Any) -> int:
        return len(archive.filelist)

    def one(self, archive: Any, key: str, position: int) -> Array:
        array: Array = np.load(io.BytesIO(archive.read(f"{key}.npy")))
        return array

    def extract(self, path: str, folder: str) -> None:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)


class Fastzip(Shared):
    """fastzip; FASTZIP_ENGINE forces an engine."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, "fastzip")

    def batch(self, archive: Any, keys: list[str], positions: Array) -> Array:
        batch: Array = archive.fetch(positions, threads=self.threads)
        return batch

    def padded(self, archive: Any, keys: list[str], positions: Array) -> Array:
        batch: Array = archive.fetch_padded(positions, threads=self.threads)[0]
        return batch

    def epoch(self, archive: Any, keys: list[str], seed: int, size: int) -> Iterator[Array]:
        threads: dict[str, int] = {"threads": self.threads}
        if self.threads == 1:  # reading ahead would be a second one
            threads["prefetch"] = 0
        yield from fastzip.Loader(archive, batch_size=size, shuffle=True, seed=seed, **threads)

    def extract(self, path: str, folder: str) -> None:
        with fastzip.ZipFile(path) as archive:
            archive.extractall(folder, threads=self.threads)


class Rapidgzip(Ways):
    """The stream of one member, made a gzip file in memory, inflated by several threads."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.rapidgzip = _imported("rapidgzip")

    def open(self, path: str) -> Any:
        return _bench_byhand.ByHand(path, self.inflate, None)  # it compares the CRC itself

    def inflate(self, stream: bytes, info: zipfile.ZipInfo) -> Any:
        front = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
        size = info.file_size & 0xFFFFFFFF
        trailer = info.CRC.to_bytes(4, "little") + size.to_bytes(4, "little")
        file = io.BytesIO(front + stream + trailer)
        with self.rapidgzip.open(file, parallelization=self.threads) as inflated:
            return inflated.read()

    def one(self, archive: Any, key: str, position: int) -> Array:
        array: Array = archive.array(key)
        return array


class Torch(Ways):
    """`torch.load` of a tensor that `torch.save` wrote."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.torch = _imported("torch")
        self.torch.set_num_threads(threads)

    def path(self, name: str) -> str:
        return converted.torch_file(name)

    def open(self, path: str) -> Any:
        return _Path(path)

    def one(self, archive: Any, key: str, position: int) -> Array:
        array: Array = self.torch.load(archive.path, weights_only=True).numpy()
        return array


class WebDataset(Ways):
    """WebDataset's pipeline over a tar of the same samples, shuffled through a buffer of 1,000."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.webdataset = _imported("webdataset")

    def path(self, name: str) -> str:
        return converted.tar_file(name)

    def open(self, path: str) -> Any:
        return _Path(path)

    def epoch(self, archive: Any, keys: list[str], seed: int, size: int) -> Iterator[Array]:
        samples = self.webdataset.WebDataset(archive.path, shardshuffle=False)
        for (batch,) in samples.shuffle(1000).decode().to_tuple("npy").batched(size):
            yield np.asarray(batch)


class ArrayRecord(Ways):
    """Grain's ArrayRecord, a record for each sample, which holds a `.npy` file."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.records = _imported("array_record.python.array_record_data_source")

    def path(self, name: str) -> str:
        return converted.array_record_file(name)

    def open(self, path: str) -> Any:
        source = self.records.ArrayRecordDataSource([path])
        source.close = lambda: source.__exit__(None, None, None)
        return source

    def one(self, archive: Any, key: str, position: int) -> Array:
        return _bench_byhand.array_of(archive[position])

    def batch(self, archive: Any, keys: list[str], positions: Array) -> Array:
        records = archive.__getitems__(positions.tolist())
        return np.stack([_bench_byhand.array_of(record) for record in records])


class Tool(Ways):
    """A program that extracts."""

    def __init__(self, threads: int, programs: tuple[str, ...], arguments: tuple[str, ...]) -> None:
        super().__init__(threads)
        self.program = _program(programs)
        self.arguments = arguments

    def extract(self, path: str, folder: str) -> None:
        said = {"path": path, "folder": folder, "threads": self.threads}
        command = [self.program, *(argument.format(**said) for argument in self.arguments)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip()[:200]}")


class _Path:
    """An archive that is opened anew for each read."""

    def __init__(self, path: str) -> None:
        self.path = path

    def close(self) -> None:
        pass


def _imported(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as exc:
        raise Missing(f"not installed ({exc.name or exc})") from exc


def _program(names: tuple[str, ...]) -> str:
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise Missing(f"not installed ({' or '.join(names)})")


@dataclass(frozen=True)
class Contender:
    """One of those that are compared."""

    name: str
    make: Callable[[int], Ways]  # make(threads), in the process that does the work
    does: frozenset[str]
    why: str = ""  # it does nothing else
    engine: str = ""  # FASTZIP_ENGINE
    package: str = ""  # whose version is told
    program: tuple[str, ...] = ()  # or of which of these
    holds: bool = False  # the whole file in memory, once it is open

    def version(self) -> str | None:
        """Of the package or program; None: it isn't here."""
        if self.package:
            return _machine.version_of(self.package)
        return _first_line(self.program) if self.program else None


def _first_line(names: tuple[str, ...]) -> str | None:
    try:
        program = _program(names)
    except Missing:
        return None
    option = {"unzip": "-v", "bsdtar": "--version"}.get(names[0], "i")
    said = subprocess.run([program, option], capture_output=True, text=True).stdout
    return next((line.strip()[:60] for line in said.splitlines() if line.strip()), None)


_READS = frozenset(("open", "one", "big", "batch", "padded", "epoch", "files"))
_INFLATES = _READS - {"open", "files"}
_OPENS = "opens as the first of its kind does"
_EXTRACTS = frozenset(("extract",))
_SEVEN = ("7zz", "7z", "7za")


def _shared(name: str, package: str, does: frozenset[str] = _INFLATES, **more: Any) -> Contender:
    why = _OPENS if does == _INFLATES else "doesn't extract"
    return Contender(name, lambda n: Shared(n, name), does, why, package=package, **more)


def _zipfile(name: str, package: str = "") -> Contender:
    does = _EXTRACTS if package else (_READS - {"padded", "epoch"}) | _EXTRACTS
    why = "as np.load, which uses it"
    return Contender(name, lambda n: Zipfile(n, name), does, why, package=package)


def _fastzip(name: str, engine: str = "", package: str = "") -> Contender:
    does = _INFLATES if engine else _READS
    return Contender(name, Fastzip, does | _EXTRACTS, _OPENS, engine, package)


def _tool(name: str, programs: tuple[str, ...], *arguments: str) -> Contender:
    return Contender(
        name,
        lambda n: Tool(n, programs, arguments),
        _EXTRACTS,
        "extracts alone",
        program=programs,
    )


_ALL = (
    _shared("np.load", "numpy", _READS),
    _zipfile("zipfile"),
    _shared("np.load + zlib-ng", "zlib-ng"),
    _zipfile("zipfile + zlib-ng", "zlib-ng"),
    _shared("np.load + ISA-L", "isal"),
    _zipfile("zipfile + ISA-L", "isal"),
    _shared("SPDL", "spdl_io", _READS, holds=True),
    _shared("libdeflate by hand", "deflate"),
    _shared("cramjam by hand", "cramjam"),
    Contender("rapidgzip", Rapidgzip, frozenset(("big",)), "for large streams", "", "rapidgzip"),
    Contender("torch.load", Torch, frozenset(("big",)), "reads its own files", "", "torch"),
    Contender(
        *("WebDataset", WebDataset, frozenset(("epoch",))),
        "reads from front to back",
        package="webdataset",
    ),
    Contender(
        *("ArrayRecord", ArrayRecord, frozenset(("one", "batch", "epoch"))),
        "a format of its own, shown for context",
        package="array_record",
    ),
    _tool("unzip", ("unzip",), "-q", "-o", "{path}", "-d", "{folder}"),
    _tool("7-Zip", _SEVEN, "x", "-y", "-bd", "-tzip", "-mmt={threads}", "-o{folder}", "{path}"),
    _tool("bsdtar", ("bsdtar",), "-xf", "{path}", "-C", "{folder}"),
    _fastzip("fastzip"),
    _fastzip("fastzip, zlib-ng", "zlib-ng", "zlib-ng"),
    _fastzip("fastzip, libdeflate", "libdeflate", "deflate"),
    _fastzip("fastzip, interleaved", "interleaved"),
)
CONTENDERS = {contender.name: contender for contender in _ALL}
CONTEXT = ("torch.load", "WebDataset", "ArrayRecord")
"""Other formats: they don't read the archive, and are told for context."""
