"""A signal's handler raises in the midst of a call: what it raises comes out, and nothing else.

CPython looks for signals where functions begin, and where those of C have returned. A profiler
raises at each of these moments of fastzip's own code, and is the handler meanwhile.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import shutil
import signal
import sys
import types
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy_format

import fastzip
from fastzip import Loader, Padded, Ragged, _npy, _signals, _threads, errors

PACKAGE = os.path.dirname(fastzip.__file__) + os.sep
KINDS = [TimeoutError, ValueError, MemoryError, fastzip.BadZipFile, TypeError, KeyError]
"""Each is what something in fastzip takes for a failure that is its own business."""


class Raiser:
    """Raises at the nth moment, and knows what it raised."""

    def __init__(self, nth, kind):
        self.left, self.kind, self.raised = nth, kind, None

    def handle(self, *_):
        self.raised = self.kind("the handler's")
        raise self.raised

    def _profile(self, frame, event, arg):
        if event not in ("call", "c_return") or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        self.left -= 1
        if self.left < 0 and self.raised is None and not is_dying(frame):
            self.handle()

    def __enter__(self):
        signal.signal(signal.SIGALRM, self.handle)
        sys.setprofile(self._profile)

    def __exit__(self, *exc):
        sys.setprofile(None)


def is_dying(frame):
    """What is raised in a `__del__` is nobody's."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


@pytest.fixture(autouse=True)
def handler():
    before = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, before)


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
        return list(loader), repr(loader)


def iterate_unequal(folder, name):
    with fastzip.load(folder / f"{name}.npz") as npz:
        return list(Loader(Padded(npz), Ragged(npz), batch_size=2))


def as_zipfile(folder, name):
    with fastzip.ZipFile(folder / f"{name}.npz", metadata_encoding="cp437") as archive:
        found = archive.read("0.npy"), archive.read_many(["1.npy", archive.getinfo("0.npy")])
        return found, archive.infolist(), archive.testzip()


def streamed(folder, name):
    with fastzip.ZipFile(folder / f"{name}.npz") as archive, archive.open("0.npy") as file:
        return file.read(100), file.read()


def extract(folder, name):
    with fastzip.ZipFile(folder / f"{name}.npz") as archive:
        archive.extractall(folder / "extracted", threads=2)
    shutil.rmtree(folder / "extracted")


def array_alone(folder, name):
    return fastzip.load(folder / "one.npy")


CALLS = [
    *itertools.product(
        [one_by_one, fetch, into, as_zipfile, extract], ["deflated", "bzip2", "damaged_bzip2"]
    ),
    (one_by_one, "lzma"),
    (fetch, "damaged"),
    (fetch, "mixed"),
    (ragged, "unequal"),
    (ragged, "bzip2"),
    (padded, "unequal"),
    (padded, "damaged_bzip2"),
    (shown, "damaged_bzip2"),
    (iterate, "deflated"),
    (iterate, "mixed"),
    (iterate_unequal, "unequal"),
    (streamed, "bzip2"),
    (array_alone, "one"),
]


@pytest.mark.parametrize(
    ("call", "name"), CALLS, ids=[f"{call.__name__}-{name}" for call, name in CALLS]
)
def test_what_a_handler_raises_comes_out(made, call, name, monkeypatch):
    monkeypatch.setattr(_threads, "_chosen", 2)
    moments = 0
    for nth in itertools.count():
        raised = 0
        for kind in KINDS:
            _npy.HEADERS._seen.clear()
            raiser = Raiser(nth, kind)
            came = None
            try:
                with raiser:
                    call(made, name)
            except Exception as exc:
                came = exc
            if raiser.raised is None:
                assert not came or isinstance(came, (errors.Located, KeyError, ValueError))
                continue
            raised += 1
            if came is not raiser.raised:
                raise AssertionError(nth, kind, came) from came
        if not raised:
            break
        moments += 1
    assert moments > 30
