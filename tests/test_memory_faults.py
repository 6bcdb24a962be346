"""Faults of memory: each allocation of the native core fails once, each of Python's fails, the
system has no more, and ten thousand failures leave nothing behind.

====  ========================================  ==================================================
   9  the nth allocation fails, for every n     test_every_allocation…, test_pythons_allocations
  10  RLIMIT_AS and lies about sizes            test_lies_under_a_limit; test_arena.py:
                                                test_memory_that_is_not_there
      leaks                                     test_failures_leak_nothing, test_ten_thousand_times
====  ========================================  ==================================================
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import itertools
import resource
import zlib

import numpy as np
import pytest

import fastzip
from fastzip import _core
from fastzip._zip import sources as _sources

pytestmark = pytest.mark.usefixtures("aftermath")

NEVER, U32 = 1 << 60, 0xFFFFFFFF


def allocations(act):
    """How many the core makes while `act` runs."""
    _core.fail_allocation(NEVER)
    try:
        act()
    finally:
        made = _core.fail_allocation(0)
    return made


def failing(faultlab, act, right, nth):
    """Let the nth allocation fail: did it happen, and what came of it?"""
    _core.fail_allocation(nth)
    try:
        verdict, got = faultlab.outcome(act)
    finally:
        made = _core.fail_allocation(0)
    if verdict != "right":
        assert isinstance(got, MemoryError), got
        got.__traceback__ = None
    else:
        assert np.array_equal(got, right)
    return made >= nth, verdict


def cold(path):
    """A reader that has looked up nothing, in a core that keeps no memory."""
    fastzip.trim()
    return fastzip.load(path)


# Without memory for the interleaved engine's lanes, members are done one after the other.
SPARED_BY_LANES = 2

KINDS = ("small", "mid", "stored", "large")


@pytest.mark.parametrize("kind", KINDS)
def test_every_allocation(faultlab, material, engine, kind):
    """MemoryError, or the right result where it can be had without; then all is well again."""
    for what, (read, right) in material.reads([kind]).items():
        threads = 3 if "3" in what else 1
        with cold(material.path) as npz:
            count = allocations(functools.partial(read, npz))
        assert count > (0 if "spec" in what else 2), what
        verdicts = []
        for nth in range(1, count + 1):
            with cold(material.path) as npz:
                happened, verdict = failing(faultlab, functools.partial(read, npz), right, nth)
                assert happened or threads > 1
                verdicts.append(verdict)
                assert np.array_equal(read(npz), right), (what, nth)
            with fastzip.load(material.path) as npz:
                assert np.array_equal(read(npz), right), (what, nth)
        assert verdicts[0] != "right"
        # zlib-ng's stream may be asked for once more; input may be reserved that nobody needs.
        spared = 1 + (SPARED_BY_LANES if engine == "interleaved" else 0)
        assert threads > 1 or verdicts.count("right") <= spared, (what, verdicts)


def look_up_none(npz):
    with contextlib.suppress(KeyError):
        npz["nothing"]
    return "nothing" in npz


OPENING = {
    "by path": (fastzip.load, len),
    "strict": (functools.partial(fastzip.load, strict=True), len),
    "and look up": (fastzip.load, lambda npz: "small1" in npz),
    "and look up what isn't there": (fastzip.load, look_up_none),
    "and list": (fastzip.load, lambda npz: npz.files[:3]),
}


@pytest.mark.parametrize("where", ["file", "memory"])
@pytest.mark.parametrize("order", ["ordered", "reversed", "many", "empty"])
def test_every_allocation_at_open(lab, faultlab, save, engine, order, where):
    if order == "many":  # more than 1 MiB: opened by the pool
        data = lab.many(30_000)
    else:
        names = [] if order == "empty" else [b"small%d.npy" % i for i in range(9)]
        members = [lab.Member(name, lab.npy(np.arange(5))) for name in names]
        backwards = list(range(9))[::-1] if order == "reversed" else None
        data = lab.Archive(members, order=backwards).build()
    source = save(data) if where == "file" else data

    def act(load, look):
        with load(source) as npz:
            if order == "reversed":  # a table of where each member must end
                npz.fetch([0, 1])
            return look(npz)

    for what, (load, look) in OPENING.items():
        right = act(load, look)
        fastzip.trim()
        count = allocations(functools.partial(act, load, look))
        assert count >= (0 if order == "empty" else 2), what
        verdicts = []
        for nth in range(1, count + 1):
            fastzip.trim()
            happened, verdict = failing(faultlab, functools.partial(act, load, look), right, nth)
            assert happened
            verdicts.append(verdict)
            assert act(load, look) == right
        # Opening can do without none; the two members of "reversed" can do without the lanes.
        spared = SPARED_BY_LANES if engine == "interleaved" and order == "reversed" else 0
        assert verdicts.count("right") <= spared, (what, verdicts)


def test_every_allocation_of_many_threads(faultlab, heavy, engine):
    """A helper without memory leaves its share to the others."""
    npz, batch = heavy
    read = functools.partial(npz.fetch, range(24), threads=4)
    read()
    outcomes = set()
    for nth in range(1, faultlab.times(60) + 8):
        fastzip.trim()
        outcomes.add(failing(faultlab, read, batch, nth))
        assert np.array_equal(read(), batch)
    assert len(outcomes) > 1


def in_use():
    """Bytes that were taken from malloc and not given back (glibc's mallinfo2)."""

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]

    info = ctypes.CDLL(None).mallinfo2  # of glibc, so not what a sanitizer hands out
    info.restype = Info
    now = info()
    return now.h + now.e  # small blocks, and mapped ones


def growth(act, warm, times):
    """By how many bytes does the process grow while it acts so often, a warm-up aside?"""
    sizes = []
    for n in (warm, times):
        for _ in range(n):
            act()
        gc.collect()
        fastzip.trim()
        sizes.append(in_use())
    return sizes[1] - sizes[0]


def test_failures_leak_nothing(faultlab, material, engine):
    """Not a byte of the core's memory, wherever the failure was."""
    reads = [item for what, item in material.reads(KINDS).items() if "3" not in what]

    def act():
        for (read, right), nth in itertools.product(reads, range(1, 9)):
            with cold(material.path) as npz:
                failing(faultlab, functools.partial(read, npz), right, nth)

    assert growth(act, 2, faultlab.times(20)) < 5000  # a scratch is larger, and 20 times
    if not faultlab.SANITIZED:  # would it be seen?
        assert growth(lambda: kept.append(_core.Block(1000)), 2, 20) > 20_000
        kept.clear()


kept = []


def wrong_in_every_way(lab):
    """One archive: a good member, and members that fail in many ways."""
    content = lab.npy(np.arange(300))
    members = [
        lab.Member(b"good.npy", content),
        lab.Member(b"crc.npy", content, crc=1),
        lab.Member(b"deflate.npy", content, body=b"\xff" * 600),
        lab.Member(b"cut.npy", content, body=lab.deflate(content)[:-9]),
        lab.Member(b"method.npy", content, method=12),
        lab.Member(b"name.npy", content, local={"name": b"nome.npy"}),
        lab.Member(b"header.npy", lab.raw_npy("{'descr': 1}")),
        lab.Member(b"short.npy", lab.raw_npy(lab.header_text("<f8", (99,)), b"abc")),
        lab.Member(b"object.npy", lab.raw_npy(lab.header_text("|O", (1,)), b"abc")),
        lab.Member(b"stored.npy", content * 4, method=0, crc=2),
        lab.Member(b"text", b"no array"),
    ]
    return lab.Archive(members).build()


def test_ten_thousand_times(lab, faultlab, save):
    """Open, read, fail: memory and descriptors stay flat."""
    path, bad = save(wrong_in_every_way(lab)), save(b"PK\3\4" + bytes(100))
    good = np.arange(300)
    damaged = fastzip.load(path).files[1:-1]
    data = path.read_bytes()
    turn = itertools.count()
    failures = []

    def act():
        i = next(turn)
        with fastzip.load(path if i % 2 else data) as npz:
            assert np.array_equal(npz["good"], good)
            for key in (damaged[i % len(damaged)], damaged[i // 7 % len(damaged)]):
                for read in (npz.__getitem__, lambda key: npz.fetch(["good", key], threads=2)):
                    verdict, _ = faultlab.outcome(read, key)
                    failures.append(verdict != "right")
        assert faultlab.outcome(fastzip.load, bad)[0] == "BadZipFile"
        if i % 100 == 99:
            assert all(failures)
            failures.clear()

    act()
    descriptors = faultlab.descriptors()
    n = faultlab.times(10_000)
    grown = growth(act, n // 5, n - n // 5)
    assert grown < 200_000, grown
    assert faultlab.descriptors() == descriptors


def without_pythons_memory(faults):
    """How often Python had no memory, for each entry of the core and for opening.

    NumPy's part isn't tried: without memory NumPy itself crashes here and there."""
    import _testcapi

    made = faults.material()
    path = str(made.path)
    source = _sources.open_path(path).source
    file = open(path, "rb")  # noqa: SIM115
    directory = _core.Directory(source, 1, 2)
    lead = made.keys("mid")[0]
    with fastzip.load(path) as npz:
        head = npz._reader.header(made.index(lead)).raw
        npz.lengths([lead])
        kinds = [kind.native for kind in npz._reader.shapes.kinds]
    positions = np.array([made.index(key) for key in made.keys("mid")])
    batch, right = np.empty((len(positions), 60_000), "u1"), made.batch("mid")
    statuses = np.empty(len(positions), "i4")
    every = (1 << 64) - 1

    def member(at):
        return bytes(_core.read_member(source, directory, at, 0, True, every))

    def fetch(threads):
        _core.fetch(source, directory, positions, None, batch, head, threads, True, statuses)

    def fetch_parts():
        places = np.arange(len(positions), dtype=np.uintp) * batch.shape[1]
        which = np.zeros(len(positions), "i4")
        _core.fetch_parts(
            *(source, directory, positions, kinds, which, places, batch.reshape(-1), 1, True),
            statuses,
        )

    def open_file():
        file.seek(0)  # a failure may leave it behind the first bytes
        fastzip.load(file).close()

    acts = {
        "open": lambda: fastzip.load(path).close(),
        "open a file": open_file,
        "part": lambda: source.part(40, 5000).close(),
        "parse": lambda: _core.Directory(source, 1, 2).find_key("small1"),
        "find": lambda: directory.find_key("gr\u00fc\u00dfe"),
        "find many": lambda: directory.find_all(["small1", "x" * 300], positions.copy(), True),
        "names": lambda: directory.names(0, 9, True),
        "read": lambda: source.read(0, 9000),
        "front": lambda: _core.read_front(source, directory, 0, 500),
        "block": lambda: _core.Block(100_000),
        "find kinds": lambda: _core.find_kinds(source, directory, positions, kinds, 1, statuses),
        "fetch parts": fetch_parts,
        **{f"one {kind}": functools.partial(member, made.index(f"{kind}1")) for kind in KINDS},
        **{f"fetch {threads}": functools.partial(fetch, threads) for threads in (1, 3)},
    }
    counts = {}
    for what, act in acts.items():
        act()
        before, fine = faults.lab.descriptors(), 0
        for start in itertools.count():
            exc = None
            # One, or five in a row; if all failed from there on, CPython's own loop that unwinds
            # frames, which takes memory for a number, wouldn't end.
            _testcapi.set_nomemory(start, start + (1 if start % 2 else 5))
            try:
                act()
            except (MemoryError, SystemError) as caught:
                exc = caught  # Python itself sometimes forgets to set the exception
                assert isinstance(exc, MemoryError) or "without setting an exc" in str(exc), exc
            finally:
                _testcapi.remove_mem_hooks()
            counts[what] = counts.get(what, 0) + (exc is not None)
            fine = fine + 1 if exc is None else 0
            if fine == 20:  # it takes no memory so late
                break
        assert faults.lab.descriptors() == before, what
        act()
    assert np.array_equal(batch, right)
    file.close()
    source.close()
    return counts


def test_pythons_allocations(faultlab, engine):
    """Each of Python's own allocations fails: a MemoryError, and never a crash."""
    pytest.importorskip("_testcapi")
    counts = faultlab.run(without_pythons_memory, timeout=60, FASTZIP_ENGINE=engine)
    assert min(counts.values()) > 0, counts


def limited(faults, path, good):
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (512 << 20), resource.RLIM_INFINITY))
    codes = {}
    with fastzip.load(path) as npz, fastzip.load(good) as fine:
        right = fine.fetch([0, 0])
        for key in npz.files:
            for read in (npz.__getitem__, lambda key: npz.fetch([key]), npz.spec):
                verdict, exc = faults.lab.outcome(read, key)
                code = getattr(exc, "code", "memory" if isinstance(exc, MemoryError) else verdict)
                codes.setdefault(key, []).append(code)
                assert np.array_equal(fine.fetch([0, 0], threads=2), right)
    with open("/proc/self/status") as file:
        peak = next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return codes, peak


def test_lies_under_a_limit(lab, faultlab, path, save):
    """With 512 MiB to spare: lies are refused before memory is taken, honest giants then."""
    header = lab.raw_npy(lab.header_text("|u1", (1 << 32,)) + " " * 50)
    zeros = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = zeros.compress(header) + zeros.flush(zlib.Z_FULL_FLUSH)
    million = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = million.compress(bytes(1 << 24)) + million.flush(zlib.Z_FULL_FLUSH)
    bomb += piece * 256 + b"\3\0"
    true = len(header) + (1 << 32)
    lie = 1 << 40
    stored = {"size": U32, "compressed_size": U32, "extra": lab.zip64_extra(lie, lie)}
    packed = {"size": U32, "extra": lab.zip64_extra(lie)}
    members = [
        lab.Member(b"stored.npy", b"x" * 500, method=0, local=stored, central=stored),
        lab.Member(b"deflated.npy", b"x" * 500, local=packed, central=packed),
        lab.Member(b"shape.npy", lab.raw_npy(lab.header_text("<f8", (1 << 45,)), bytes(900))),
        lab.Member(b"product.npy", lab.raw_npy(lab.header_text("<f8", (1 << 40, 1 << 40)))),
        lab.Member(b"length.npy", b"\x93NUMPY\2\0\xff\xff\xff\x7f{", method=0),
    ]
    members.append(lab.Member(b"bomb.npy", body=bomb, crc=5))
    members[-1].local = members[-1].central = {"size": U32, "extra": lab.zip64_extra(true)}
    archive = save(lab.Archive(members).build())
    codes, peak = faultlab.run(limited, str(archive), str(path))
    assert codes == {
        "stored": ["overlap"] * 3,
        "deflated": ["impossible_size"] * 3,
        "shape": ["npy_data"] * 3,
        "product": ["npy_header"] * 3,
        "length": ["npy_header"] * 3,
        "bomb": ["memory", "memory", "right"],
    }
    assert peak < 400 << 20 or faultlab.SANITIZED
