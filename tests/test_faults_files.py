"""Faults of files: they change while they are open, aren't files at all, or have strange names.

====  ========================================  ==================================================
   1  truncated while open                      test_truncated_while_open, test_grows_again; and
                                                test_member_checks.py: test_file_cut_short_…
   2  replaced by rename                        test_replaced_by_rename
   3  rewritten in place                        test_rewritten_in_place; test_limits.py: test_stale
   4  appended to by zipfile                    test_appended_to
  22  FIFOs, devices, directories, sockets      test_no_regular_file; test_sources.py:
                                                test_pipes_and_devices_do_not_block
  24  no space left, read-only folders          test_reading_writes_nothing; test_extract.py:
                                                test_no_room, test_the_nth_write_fails
  25  locale, UTF-8 mode, time zone             test_names_in_every_locale
  27  long paths, undecodable paths             test_paths_beyond_path_max, test_undecodable_path
====  ========================================  ==================================================
"""

from __future__ import annotations

import contextlib
import errno
import os
import pickle
import shutil
import socket
import threading
import time
import zipfile

import numpy as np
import pytest

import fastzip

pytestmark = pytest.mark.usefixtures("aftermath")

KINDS = ("small", "mid", "stored", "large")


@pytest.fixture
def other(faultlab, tmp_path):
    """An archive of the same names, sizes of arrays, and methods, with other bytes."""
    return faultlab.Material(tmp_path / "other.npz", salt=1)


@pytest.mark.parametrize("threads", [1, 3])
def test_truncated_while_open(faultlab, material, threads):
    """At every length: members in front of the cut are read, the others end in short_read."""
    data = material.path.read_bytes()
    with fastzip.load(material.path) as npz:
        rows = npz.index.rows
        ends = [int(offset) for offset in [*rows["header_offset"][1:], data.index(b"PK\1\2")]]
        cuts = [0, 1, 29, *(end + d for end in ends[:-1] for d in (-1, 0, 1)), len(data) - 1]
        for cut in reversed(cuts):
            os.truncate(material.path, cut)
            lost = {key for key, end in zip(material.arrays, ends, strict=True) if end > cut}
            for kind in KINDS:
                keys, batch = material.keys(kind), material.batch(kind)
                out = np.full_like(batch, 7)
                verdict, exc = faultlab.outcome(npz.fetch, keys, out, threads=threads)
                failed = [(key, "short_read") for key in keys if key in lost]
                if not failed:
                    assert verdict == "right", (cut, exc)
                    assert np.array_equal(out, batch)
                    continue
                assert verdict == "TruncatedError", exc
                assert exc.failed == failed
                assert exc.code == "short_read"
                assert exc.stale
                read = [i for i, key in enumerate(keys) if key not in lost]
                assert (out == 7).all() or np.array_equal(out[read], batch[read])
            for key, array in material.arrays.items():
                verdict, got = faultlab.outcome(npz.__getitem__, key)
                assert verdict == ("TruncatedError" if key in lost else "right"), (cut, key)
                assert key in lost or np.array_equal(got, array)
        assert lost == set(material.arrays)


def test_grows_again(faultlab, material):
    """A hole where data were is damage like any other; when they are back, so is the archive."""
    data = material.path.read_bytes()
    with fastzip.load(material.path) as npz:
        os.truncate(material.path, 0)
        os.truncate(material.path, len(data))
        for key in material.arrays:
            verdict, exc = faultlab.outcome(npz.__getitem__, key)
            assert verdict == "BadZipFile"
            assert (exc.code, exc.stale) == ("lfh_magic", True)
        material.path.write_bytes(data)
        material.check(npz)


def test_truncated_while_others_read(faultlab, material):
    """Over and over, with other threads in the midst of it: right, or an exception."""
    data = material.path.read_bytes()
    wrong, stop, seen = [], threading.Event(), []

    def work(kind):
        batch = material.batch(kind)
        while not stop.is_set():
            verdict, got = faultlab.outcome(npz.fetch, material.keys(kind), threads=2)
            seen.append(verdict)
            if verdict == "right" and not np.array_equal(got, batch):
                wrong.append(kind)
            elif verdict not in ("right", "TruncatedError", "BadZipFile", "CRCError"):
                wrong.append(got)

    with fastzip.load(material.path) as npz:
        workers = [threading.Thread(target=work, args=(kind,)) for kind in KINDS]
        for worker in workers:
            worker.start()
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            os.truncate(material.path, len(data) // 3)
            material.path.write_bytes(data)
            time.sleep(0.002)
        stop.set()
        for worker in workers:
            worker.join()
        assert wrong == []
        assert {"right", "TruncatedError"} <= set(seen)
        material.check(npz)


def test_replaced_by_rename(material, other):
    """What is open stays the old file, whole; what is opened is the new one."""
    with fastzip.load(material.path, mmap_mode="r") as npz:
        mapped = npz["stored1"]
    with fastzip.load(material.path) as npz:
        pickled = pickle.dumps(npz)
        material.check(npz)
        os.replace(other.path, material.path)
        material.check(npz)
        with fastzip.load(material.path) as new:
            other.check(new)
            material.check(npz)
        os.unlink(material.path)
        material.check(npz)
        assert np.array_equal(mapped, material.arrays["stored1"])
        del mapped
        with pytest.raises(FileNotFoundError):
            pickle.loads(pickled)


def test_rewritten_in_place(faultlab, material, other):
    """Never a mixture: each array is the old one or an exception that says the file has changed."""
    old, new = material.path.read_bytes(), other.path.read_bytes()
    with fastzip.load(material.path) as npz:
        material.check(npz)
        os.utime(material.path, ns=(1, 1))
        with open(material.path, "r+b") as file:
            file.write(new)
            file.truncate()
        wrong = 0
        for key in material.arrays:
            verdict, exc = faultlab.outcome(npz.__getitem__, key)
            assert verdict in ("BadZipFile", "CRCError", "TruncatedError"), (key, exc)
            assert exc.stale
            assert "has changed since it was opened" in str(exc)
            wrong += 1
        assert wrong == len(material.arrays)
        for kind in KINDS:
            with pytest.raises(fastzip.BadZipFile) as info:
                npz.fetch(material.keys(kind), threads=2)
            assert info.value.stale
            assert [key for key, _ in info.value.failed] == material.keys(kind)
        with open(material.path, "r+b") as file:
            file.write(old)
            file.truncate()
        material.check(npz)


def test_appended_to(material):
    """zipfile writes the new member over the old directory; what was there stays readable."""
    with fastzip.load(material.path) as npz:
        for i in range(3):
            with zipfile.ZipFile(material.path, "a") as file:
                file.writestr(f"more{i}.bin", os.urandom(100_000))
            material.check(npz)
            with fastzip.load(material.path) as new:
                assert new.files == [*material.arrays, *(f"more{k}.bin" for k in range(i + 1))]
                for key, array in material.arrays.items():
                    assert np.array_equal(new[key], array)


@contextlib.contextmanager
def special(kind, folder):
    path = folder / "special"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "FIFO with a writer":
        os.mkfifo(path)
        writer = os.open(path, os.O_RDWR)
        os.write(writer, b"PK\3\4")
        yield path
        os.close(writer)
        return
    elif kind == "directory":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            yield path
        return
    elif kind == "dangling link":
        path.symlink_to(folder / "nowhere")
    elif kind == "loop of links":
        path.symlink_to(path)
    elif kind == "empty":
        path.touch()
    else:
        path = kind
    yield path


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("FIFO", errno.ESPIPE),
        ("FIFO with a writer", errno.ESPIPE),
        ("directory", errno.EISDIR),
        ("socket", errno.ENXIO),
        ("dangling link", errno.ENOENT),
        ("loop of links", errno.ELOOP),
        ("/dev/zero", errno.ESPIPE),
        ("/dev/null", errno.ESPIPE),
        ("/dev/random", errno.ESPIPE),
        ("/dev/full", errno.ESPIPE),
        ("/proc/self/fd", errno.EISDIR),
        ("/proc/self/mem", None),
        ("/proc/self/maps", None),
        ("/proc/cpuinfo", None),
        ("empty", None),
    ],
)
def test_no_regular_file(faultlab, tmp_path, kind, error):
    """Quickly an error: what is no file isn't waited for, and what says 0 bytes has none."""
    results = []
    with special(kind, tmp_path) as path:
        thread = threading.Thread(
            target=lambda: results.append(faultlab.outcome(fastzip.load, path)), daemon=True
        )
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    (verdict, exc), = results  # fmt: skip
    if error is None:
        assert verdict == "EmptyError", exc
        assert isinstance(exc, EOFError)
    else:
        assert isinstance(exc, OSError), exc
        assert exc.errno == error
        assert exc.filename == str(path) or "regular file" in str(exc)


def test_reading_writes_nothing(material, tmp_path, monkeypatch):
    """Neither beside the archive nor where the process stands."""
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(material.path, folder / "a.npz")
    monkeypatch.chdir(folder)
    os.chmod(folder, 0o555)
    with fastzip.load("a.npz") as npz:
        material.check(npz)
    assert os.listdir(folder) == ["a.npz"]
    os.chmod(folder, 0o755)


NAMES = ["plain", "gr\u00fc\u00dfe", "\u65e5\u672c", "\u2113/\u2202", "\U0001f40d"]


def names_here(faults, path):
    with fastzip.load(os.fsencode(path)) as npz:
        found = [[ord(c) for c in name] for name in npz.files]
        assert [int(npz[name]) for name in npz.files] == list(range(len(found)))
        assert npz.fetch(npz.files).tolist() == list(range(len(found)))
    return found


@pytest.mark.parametrize(
    "variables",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "TZ": "Asia/Kolkata"},
        {"LC_ALL": "C.UTF-8", "PYTHONUTF8": "1", "TZ": "America/St_Johns"},
        {"LC_ALL": "nonsense", "TZ": "nonsense"},
    ],
    ids=lambda variables: " ".join(variables.values()),
)
def test_names_in_every_locale(lab, faultlab, tmp_path, variables):
    """A member's name is what the archive says, wherever it is read."""
    members = [
        lab.Member(f"{name}.npy".encode(), lab.npy(np.array(i)), flags=0x800)
        for i, name in enumerate(NAMES)
    ]
    members.append(lab.Member(b"\x81\xe1.npy", lab.npy(np.array(len(NAMES)))))  # code page 437
    path = tmp_path / "names.npz"
    path.write_bytes(lab.Archive(members).build())
    found = faultlab.run(names_here, str(path), **variables)
    assert found == [[ord(c) for c in name] for name in [*NAMES, "\u00fc\u00df"]]


def test_undecodable_path(material, tmp_path):
    """A path is bytes to the system; os.fsdecode's surrogates stand for what isn't UTF-8."""
    raw = os.fsencode(tmp_path) + b"/\xff\xfe-\xc3.npz"
    os.rename(material.path, raw)
    for path in (raw, os.fsdecode(raw)):
        with fastzip.load(path) as npz:
            material.check(npz)
            with pickle.loads(pickle.dumps(npz)) as again:
                material.check(again)
            os.truncate(raw, 5)
            with pytest.raises(fastzip.TruncatedError) as info:
                npz["small0"]
            assert info.value.path == os.fsdecode(raw)
            assert os.fsencode(info.value.path) == raw
            str(info.value).encode("utf-8", "surrogateescape")
            os.unlink(raw)
        with pytest.raises(FileNotFoundError) as info:
            fastzip.load(path)
        assert os.fsencode(info.value.filename) == raw
        type(material)(material.path)
        os.rename(material.path, raw)


def test_paths_beyond_path_max(material, tmp_path):
    """Too long for the system in one piece, an error that says so; from nearby it can be read."""
    here = os.getcwd()
    deep = tmp_path / "deep"
    deep.mkdir()
    piece = "d" * 200
    try:
        os.chdir(deep)
        for _ in range(25):
            os.mkdir(piece)
            os.chdir(piece)
        os.rename(material.path, "a.npz")
        with fastzip.load("a.npz") as npz:
            material.check(npz)
            with pytest.raises(OSError, match="too long"):
                pickle.loads(pickle.dumps(npz))
        with pytest.raises(OSError, match="too long") as info:
            fastzip.load(os.path.join(deep, *[piece] * 25, "a.npz"))
        assert info.value.errno == errno.ENAMETOOLONG
        assert info.value.filename.endswith("a.npz")
    finally:
        os.chdir(here)
        shutil.rmtree(deep)
