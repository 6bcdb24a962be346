"""`ZipFile` against `zipfile.ZipFile`: reading, one member and many."""

from __future__ import annotations

import io
import os
import pickle
import threading
import time
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from archivelab import (
    CLOSED,
    CONTENT,
    LIES,
    SETTINGS,
    Bytes,
    Lookalike,
    both,
    run_threads,
    written,
)
from hypothesis import given
from hypothesis import strategies as st

import fastzip
from fastzip._batch.many import Many
from fastzip._zip import stream as _stream

# --------------------------------------------------------------------- file objects

LINES = b"".join(b"%d " % i * (i % 7) + b"\n" * (i % 3) for i in range(700))
operations = st.one_of(
    st.tuples(st.just("read"), st.sampled_from([-1, None, 0, 1, 5, 100, 3000, 70_000])),
    st.tuples(st.just("seek"), st.integers(-9000, 9000), st.sampled_from([0, 1, 2])),
    st.tuples(st.just("readline"), st.sampled_from([-1, 0, 1, 50])),
    st.tuples(st.just("readlines"), st.sampled_from([-1, 40])),
    st.tuples(st.just("readinto"), st.sampled_from([0, 1, 50, 9000])),
    st.tuples(st.just("read1"), st.sampled_from([-1, 0, 1, 50, 9000])),
    st.tuples(st.just("peek"), st.sampled_from([0, 1, 50])),
)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("method", [0, 8])
@SETTINGS
@given(steps=st.lists(operations, max_size=12))
def test_members_as_files(method, streamed, steps):
    data = written({"a": LINES}, method)
    whole = _stream.WHOLE
    _stream.WHOLE = 100 if streamed else whole
    try:
        with both(data) as (mine, reference), mine.open("a") as ours, reference.open("a") as theirs:
            assert type(ours.raw).__name__ == ("_Pieces" if streamed else "_Whole")
            for operation, *arguments in steps:
                do(ours, theirs, operation, arguments)
                assert ours.tell() == theirs.tell()
    finally:
        _stream.WHOLE = whole


def do(ours, theirs, operation, arguments):
    """One operation on both; of read1 and peek only some bytes are promised, and not how many."""
    at = ours.tell()
    if operation == "readinto":
        outs = bytearray(arguments[0]), bytearray(arguments[0])
        counts = [file.readinto(out) for file, out in zip((ours, theirs), outs, strict=True)]
        assert outs[0] == outs[1]
        assert counts[0] == counts[1]
    elif operation in ("read1", "peek"):
        for file in (ours, theirs):
            got = getattr(file, operation)(*arguments)
            assert got == LINES[at : at + len(got)]
            assert got or arguments == [0] or at == len(LINES)
            assert operation == "peek" or not 0 <= arguments[0] < len(got)
        theirs.seek(ours.tell())
    else:
        assert getattr(ours, operation)(*arguments) == getattr(theirs, operation)(*arguments)


def test_manners_of_members_as_files():
    with both(written({"a": LINES})) as (mine, reference):
        ours, theirs = mine.open("a"), reference.open("a")
        assert isinstance(ours, io.BufferedIOBase)
        assert repr(ours).partition(" ")[2] == repr(theirs).partition(" ")[2]
        for name in ("name", "mode", "closed"):
            assert getattr(ours, name) == getattr(theirs, name)
        for method in ("readable", "seekable", "writable"):
            assert getattr(ours, method)() == getattr(theirs, method)()
        assert list(ours) == list(theirs) == LINES.splitlines(True)
        assert ours.read(1) == theirs.read(1) == b""
        with pytest.raises(ValueError):
            ours.seek(0, 3)
        with pytest.raises(ValueError):
            theirs.seek(0, 3)
        with pytest.raises(io.UnsupportedOperation):
            ours.write(b"")
        ours.close()
        theirs.close()
        assert repr(ours).partition(" ")[2] == repr(theirs).partition(" ")[2] == "[closed]>"
        for act in ("read", "readable", "seekable", "tell", "peek", "readline", "__iter__"):
            for file in (ours, theirs):
                with pytest.raises(ValueError, match="closed"):
                    getattr(file, act)()
        array = io.BytesIO()
        np.save(array, np.arange(9))
        with fastzip.ZipFile(io.BytesIO(written({"x.npy": array.getvalue()}))) as archive:
            assert np.load(archive.open("x.npy")).tolist() == list(range(9))


def test_archive_in_an_archive():
    inner = written(CONTENT)
    with fastzip.ZipFile(io.BytesIO(written({"inner.zip": inner}))) as outer:
        with outer.open("inner.zip") as file, fastzip.ZipFile(file) as archive:
            assert archive.read("d/b") == b"two"
        with outer.open("inner.zip") as file, zipfile.ZipFile(file) as archive:
            assert archive.namelist() == list(CONTENT)


STREAMED = {
    "crc": {"crc": 1},
    "too_long": {"size": 4000},
    "too_short_stream": {"size": 6000},
    "truncated_stream": {"body": zlib.compress(b"x" * 4000 + bytes(range(200)), wbits=-15)[:-9]},
    "trailing_data": {"body": zlib.compress(b"x" * 5000, wbits=-15) + b"\0\0"},
    "deflate": {"body": b"\7" + bytes(40)},
}


@pytest.mark.parametrize("step", [-1, 1000, 7])
@pytest.mark.parametrize("code", STREAMED)
def test_damage_in_a_streamed_member(lab, monkeypatch, code, step):
    """The same code as of a member that is read whole, and before the end is reached."""
    member = lab.Member(b"a", b"x" * 5000, **STREAMED[code])
    with fastzip.ZipFile(io.BytesIO(lab.Archive([member]).build())) as archive:
        with pytest.raises(fastzip.BadZipFile) as whole:
            archive.read("a")
        assert whole.value.code == code
        monkeypatch.setattr(_stream, "WHOLE", 100)
        size = archive.getinfo("a").file_size
        file = archive.open("a")
        got = b""
        with pytest.raises(fastzip.BadZipFile) as streamed:  # noqa: PT012
            while True:
                data = file.read(step)
                got += data
                if not data:
                    break
        assert streamed.value.code == code
        assert type(streamed.value) is type(whole.value)
        assert len(got) < size
        for _ in range(2):  # who goes on has no end of the file, and none of the bytes
            with pytest.raises(fastzip.BadZipFile):
                file.read()
        file.seek(0)
        with pytest.raises(fastzip.BadZipFile):
            file.read()
        assert archive.testzip() == "a"


# --------------------------------------------------------------------- read


class Name(str):
    pass


class Sub(fastzip.ZipFile):
    pass


@pytest.mark.parametrize("method", [0, 8])
def test_read(method):
    """By all that names a member, in all states of an archive, small ones and larger ones."""
    sizes = 0, 1, 900, 8192, 8193, 300_000
    contents = {f"{n}": (bytes(range(256)) * (n // 256 + 1))[:n] for n in sizes}
    file = io.BytesIO(written(contents, method))
    for kind in fastzip.ZipFile, Sub:
        with kind(file) as archive:
            for _ in range(2):  # the second time with NameToInfo
                for name, data in contents.items():
                    for which in name, Name(name), np.str_(name), archive.getinfo(name):
                        found = archive.read(which)
                        assert type(found) is bytes
                        assert found == data
                for missing in "x", "", Name("900x"):
                    with pytest.raises(KeyError, match="There is no item named"):
                        archive.read(missing)
                assert len(archive.filelist) == len(contents)
            archive.NameToInfo["other"] = archive.NameToInfo.pop("900")
            assert archive.read("other") == contents["900"]
            with pytest.raises(KeyError):
                archive.read("900")
            zipfile.Path(archive)
            assert archive.read("8193") == contents["8193"]
        with pytest.raises(ValueError, match="closed"):
            archive.read("900")


def test_a_password_that_is_none():
    """It matters where a member is encrypted, and only there."""
    file = io.BytesIO(written({"a": b"a" * 500}))
    with zipfile.ZipFile(file) as theirs, fastzip.ZipFile(file) as ours:
        for archive in theirs, ours:
            assert archive.read("a", "text") == b"a" * 500
            archive.pwd = "text"
            assert archive.read("a") == archive.read(archive.getinfo("a")) == b"a" * 500


# --------------------------------------------------------------------- read_into


@pytest.mark.parametrize("method", [0, 8])
def test_read_into(method):
    data = bytes(range(256)) * 4
    with fastzip.ZipFile(io.BytesIO(written({"a": data, "empty": b""}, method))) as archive:
        for out in (
            bytearray(1024),
            np.empty(1024, np.uint8),
            np.empty((2, 64), np.uint64),
            np.empty((16, 16), ">f4"),
            memoryview(bytearray(2000))[3:1027],
        ):
            assert archive.read_into("a", out) == 1024
            assert bytes(out) == data
        longer = bytearray(b"\7" * 1030)
        assert archive.read_into(archive.getinfo("a"), longer) == 1024
        assert longer == data + b"\7" * 6
        short = bytearray(b"\7" * 1023)
        with pytest.raises(ValueError, match="1,023 bytes, and the member 1,024"):
            archive.read_into("a", short)
        assert short == b"\7" * 1023
        assert archive.read_into("empty", bytearray()) == 0
        assert archive.read_into("empty", np.empty(0)) == 0
        assert archive.read_into("empty", longer) == 0
        assert longer[:5] == data[:5]
        frozen = np.empty(1024, np.uint8)
        frozen.flags.writeable = False
        for bad in (bytes(1024), frozen, np.empty(2048, np.uint8)[::2], 7, "x" * 2000):
            with pytest.raises((TypeError, ValueError)):
                archive.read_into("a", bad)


def test_read_into_of_damage(lab):
    """Nothing behind the member's size is ever written."""
    for change in LIES.values():
        member = lab.Member(**({"name": b"bad", "data": b"x" * 50} | change))
        with fastzip.ZipFile(io.BytesIO(lab.Archive([member]).build())) as archive:
            info = archive.infolist()[0]
            out = bytearray(b"\7" * 200)
            with pytest.raises((fastzip.BadZipFile, fastzip.UnsupportedError)):
                archive.read_into(info, out)
            assert out[60:] == b"\7" * 140


# --------------------------------------------------------------------- read_many


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("source", ["memory", "file"])
def test_read_many(lab, save, source, threads, engine):
    rng = np.random.default_rng(5)
    sizes = [0, 1, 63, 64, 65, 8191, 8193, 70_000, 0, 300_000, 5, 1_200_000, 0]
    content = {b"%d" % i: lab.sparse(n, i).tobytes() for i, n in enumerate(sizes)}
    members = [
        lab.Member(name, data, method=8 * bool(i % 3), descriptor="sig32" if i % 4 == 1 else None)
        for i, (name, data) in enumerate(content.items())
    ]
    order = rng.permutation(len(sizes)).tolist()
    data = lab.Archive(members, prefix=b"prefix", order=order).build()
    with fastzip.ZipFile(io.BytesIO(data) if source == "memory" else save(data)) as archive:
        for _ in range(4):
            wanted = [b"%d" % i for i in rng.integers(0, len(sizes), 40)]
            names = [n.decode() if i % 2 else archive.getinfo(n.decode())
                     for i, n in enumerate(wanted)]  # fmt: skip
            views = archive.read_many(iter(names), threads=threads)
            assert [bytes(view) for view in views] == [content[name] for name in wanted]
            for view in views:
                array = np.frombuffer(view, np.uint8)
                assert not view.readonly
                assert len(view) == 0 or array.ctypes.data % 64 == 0
                array.flags.writeable = True
            views[0][:] = bytes(len(views[0]))  # they don't share bytes
            assert [bytes(v) for v in views[1:]] == [content[name] for name in wanted[1:]]
    assert [bytes(v) for v in views[1:]] == [content[name] for name in wanted[1:]]


@pytest.mark.parametrize("kind", [io.BytesIO, Bytes])
@pytest.mark.parametrize("method", [0, 8, zipfile.ZIP_BZIP2])
def test_read_many_is_aligned(kind, method):
    """By whatever method and whoever reads."""
    content = {f"{i}": bytes([i]) * (100 * i + 1) for i in range(9)} | {"empty": b""}
    with fastzip.ZipFile(kind(written(content, method))) as archive:
        views = archive.read_many([*content, "3"])
        assert [bytes(view) for view in views] == [*content.values(), content["3"]]
        for view in views:
            assert not view.readonly
            assert len(view) == 0 or np.frombuffer(view, np.uint8).ctypes.data % 64 == 0
        views[3][:] = bytes(len(views[3]))
        assert bytes(views[-1]) == content["3"]


def test_read_many_of_empty_members():
    with fastzip.ZipFile(io.BytesIO(written({"a": b"", "b": b""}))) as archive:
        assert [bytes(v) for v in archive.read_many(["a", "b", "a"])] == [b""] * 3


@pytest.mark.parametrize("threads", [1, 4])
def test_read_many_names_all_that_failed(lab, threads):
    members = [lab.Member(b"%d" % i, b"x" * 50_000) for i in range(30)]
    members[20].crc = 1
    members[4].local = {"name": b"z"}
    members[25].body = b"\7" + bytes(100)
    with fastzip.ZipFile(io.BytesIO(lab.Archive(members).build())) as archive:
        names = archive.namelist()
        with pytest.raises(fastzip.BadZipFile) as caught:
            archive.read_many(names[::-1], threads=threads)
        assert (caught.value.code, caught.value.member) == ("deflate", "25")
        assert caught.value.failed == [("25", "deflate"), ("20", "crc"), ("4", "lfh_name")]
        fine = [name for name in names if name not in ("4", "20", "25")]
        assert {bytes(v) for v in archive.read_many(fine, threads=threads)} == {b"x" * 50_000}


def test_threads_are_checked():
    data = io.BytesIO(written(CONTENT))
    for threads in (0, -1, 1.5, "2", True, 5000):
        with pytest.raises(ValueError, match="threads"):
            fastzip.ZipFile(data, threads=threads)
        for act in ("read_many", "testzip"):
            with fastzip.ZipFile(data) as archive, pytest.raises(ValueError, match="threads"):
                getattr(archive, act)(*([["a"]] if act == "read_many" else []), threads=threads)


# --------------------------------------------------------------------- testzip


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_testzip(lab, save, threads):
    """More than a run of members; the first bad one by order."""
    members = [lab.Member(b"%04d" % i, bytes(20 * (i % 50)), method=8 * (i % 2))
               for i in range(3000)]  # fmt: skip
    with fastzip.ZipFile(save(lab.Archive(members).build())) as archive:
        assert archive.testzip(threads=threads) is None
    for first in (2999, 1023, 1):
        members[first].crc = 1
        path = save(lab.Archive(members).build())
        with fastzip.ZipFile(path) as archive, zipfile.ZipFile(path) as reference:
            assert archive.testzip(threads=threads) == reference.testzip() == f"{first:04}"


@pytest.mark.parametrize("listed", [True, False])
def test_testzip_gives_the_name_that_is_listed(lab, listed):
    japanese = "漢字".encode("shift_jis"), {"metadata_encoding": "shift_jis"}
    for name, options in ((b"n\0b", {}), japanese):
        member = lab.Member(name, b"data", crc=1)
        with both(lab.Archive([member]).build(), **options) as (mine, reference):
            if listed:
                mine.infolist()
            assert mine.testzip() == reference.testzip() == reference.namelist()[0]


def test_testzip_streams_what_is_large(lab, monkeypatch):
    """However many threads there are, and whatever stands beside it."""
    monkeypatch.setattr("fastzip._zip.WHOLE", 50_000)
    monkeypatch.setattr(_stream, "WHOLE", 50_000)
    held = []
    monkeypatch.setattr("fastzip._dropin.archive.Many", lambda *a: held.append(a) or Many(*a))
    sizes = [10, 60_000, 20, 30, 80_000, 90_000, 40]
    members = [lab.Member(b"%d" % n, bytes(n)) for n in sizes]
    with fastzip.ZipFile(io.BytesIO(lab.Archive(members).build())) as archive:
        assert archive.testzip(threads=8) is None
        read = [archive.namelist()[i] for _, positions, *_ in held for i in positions]
        assert read == ["10", "20", "30", "40"]
    members[4].crc = members[6].crc = 1
    with fastzip.ZipFile(io.BytesIO(lab.Archive(members).build())) as archive:
        assert archive.testzip(threads=8) == "80000"


def test_testzip_progress(lab, capsys):
    pytest.importorskip("tqdm")
    members = [lab.Member(b"%04d" % i, bytes(1000)) for i in range(2000)]
    with fastzip.ZipFile(io.BytesIO(lab.Archive(members).build())) as archive:
        assert archive.testzip() is None
        assert capsys.readouterr() == ("", "")
        assert archive.testzip(progress=True) is None
        out, err = capsys.readouterr()
        assert out == ""
        assert "testing: 100%" in err


# --------------------------------------------------------------------- threads, forks, pickles


def test_many_threads(save):
    content = {f"{i}": bytes([i]) * (100 + 977 * i) for i in range(60)}
    with fastzip.ZipFile(save(written(content))) as archive:

        def work(seed):
            rng = np.random.default_rng(seed)
            for i in rng.integers(0, 60, 60):
                name = f"{i}"
                way = rng.integers(0, 4)
                if way == 0:
                    assert archive.read(name) == content[name]
                elif way == 1:
                    with archive.open(name) as file:
                        file.seek(50)
                        assert file.read() == content[name][50:]
                elif way == 2:
                    views = archive.read_many([name, "0"], threads=2)
                    assert bytes(views[0]) == content[name]
                else:
                    assert archive.getinfo(name).file_size == len(content[name])

        run_threads(work, 8)


def test_closed_while_others_read(save):
    """They get what was asked for, or are told; nothing stays open."""
    content = {f"{i}": bytes([i]) * 50_000 for i in range(20)}
    path = save(written(content))
    before = sorted(os.listdir("/proc/self/fd"))
    for round_ in range(8):
        archive = fastzip.ZipFile(path)
        told, reads = [], [0]

        def work(i, archive=archive, told=told, reads=reads):
            for j in range(10_000):
                name = f"{(i + j) % 20}"
                try:
                    if j % 3 == 0:
                        assert archive.read(name) == content[name]
                    elif j % 3 == 1:
                        with archive.open(name) as member:
                            assert member.read() == content[name]
                    else:
                        assert bytes(archive.read_many([name, "0"])[0]) == content[name]
                    reads[0] += 1
                except ValueError as exc:
                    assert "closed" in str(exc)  # noqa: PT017
                    told.append(exc)
                    return

        closer = threading.Timer(0.005 * (round_ % 4), archive.close)
        closer.start()
        run_threads(work, 4)
        closer.join()
        assert len(told) == 4
    gone = time.monotonic() + 10
    while sorted(os.listdir("/proc/self/fd")) != before and time.monotonic() < gone:
        time.sleep(0.01)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_after_a_fork(save):
    content = {f"{i}": bytes([i]) * 100_000 for i in range(20)}
    with fastzip.ZipFile(save(written(content))) as archive:
        member = archive.open("3")
        archive.read_many(list(content), threads=3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads
            children = [os.fork() for _ in range(3)]
        if 0 in children:
            fine = member.read() == content["3"] and archive.read("4") == content["4"]
            views = archive.read_many(list(content), threads=3)
            fine = fine and [bytes(v) for v in views] == list(content.values())
            os._exit(0 if fine and archive.testzip() is None else 1)
        assert member.read() == content["3"]
        for child in children:
            assert os.waitpid(child, 0)[1] == 0
        member.close()


def test_pickling(save):
    path = save(written(CONTENT))
    with fastzip.ZipFile(path, threads=2) as archive:
        with pickle.loads(pickle.dumps(archive)) as copy:
            assert copy.read("d/b") == b"two"
        zipfile.Path(archive)  # which gives it another class
        with pickle.loads(pickle.dumps(archive)) as copy:
            assert copy.namelist() == list(CONTENT)
    with pytest.raises(ValueError, match=CLOSED):
        pickle.dumps(archive)
    with pytest.raises(TypeError, match="read natively"):
        pickle.dumps(fastzip.ZipFile(Lookalike(path.read_bytes())))
    with open(path, "rb") as file, pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(fastzip.ZipFile(file))


def test_pickling_a_path_through_a_link(save, tmp_path, monkeypatch):
    """Where "link/.." leads isn't the folder that the link stands in; another process finds it."""
    path = save(written(CONTENT))
    (path.parent / "inner").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "link").symlink_to(path.parent / "inner")
    monkeypatch.chdir(elsewhere)
    odd = os.path.join("link", "..", path.name)
    with (
        fastzip.ZipFile(odd) as archive,
        fastzip.load(odd) as npz,
        open(os.path.join(elsewhere, odd), "rb") as file,
        fastzip.load(file) as opened,
    ):
        pickled = pickle.dumps([archive, npz, opened])
    monkeypatch.chdir("/")
    for copy in pickle.loads(pickled):
        with copy:
            assert [*copy.index.names()] == list(CONTENT)
