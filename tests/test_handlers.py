"""A signal's handler raises in the midst of a call: what it raises comes out, and nothing else.

CPython looks for signals where functions begin, and where those of C have returned. A profiler
raises at each of these moments of fastzip's own code, and is the handler meanwhile.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import itertools
import os
import shutil
import signal
import sys
import zipfile

import numpy as np
import pytest
from interrupting import forget_handled
from numpy.lib import format as npy_format

import fastzip
from fastzip import Loader, Padded, Ragged, _signals, errors
from fastzip._npy import header as _npy
from fastzip._zip import threads as _threads

PACKAGE = os.path.dirname(fastzip.__file__) + os.sep


class AnyError(fastzip.BadZipFile, TimeoutError, ValueError, TypeError, KeyError):
    """All that something in fastzip takes for a failure which is its own business."""


KINDS = [AnyError, ValueError, MemoryError]
"""NumPy's reader raises exactly a ValueError."""


class Raiser:
    """Raises at the nth moment, and knows what it raised."""

    def __init__(self, nth, kind):
        self.left, self.kind = nth, kind
        self.raised, self.ignored = None, None
        self.profile = self._profile  # CPython 3.11 lets go of one that raised too early

    def handle(self, *_):
        self.raised = self.kind("the handler's")
        raise self.raised

    def _profile(self, frame, event, arg):
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        self.left -= 1
        if self.left < 0 and self.raised is None:
            self.handle()

    def _ignore(self, unraisable):
        """What is raised while an object dies, a generator among them, is nobody's."""
        if unraisable.exc_value is self.raised:
            self.ignored = self.raised

    def start(self):
        self.before = signal.signal(signal.SIGALRM, self.handle), sys.unraisablehook
        sys.unraisablehook = self._ignore
        sys.setprofile(self.profile)

    def stop(self):
        sys.setprofile(None)
        forget_handled()
        handler, sys.unraisablehook = self.before
        signal.signal(signal.SIGALRM, handler)


def zipped(members, method):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, array in members.items():
            member = io.BytesIO()
            np.save(member, array)
            archive.writestr(f"{name}.npy", member.getvalue())
    return file.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    alike = {str(i): np.full(300, i) for i in range(3)}
    unequal = {str(i): np.full(1 + i % 2, i) for i in range(3)}
    mixed = {"a": np.arange(3), "b": np.arange(3.0), "c": np.arange(6).reshape(2, 3).T}
    for name, members, method in [
        ("deflated", alike, zipfile.ZIP_DEFLATED),
        ("bzip2", alike, zipfile.ZIP_BZIP2),
        ("lzma", alike, zipfile.ZIP_LZMA),
        ("unequal", unequal, zipfile.ZIP_DEFLATED),
        ("mixed", mixed, zipfile.ZIP_DEFLATED),
    ]:
        (folder / f"{name}.npz").write_bytes(zipped(members, method))
    damaged = bytearray((folder / "deflated.npz").read_bytes())
    damaged[60] ^= 255
    (folder / "damaged.npz").write_bytes(damaged)
    damaged = bytearray((folder / "bzip2.npz").read_bytes())
    damaged[60] ^= 255
    (folder / "damaged_bzip2.npz").write_bytes(damaged)
    np.save(folder / "one.npy", np.arange(5))
    return folder


def one_by_one(folder, name):
    with fastzip.load(folder / f"{name}.npz") as npz:
        return [npz[key] for key in npz.files], npz.spec("0"), npz.f


def fetch(folder, name):
    with fastzip.load(folder / f"{name}.npz") as npz:
        return npz.fetch(["2", "0", "1"], threads=2), npz.fetch([])


def into(folder, name):
    with fastzip.load(folder / f"{name}.npz") as npz:
        return npz.fetch([0, 1], out=np.empty((2, 300), int))


def ragged(folder, name):
    with fastzip.load(folder / f"{name}.npz") as npz:
        return npz.fetch_ragged([0, 1, 2]), npz.lengths()


def padded(folder, name):
    with fastzip.load(folder / f"{name}.npz") as npz:
        return npz.fetch_padded([0, 1, 2], fill_value=-1)


def shown(folder, name):
    with fastzip.load(folder / f"{name}.npz") as npz:
        return npz._repr_html_(), str(npz)


def iterate(folder, name):
    """With what members can't be samples, and with lists of values."""
    with fastzip.load(folder / f"{name}.npz") as npz:
        loader = Loader(npz, [1, 2, 3], np.arange(3.0), batch_size=2, prefetch=1)
        # list() would take a TypeError of len() for none of its business.
        return [batch for batch in loader], repr(loader)  # noqa: C416


def iterate_unequal(folder, name):
    with fastzip.load(folder / f"{name}.npz") as npz:
        return [batch for batch in Loader(Padded(npz), Ragged(npz), batch_size=2)]  # noqa: C416


def as_zipfile(folder, name):
    with fastzip.ZipFile(folder / f"{name}.npz", metadata_encoding="cp437") as archive:
        found = archive.read("0.npy"), archive.read_many(["1.npy", archive.getinfo("0.npy")])
        return found, archive.infolist(), archive.testzip()


def extract(folder, name):
    with fastzip.ZipFile(folder / f"{name}.npz") as archive:
        archive.extractall(folder / "extracted", threads=2)
    shutil.rmtree(folder / "extracted")


def array_alone(folder, name):
    return fastzip.load(folder / "one.npy")


CALLS = [
    *itertools.product(
        [one_by_one, fetch, as_zipfile, extract], ["deflated", "bzip2", "damaged_bzip2"]
    ),
    (into, "deflated"),
    (one_by_one, "lzma"),
    (fetch, "damaged"),
    (fetch, "mixed"),
    (ragged, "unequal"),
    (ragged, "bzip2"),
    (padded, "unequal"),
    (shown, "damaged_bzip2"),
    (iterate, "deflated"),
    (iterate, "mixed"),
    (iterate_unequal, "unequal"),
    (array_alone, "one"),
]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("call", "name"), CALLS, ids=[f"{call.__name__}-{name}" for call, name in CALLS]
)
def test_what_a_handler_raises_comes_out(made, call, name, monkeypatch):
    monkeypatch.setattr(_threads, "_chosen", 2)
    moments = 0
    before = own_descriptors(made)
    for nth in itertools.count():
        raised = 0
        for kind in KINDS:
            _npy.HEADERS._seen.clear()
            raiser = Raiser(nth, kind)
            came = None
            raiser.start()
            try:
                call(made, name)
            except Exception as exc:
                came = exc
            finally:
                raiser.stop()
            if raiser.raised is None or raiser.ignored is not None:
                raised += raiser.ignored is not None
                assert not came or isinstance(came, (errors.Located, KeyError, ValueError))
                continue
            raised += 1
            if came is not raiser.raised:
                raise AssertionError(nth, kind, came) from came
        if not raised:
            break
        moments += 1
    # A descriptor is a number until somebody has it: one is lost behind each os.open and os.dup.
    came = raiser = None
    gc.collect()
    lost = own_descriptors(made) - before
    for descriptor in lost:
        os.close(descriptor)
    assert len(lost) <= 4 * len(KINDS)
    assert moments > 30


def own_descriptors(folder):
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{fd}").startswith(str(folder)):
                found.add(int(fd))
    return found


def raising(kind, *_):
    raise kind("the handler's")


class Callable:
    def __call__(self, *_):
        raise TimeoutError

    def method(self, *_):
        raise TimeoutError


@pytest.mark.parametrize(
    "handle",
    [
        functools.partial(raising, TimeoutError),
        functools.partial(functools.partial(raising, TimeoutError), 1),
        Callable(),
        Callable().method,
        lambda *_: raising(TimeoutError),
    ],
)
def test_handlers_of_all_kinds_are_known(handle):
    def act():
        signal.raise_signal(signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        with pytest.raises(TimeoutError) as caught:
            act()
        assert _signals.from_handler(caught.value)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not _signals.from_handler(caught.value)
    assert not _signals.from_handler(ValueError("never raised"))


def test_what_numpy_makes_of_it(made, monkeypatch):
    """NumPy's reader takes a TypeError for a malformed header: it isn't told as one."""

    def interrupted(*_):
        signal.raise_signal(signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, functools.partial(raising, TypeError))
    module = sys.modules[npy_format.read_array_header_1_0.__module__]
    module = sys.modules.get("numpy.lib._format_impl", module)
    monkeypatch.setattr(module, "descr_to_dtype", interrupted)
    try:
        with fastzip.load(made / "deflated.npz") as npz:
            _npy.HEADERS._seen.clear()
            with pytest.raises(ValueError, match="descr is not a valid dtype") as caught:
                npz["0"]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert type(caught.value) is ValueError
    assert str(caught.value.__cause__) == "the handler's"


def test_a_stream_that_was_interrupted_twice_goes_on(made, monkeypatch):
    """Once while a member is decoded, and once while that begins anew: it hasn't ended then."""
    monkeypatch.setattr("fastzip._zip.stream.WHOLE", 0)
    with fastzip.ZipFile(made / "bzip2.npz") as archive, archive.open("0.npy") as file:
        right = archive.read("0.npy")
        raw = file.raw
        taken = bytearray(100)
        assert raw.readinto(taken) == 100
        begin = raw._begin

        def interrupted(*_):
            raise TimeoutError

        raw._piece, raw._decoded, raw._pieces = memoryview(b""), 100, map(interrupted, [0])
        with pytest.raises(TimeoutError):
            raw.readinto(bytearray(10))
        raw._begin = interrupted
        with pytest.raises(TimeoutError):
            raw.readinto(bytearray(10))
        raw._begin = begin
        rest = bytearray(len(right))
        n = raw.readinto(rest)
        assert bytes(taken) + bytes(rest[:n]) == right


def test_an_info_that_was_interrupted_is_still_a_member(made):
    """A ZipInfo and its position are known together."""
    for nth in itertools.count():
        with fastzip.ZipFile(made / "deflated.npz") as archive:
            raiser = Raiser(nth, TimeoutError)
            raiser.start()
            try:
                archive.getinfo("1.npy")
            except TimeoutError:
                pass
            finally:
                raiser.stop()
            assert archive._position(archive.getinfo("1.npy")) == 1
            if raiser.raised is None:
                break
    assert nth > 5
