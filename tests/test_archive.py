"""`ZipFile` against `zipfile.ZipFile` on the same archives: lists, names, reads, file objects."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import pickle
import struct
import sys
import tempfile
import threading
import time
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastzip
from fastzip import _stream
from fastzip._many import Many

SETTINGS = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)
UNICODE_PATHS = sys.version_info >= (3, 12)
CLOSED = "Attempt to use ZIP archive that was already closed"


def fields(info):
    """Everything that a ZipInfo holds, but for where zipfile believes the member to end."""
    names = (*zipfile.ZipInfo.__slots__, *getattr(info, "__dict__", ()))
    return {name: getattr(info, name, None) for name in names if name != "_end_offset"}


def written(members, method=zipfile.ZIP_DEFLATED, comment=b""):
    """The archive that zipfile makes of {name: bytes}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.comment = comment
    return file.getvalue()


@contextlib.contextmanager
def both(data, **options):
    """The archive, opened by fastzip and by zipfile."""
    with (
        fastzip.ZipFile(io.BytesIO(data), **options) as mine,
        zipfile.ZipFile(io.BytesIO(data), **options) as reference,
    ):
        yield mine, reference


def is_native(archive):
    return archive._reader is not None


def same_lists(mine, reference):
    """Are all lists, comments, members and look-ups the same?"""
    assert mine.namelist() == reference.namelist()
    assert mine.comment == reference.comment
    assert mine.start_dir == reference.start_dir
    assert [fields(i) for i in mine.infolist()] == [fields(i) for i in reference.infolist()]
    assert list(mine.NameToInfo) == list(reference.NameToInfo)
    assert mine.namelist() == reference.namelist()
    for name in {*reference.namelist()}:
        assert fields(mine.getinfo(name)) == fields(reference.getinfo(name))
        assert mine.getinfo(name) is mine.NameToInfo[name]


def outcome(function, *args, **options):
    """(None, result), or (the exception's text, what kinds it is)."""
    try:
        return None, function(*args, **options)
    except Exception as exc:
        kinds = (KeyError, zipfile.BadZipFile, TypeError, ValueError, NotImplementedError, OSError)
        return str(exc), [kind for kind in kinds if isinstance(exc, kind)]


# --------------------------------------------------------------------- lists

plain_names = st.text(
    st.characters(exclude_characters="\0\\", exclude_categories=["Cs"]), min_size=1, max_size=12
)
extras = st.lists(st.binary(max_size=6), max_size=2).map(
    lambda all_: b"".join(struct.pack("<HH", 0xCAFE, len(data)) + data for data in all_)
)


@st.composite
def infos(draw):
    info = zipfile.ZipInfo(draw(plain_names))
    info.date_time = draw(st.sampled_from([(1980, 1, 1, 0, 0, 0), (2026, 11, 21, 15, 59, 58)]))
    info.comment = draw(st.binary(max_size=10))
    info.extra = draw(extras)
    info.external_attr = draw(st.integers(0, (1 << 32) - 1))
    info.internal_attr = draw(st.integers(0, (1 << 16) - 1))
    info.create_system = draw(st.sampled_from([0, 3, 11]))
    info.compress_type = draw(st.sampled_from([0, 8]))
    return info


@SETTINGS
@given(
    members=st.lists(st.tuples(infos(), st.binary(max_size=30)), max_size=5),
    prefix=st.binary(max_size=9),
    comment=st.binary(max_size=9),
    zip64=st.booleans(),
)
def test_any_archive_of_zipfile(members, prefix, comment, zip64):
    """Written by zipfile, with something in front of it, and members streamed in zip64."""
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # duplicates
        for info, data in members:
            if info.filename.endswith("/"):
                archive.writestr(info, b"")
            else:
                with archive.open(info, "w", force_zip64=zip64) as member:
                    member.write(data)
        archive.comment = comment
    data = prefix + file.getvalue()
    with both(data) as (mine, reference):
        assert is_native(mine)
        same_lists(mine, reference)
        for ours, theirs in zip(mine.infolist(), reference.infolist(), strict=True):
            assert mine.read(ours) == reference.read(theirs)
        for name in reference.namelist():
            assert mine.read(name) == reference.read(name)
        assert mine.testzip() is None
        if len(set(reference.namelist())) == len(members):
            many = mine.read_many(reference.namelist())
            assert [bytes(v) for v in many] == [reference.read(n) for n in reference.namelist()]


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("zip64", [True, False])
def test_prefix_comment_and_zip64(lab, zip64, counted):
    members = [lab.Member(b"a", b"one"), lab.Member(b"d/"), lab.Member(b"d/b", b"two", method=0)]
    for prefix in (b"", b"#!/bin/sh\n"):
        for comment in (b"", b"a comment"):
            archive = lab.Archive(members, prefix, counted, comment=comment, zip64=zip64)
            with both(archive.build()) as (mine, reference):
                same_lists(mine, reference)
                assert mine.read("d/b") == b"two"
                assert mine.read("d/") == b""


def test_digital_signature(lab):
    """A signature behind the entries (APPNOTE 4.3.13), which zipfile takes for a broken entry."""
    tail = b"PK\5\5" + struct.pack("<H", 3) + b"sig"
    for zip64 in (False, True):
        archive = lab.Archive([lab.Member(b"a", b"one")], directory_tail=tail, zip64=zip64)
        archive.comment = b"its comment"
        with fastzip.ZipFile(io.BytesIO(archive.build())) as mine:
            assert mine.namelist() == ["a"]
            assert mine.infolist()[0].file_size == 3
            assert mine.comment == b"its comment"
            assert mine.read("a") == b"one"


def test_no_members():
    with both(written({}, comment=b"none")) as (mine, reference):
        same_lists(mine, reference)
        assert mine.testzip() is None
        assert mine.read_many([]) == []
        with pytest.raises(KeyError):
            mine.read("a")


def test_many_members(lab):
    """More than a piece of the lists."""
    with both(lab.many(9000)) as (mine, reference):
        assert fields(mine.getinfo("00004096")) == fields(reference.getinfo("00004096"))
        same_lists(mine, reference)


def test_lists_are_lazy(lab):
    with fastzip.ZipFile(io.BytesIO(lab.many(100))) as archive:
        assert archive.read("00000007") == (7).to_bytes(4, "little")
        assert len(archive.namelist()) == 100
        archive.open("00000008").close()
        archive.read_many(["00000009", "00000001"])
        archive.testzip()
        assert archive._infos == {}
        assert not {"filelist", "NameToInfo"} & set(vars(archive))
        info = archive.getinfo("00000050")
        assert len(archive._infos) == 1
        assert archive.infolist()[50] is info
        assert archive.getinfo("00000050") is info
        assert archive.NameToInfo["00000050"] is info
        assert len(archive._infos) == 100


def test_lists_can_be_changed(lab):
    """As zipfile's, which looks names up in what its user may change."""
    for archive in both_of(lab.many(4)):
        archive.NameToInfo["other"] = archive.getinfo("00000002")
        assert archive.read("other") == (2).to_bytes(4, "little")
        del archive.NameToInfo["00000001"]
        with pytest.raises(KeyError):
            archive.read("00000001")
        archive.filelist[0].filename = "renamed"
        assert archive.namelist()[0] == "renamed"
        assert archive.read(archive.filelist[0]) == bytes(4)


def both_of(data):
    with both(data) as pair:
        yield from pair


def test_first_asked_by_many_threads(lab):
    data = lab.many(3000)
    for _ in range(5):
        with fastzip.ZipFile(io.BytesIO(data)) as archive:
            start, seen = threading.Barrier(8), []

            def work(i, archive=archive, start=start, seen=seen):
                start.wait()
                info = archive.getinfo("00000123")
                seen.append((info, archive.infolist()[123], archive.NameToInfo["00000123"]))

            run_threads(work, 8)
            assert len({id(info) for infos in seen for info in infos}) == 1
            assert len(seen) == 8


def run_threads(work, n):
    errors = []

    def guarded(i):
        try:
            work(i)
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_duplicates(lab):
    data = lab.Archive([lab.Member(b"a", b"1"), lab.Member(b"b", b"2"), lab.Member(b"a", b"3")])
    with both(data.build()) as (mine, reference):
        same_lists(mine, reference)
        assert mine.read("a") == reference.read("a") == b"3"
        assert mine.read(mine.infolist()[0]) == b"1"
        assert [bytes(v) for v in mine.read_many(["a", mine.infolist()[0], "a"])] == [
            b"3", b"1", b"3"
        ]  # fmt: skip


@pytest.mark.parametrize("listed", [True, False])
def test_names_that_are_not_there(listed):
    with both(written({"a": b"1", "d/x": b"2"})) as (mine, reference):
        if listed:
            mine.infolist()
        for name in ("b", "", "A", "a\0", "d", "d/", "\ud800", "\udcff", "é", 3, None, b"a", ["a"]):
            for method in ("read", "open", "getinfo", "extract"):
                ours = outcome(getattr(mine, method), name)
                assert ours == outcome(getattr(reference, method), name), (method, name)
                assert ours[1] in ([KeyError], [TypeError])
        with pytest.raises(KeyError, match="no item named 'b' in the archive"):
            mine.read_many(["a", "b"])
        with pytest.raises(KeyError, match="no item named 'b' in the archive"):
            mine.read_into("b", bytearray(9))
        with pytest.raises(KeyError, match="no item named 'b' in the archive"):
            mine.extractall(members=["b"])


def test_a_changed_name_is_listed(lab):
    for archive in both_of(lab.many(4)):
        info = archive.getinfo("00000002")
        info.filename = "changed"
        assert archive.namelist()[2] == "changed"
        assert archive.infolist()[2] is archive.getinfo("00000002") is info
        assert archive.namelist()[2] == "changed"
        with pytest.raises(KeyError):
            archive.getinfo("changed")


def test_names_of_other_string_types():
    class Name(str):
        __slots__ = ()

        def __str__(self):
            return "nothing"

    for archive in both_of(written({"a": b"1", "é": b"2"})):
        for kind in (np.str_, Name):
            assert archive.read(kind("a")) == archive.open(kind("a")).read() == b"1"
            assert archive.read(kind("é")) == b"2"
            assert archive.getinfo(kind("a")) is archive.getinfo("a")
            with pytest.raises(KeyError, match="no item named"):
                archive.getinfo(kind("b"))


@pytest.mark.parametrize("listed", [True, False])
def test_names_with_nul_bytes(lab, listed):
    """zipfile cuts them there; here such a member can't be read, but all others can."""
    members = [lab.Member(name, name) for name in (b"a", b"n\0x", b"a\0b", b"c", b"\0")]
    with both(lab.Archive(members).build()) as (mine, reference):
        if listed:
            mine.infolist()
        for name in ("a", "n", "a\0b", "n\0x", "b", "c", "", "\0"):
            ours, theirs = outcome(mine.getinfo, name), outcome(reference.getinfo, name)
            assert ours == theirs or fields(ours[1]) == fields(theirs[1]), name
        same_lists(mine, reference)
        assert mine.read("c") == b"c"
        assert mine.read(mine.infolist()[0]) == b"a"
        with pytest.raises(fastzip.BadZipFile):
            mine.read("n")


# --------------------------------------------------------------------- names

CP437 = bytes(range(128, 256))


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        (b"plain", 0),
        (b"plain", 0x800),
        (CP437, 0),
        ("é ü 漢字 🎈".encode(), 0x800),
        ("é".encode(), 0),
        ("ß".encode("cp437"), 0),
        (b"dir/", 0),
        (b"a/./../b", 0),
        (b"back\\slash\\x", 0),
        (b"C:\\x", 0),
        (b"/abs", 0),
        (b" spaces \n\t", 0),
        (b"\x01\x1f", 0),
        (b"a" * 65535, 0),
    ],
)
def test_names(lab, name, flags):
    data = lab.Archive([lab.Member(name, b"" if name.endswith(b"/") else b"data", flags=flags)])
    with both(data.build()) as (mine, reference):
        [shown] = reference.namelist()
        assert mine.read(shown) == reference.read(shown)
        assert mine.open(shown).read() == mine.read(shown)
        same_lists(mine, reference)


@pytest.mark.parametrize("encoding", ["cp437", "shift_jis", "latin-1", "utf-8"])
def test_metadata_encoding(lab, encoding):
    name = {"shift_jis": "漢字"}.get(encoding, "é").encode(encoding)
    members = [lab.Member(name, b"1"), lab.Member("ü".encode(), b"2", flags=0x800)]
    members.append(lab.Member(b"ascii", b"3", central={"comment": name}))
    with both(lab.Archive(members).build(), metadata_encoding=encoding) as (mine, reference):
        same_lists(mine, reference)
        assert mine.namelist()[0] == name.decode(encoding)
        for shown in reference.namelist():
            assert mine.read(shown) == reference.read(shown)
        assert [bytes(view) for view in mine.read_many(mine.namelist())] == [b"1", b"2", b"3"]


def test_metadata_encoding_that_does_not_fit(lab, save):
    path = save(lab.Archive([lab.Member(b"\xff", b"1")]).build())
    for kind in (zipfile.ZipFile, fastzip.ZipFile):
        with pytest.raises(UnicodeDecodeError):
            kind(path, metadata_encoding="utf-8")
        with pytest.raises(LookupError):
            kind(path, metadata_encoding="no such encoding")
        with pytest.raises(ValueError, match="metadata_encoding"):
            kind(path, "a", metadata_encoding="utf-8")


def unicode_path(name, plain, crc=None):
    data = struct.pack("<BL", 1, zlib.crc32(plain) if crc is None else crc) + name.encode()
    return struct.pack("<HH", 0x7075, len(data)) + data


def test_unicode_paths(lab):
    """The field counts as of Python 3.12's zipfile, for both, also for keys of arrays."""
    array = lab.npy(np.arange(3))
    members = []
    for plain, name in ((b"plain.npy", "漢字.npy"), (b"\x81.npy", "ü.npy"), (b"same", "same")):
        extra = unicode_path(name, plain)
        members.append(lab.Member(plain, array, central={"extra": extra}, local={"extra": extra}))
    members.append(lab.Member(b"none.npy", array))
    extra = unicode_path("wrong", b"wrong", 77)
    members.append(lab.Member(b"stale.npy", array, central={"extra": extra}))
    data = lab.Archive(members).build()
    with both(data) as (mine, reference):
        assert ("漢字.npy" in reference.namelist()) == UNICODE_PATHS
        same_lists(mine, reference)
        for name in reference.namelist():
            assert mine.read(name) == array
    npz, numpys = fastzip.load(data), np.load(io.BytesIO(data))
    assert npz.files == numpys.files
    for key in numpys.files:
        if key != "same":
            assert npz[key].tolist() == numpys[key].tolist() == [0, 1, 2]
    keys = [key for key in numpys.files if key != "same"]
    assert npz.fetch(keys).shape == (4, 3)


@pytest.mark.parametrize("extra", [b"\x75\x70\5\0\1", b"\x75\x70\1\0\1", b"\x75\x70\0\0"])
def test_broken_unicode_path(lab, extra):
    """One entry that zipfile chokes on, and with it on the archive, doesn't hide the others."""
    members = [lab.Member(b"a", b"1", central={"extra": extra}), lab.Member(b"b", b"2")]
    with fastzip.ZipFile(io.BytesIO(lab.Archive(members).build())) as mine:
        assert [info.filename for info in mine.infolist()] == mine.namelist() == ["a", "b"]
        assert mine.read("b") == b"2"


# --------------------------------------------------------------------- lies about one member

LIES = {
    "flags": {"flags": 0x20},
    "version_needed": {"central": {"version": 99}},
    "extra_overrun": {"central": {"extra": b"\x01\x00\xff\x00"}},
    "zip64_extra_short": {"central": {"extra": b"\x01\x00\x00\x00", "compressed_size": 0xFFFFFFFF}},
    "name_utf8": {"name": b"\xff", "flags": 0x800},
    "name_nul": {"name": b"n\0b"},
    "multi_disk": {"central": {"disk": 3}},
    "lfh_magic": {"local": {"magic": b"PK\3\5"}},
    "lfh_name": {"local": {"name": b"not"}},
    "crc": {"crc": 1},
    "too_long": {"size": 20},
    "too_short_stream": {"size": 60},
    "trailing_data": {"body": zlib.compress(b"x" * 50, wbits=-15) + b"\0"},
    "truncated_stream": {"body": zlib.compress(bytes(range(50)), wbits=-15)[:-4]},
    "method": {"local": {"method": 97}, "central": {"method": 97}},
}


@pytest.mark.parametrize("code", LIES)
def test_a_lie_about_one_member(lab, code):
    """The lists are complete, the others are read, and what is wrong is said when it is read."""
    change = {"name": b"bad", "data": b"x" * 50} | LIES[code]
    members = [lab.Member(b"a", b"1"), lab.Member(**change), lab.Member(b"c", b"3")]
    with fastzip.ZipFile(io.BytesIO(lab.Archive(members).build())) as archive:
        bad = archive.namelist()[1]
        assert archive.namelist() == ["a", bad, "c"]
        assert [info.filename for info in archive.infolist()] == archive.namelist()
        assert archive.getinfo(bad) is archive.infolist()[1]
        info = archive.infolist()[1]
        for read in (
            lambda: archive.read(info),
            lambda: archive.open(info).read(),
            lambda: archive.read_into(info, bytearray(100)),
            lambda: archive.read_many(["a", info, "c"]),
        ):
            with pytest.raises((fastzip.BadZipFile, fastzip.UnsupportedError)) as caught:
                read()
            assert caught.value.code == code
            assert [archive.read(name) for name in "ac"] == [b"1", b"3"]
        assert caught.value.failed == [(caught.value.member, code)]
        if issubclass(caught.type, fastzip.BadZipFile):
            assert archive.testzip() == bad
        else:
            with pytest.raises(NotImplementedError) as caught:
                archive.testzip()
            assert caught.value.code == code


def test_many_lies_among_many(lab):
    """The lists come in pieces of thousands; a lie costs none of the piece."""
    members = [lab.Member(b"%d" % i, b"x", method=0) for i in range(300)]
    for i in (0, 7, 299):
        members[i].central = {"extra": b"\x01\x00\xff\x00"}
    with fastzip.ZipFile(io.BytesIO(lab.Archive(members).build())) as archive:
        assert [info.filename for info in archive.infolist()] == [str(i) for i in range(300)]
        with pytest.raises(fastzip.BadZipFile) as caught:
            archive.read_many(archive.namelist())
        assert caught.value.failed == [(name, "extra_overrun") for name in ("0", "7", "299")]


# --------------------------------------------------------------------- what can be opened

CONTENT = {"a": b"one " * 100, "d/b": b"two", "empty": b"", "d/": b""}


class Lookalike:
    """Reads like a file, and is none."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def __getattr__(self, name):
        return getattr(self._file, name)


class Bytes(io.BytesIO):
    pass


@contextlib.contextmanager
def opened_as(kind, path):
    data = path.read_bytes()
    if kind == "str":
        yield str(path), True
    elif kind == "path":
        yield path, True
    elif kind == "BytesIO":
        yield io.BytesIO(data), True
    elif kind == "file":
        with open(path, "rb") as file:
            file.seek(7)
            yield file, True
    elif kind == "raw":
        with open(path, "rb", buffering=0) as file:
            yield file, True
    elif kind == "r+":
        with open(path, "r+b") as file:
            yield file, True
    elif kind == "temporary":
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            yield file, True
    elif kind == "spooled":
        with tempfile.SpooledTemporaryFile() as file:
            file.write(data)
            yield file, False
    else:
        yield {"lookalike": Lookalike, "subclass": Bytes}[kind](data), False


KINDS = ["str", "path", "BytesIO", "file", "raw", "r+", "temporary", "spooled", "lookalike",
         "subclass"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file(kind, save):
    path = save(written(CONTENT, comment=b"all of them"))
    with opened_as(kind, path) as (file, native), zipfile.ZipFile(path) as reference:
        with fastzip.ZipFile(file) as mine:
            assert is_native(mine) == native
            assert mine.filename == getattr(file, "name", file if kind == "str" else None) or (
                kind == "path"
            )
            same_lists(mine, reference)
            for name, data in CONTENT.items():
                assert mine.read(name) == data
                with mine.open(name) as member:
                    assert member.read() == data
                out = bytearray(len(data))
                assert mine.read_into(name, out) == len(data)
                assert out == data
            assert [bytes(v) for v in mine.read_many(CONTENT)] == list(CONTENT.values())
            assert mine.testzip() is None
            if not native:
                with pytest.raises(ValueError, match="natively"):
                    _ = mine.index
        if kind in ("str", "path"):
            return
        if native:
            with fastzip.ZipFile(file, strict=True, max_members=4) as mine:
                assert mine.read("d/b") == b"two"
            with pytest.raises(fastzip.LimitError):
                fastzip.ZipFile(file, max_members=3)
        else:
            for limits in ({"strict": True}, {"max_members": 9}, {"max_member_size": 9}):
                with pytest.raises(ValueError, match="strict and limits are for plain files"):
                    fastzip.ZipFile(file, **limits)


def test_a_position_does_not_move(save):
    path = save(written(CONTENT))
    with open(path, "rb") as file:
        file.seek(7)
        with fastzip.ZipFile(file) as archive:
            archive.read("a")
            assert file.tell() == 7
        assert not file.closed


def test_bytesio_stays_its_owners():
    """It may be changed or closed; what was opened is what it was."""
    file = io.BytesIO(written(CONTENT))
    with fastzip.ZipFile(file) as archive:
        file.truncate(0)
        file.close()
        assert archive.read("d/b") == b"two"


def test_what_cannot_be_opened(tmp_path, save):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "text").write_text("no archive at all, just some text")
    (tmp_path / "none").write_bytes(b"")
    cut = save(written(CONTENT)[:-1])
    before = len(os.listdir("/proc/self/fd"))
    started = time.monotonic()
    for name, kind in (
        ("fifo", OSError),
        ("nothing", FileNotFoundError),
        (".", IsADirectoryError),
        ("text", fastzip.BadZipFile),
        ("none", fastzip.BadZipFile),
        (cut, fastzip.BadZipFile),
        ("/dev/null", OSError),
    ):
        for _ in range(3):
            with pytest.raises(kind):
                fastzip.ZipFile(tmp_path / name)
    assert time.monotonic() - started < 30
    assert len(os.listdir("/proc/self/fd")) == before
    for arguments in ((b"PK",), (7,), (None,), (io.StringIO("x"),)):
        with pytest.raises(Exception):  # noqa: B017  (zipfile's own, whatever it is)
            zipfile.ZipFile(*arguments)
        with pytest.raises(Exception):  # noqa: B017
            fastzip.ZipFile(*arguments)
    with pytest.raises(ValueError, match="mode"):
        fastzip.ZipFile(tmp_path / "text", "rw")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"max_members": 3}, "max_members"),
        ({"max_total_size": 402}, "max_total_size"),
        ({"max_member_size": 399}, "max_member_size"),
    ],
)
def test_limits(options, code):
    data = written(CONTENT)
    [(name, value)] = options.items()
    fastzip.ZipFile(io.BytesIO(data), **{name: value + 1}).read("a")
    with pytest.raises(fastzip.LimitError) as caught:
        fastzip.ZipFile(io.BytesIO(data), **options).read("a")
    assert caught.value.code == code
    if name == "max_member_size":
        archive = fastzip.ZipFile(io.BytesIO(data), **options)
        assert archive.read("d/b") == b"two"
        for read in (
            lambda: archive.open("a"),
            lambda: archive.read_into("a", bytearray(999)),
            lambda: archive.read_many(["d/b", "a"]),
        ):
            with pytest.raises(fastzip.LimitError):
                read()
    for mode in "wxa":
        with pytest.raises(ValueError, match="for reading"):
            fastzip.ZipFile(io.BytesIO(), mode, **options)
    for value in (-1, "1", 1.5, True):
        with pytest.raises(ValueError, match=name):
            fastzip.ZipFile(io.BytesIO(data), **{name: value})


def test_strict(lab):
    data = lab.Archive([lab.Member(b"a", b"1"), lab.Member(b"a", b"2")]).build()
    assert fastzip.ZipFile(io.BytesIO(data)).read("a") == b"2"
    with pytest.raises(fastzip.BadZipFile) as caught:
        fastzip.ZipFile(io.BytesIO(data), strict=True)
    assert caught.value.code == "duplicate_name"


def test_unverified(lab):
    data = lab.Archive([lab.Member(b"a", b"data", crc=1)]).build()
    archive = fastzip.ZipFile(io.BytesIO(data), verify=False)
    assert archive.read("a") == archive.open("a").read() == b"data"
    assert bytes(archive.read_many(["a"])[0]) == b"data"
    assert archive.testzip() is None
    assert fastzip.ZipFile(io.BytesIO(data)).testzip() == "a"


# --------------------------------------------------------------------- closing


def test_closed(save, tmp_path):
    path = save(written(CONTENT))
    for kind in (fastzip.ZipFile, zipfile.ZipFile):
        archive = kind(path)
        archive.close()
        archive.close()
        assert archive.fp is None
        assert archive.namelist() == list(CONTENT)
        for act in (lambda a=archive: a.read("a"), lambda a=archive: a.open("a"),
                    lambda a=archive: a.testzip(),
                    lambda a=archive: a.extract("a", tmp_path),
                    lambda a=archive: a.extractall(tmp_path)):  # fmt: skip
            with pytest.raises(ValueError, match=CLOSED):
                act()
    archive = fastzip.ZipFile(path)
    archive.close()
    for act in (lambda: archive.read_into("a", bytearray(500)), lambda: archive.read_many(["a"])):
        with pytest.raises(ValueError, match=CLOSED):
            act()


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_open_members_outlive_the_archive(save, order, whole, monkeypatch):
    if not whole:
        monkeypatch.setattr(_stream, "WHOLE", 10)
    path = save(written({"a": b"one " * 5000, "b": b"two " * 5000}))
    before = sorted(os.listdir("/proc/self/fd"))
    with fastzip.ZipFile(path) as archive:
        files = [archive.open("a"), archive.open("b")]
        files[0].read(3)
        archive.open("a").close()
    for i in order:
        assert files[i].read()[-4:] == (b"one ", b"two ")[i]
        with pytest.raises(ValueError, match=CLOSED):
            archive.open("a")
        files[i].close()
        files[i].close()
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_forgotten_archives_and_members(save):
    """What nobody closed is closed when nobody holds it."""
    path = save(written(CONTENT))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        fastzip.ZipFile(path).read("a")
        member = fastzip.ZipFile(path).open("a")
        assert member.read() == CONTENT["a"]
        del member
    assert len(os.listdir("/proc/self/fd")) == before


# --------------------------------------------------------------------- other modes, subclasses


@pytest.mark.parametrize("mode", ["w", "x"])
def test_writing(tmp_path, mode):
    path = tmp_path / "new.zip"
    with fastzip.ZipFile(path, mode, zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        assert not is_native(archive)
        archive.writestr("a", b"one " * 100)
        with archive.open("b", "w") as member:
            member.write(b"two")
        assert archive.namelist() == ["a", "b"]
        assert archive.read("b") == b"two"
    with fastzip.ZipFile(path, "a") as archive:
        archive.writestr("c", b"three")
        archive.comment = b"added to"
        assert archive.read("a") == b"one " * 100
    with fastzip.ZipFile(path) as archive, zipfile.ZipFile(path) as reference:
        assert is_native(archive)
        same_lists(archive, reference)
        assert archive.read("c") == b"three"
        assert archive.comment == b"added to"
        for act in (lambda: archive.writestr("d", b""), lambda: archive.open("d", "w"),
                    lambda: archive.write(path)):  # fmt: skip
            with pytest.raises(ValueError, match="mode"):
                act()
        with pytest.raises(ValueError, match="mode"):
            archive.open("a", "rb")
    with pytest.raises(FileExistsError):
        fastzip.ZipFile(path, "x")


def test_subclass_with_its_own_open():
    class Loud(fastzip.ZipFile):
        def open(self, name, mode="r", pwd=None, **options):
            opened.append(name if isinstance(name, str) else name.filename)
            return super().open(name, mode, pwd, **options)

    opened = []
    with Loud(io.BytesIO(written(CONTENT))) as archive:
        assert archive.read("a") == CONTENT["a"]
        assert opened == ["a"]
        assert archive.testzip() is None
        assert opened[1:] == list(CONTENT)
        assert bytes(archive.read_many(["d/b"])[0]) == b"two"
        assert archive.read_into("d/b", bytearray(3)) == 3
        assert opened[5:] == ["d/b", "d/b"]


def test_limits_hold_for_a_subclass_with_its_own_open(lab):
    class Plain(fastzip.ZipFile):
        def open(self, *arguments, **options):
            return super().open(*arguments, **options)

    with Plain(io.BytesIO(written(CONTENT)), max_member_size=9) as archive:
        assert archive.read("d/b") == b"two"
        for read in (archive.read, archive.open, lambda name: archive.read_many([name])):
            with pytest.raises(fastzip.LimitError):
                read("a")
    overlap = lab.Archive([lab.Member(name, name, method=0) for name in (b"a", b"b", b"c")])
    overlap.members[0].central = {"offset": 32}
    with Plain(io.BytesIO(overlap.build())) as archive:
        with pytest.raises(fastzip.BadZipFile):
            archive.read("a")
        with archive.open("c") as member:
            assert isinstance(member, _stream.MemberFile)


def test_subclass_with_its_own_extract_member(tmp_path):
    """The way to keep permissions, as many programs do it."""

    class Permissions(fastzip.ZipFile):
        def _extract_member(self, member, targetpath, pwd):
            if not isinstance(member, zipfile.ZipInfo):
                member = self.getinfo(member)
            path = super()._extract_member(member, targetpath, pwd)
            os.chmod(path, member.external_attr >> 16)
            return path

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a", "d/b"):
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o751 << 16
            archive.writestr(info, name)
    with Permissions(file) as archive:
        archive.extractall(tmp_path / "all")
        assert archive.extract("a", tmp_path / "one") == str(tmp_path / "one" / "a")
    for path in ("all/a", "all/d/b", "one/a"):
        assert (tmp_path / path).read_text() == path[4:]
        assert (tmp_path / path).stat().st_mode & 0o777 == 0o751


def test_subclass_with_its_own_getinfo():
    class Folded(fastzip.ZipFile):
        def getinfo(self, name):
            return super().getinfo(name.lower())

    with Folded(io.BytesIO(written(CONTENT))) as archive:
        assert archive.read("D/B") == b"two"
        assert archive.open("D/B").read() == b"two"
        assert [bytes(v) for v in archive.read_many(["A", "a"])] == [CONTENT["a"]] * 2
        with pytest.raises(KeyError):
            archive.read("X")


def test_zipinfo_of_another_archive():
    """As zipfile: it says where to look."""
    data = written(CONTENT)
    with both(data) as (mine, reference):
        info = reference.getinfo("a")
        assert mine.read(info) == CONTENT["a"]
        assert mine.open(info).read() == CONTENT["a"]
        assert [bytes(v) for v in mine.read_many([info, "d/b"])] == [CONTENT["a"], b"two"]


# --------------------------------------------------------------------- zipfile.Path

TREE = {"top.txt": b"0", "a/b/c.txt": b"1", "a/d.txt": b"two\nlines\n", "e/": b"", "f/g/": b""}


def walk(path):
    yield str(path), path.name, path.is_dir(), path.exists()
    if path.is_dir():
        for child in path.iterdir():
            yield from walk(child)


@pytest.mark.parametrize("listed", [True, False])
def test_zipfile_path(listed, save):
    file = save(written(TREE))
    with fastzip.ZipFile(file) as mine, zipfile.ZipFile(file) as reference:
        if listed:
            mine.namelist(), mine.infolist()
        ours, theirs = zipfile.Path(mine), zipfile.Path(reference)
        assert list(walk(ours)) == list(walk(theirs))
        assert mine.namelist() == reference.namelist()
        assert (ours / "a" / "d.txt").read_text("utf-8") == "two\nlines\n"
        assert (ours / "a/b/c.txt").read_bytes() == b"1"
        with (ours / "a" / "d.txt").open("rb") as member:
            assert isinstance(member, _stream.MemberFile)
        assert not (ours / "a" / "x").exists()
        with pytest.raises(FileNotFoundError):
            (ours / "x").open()
        assert isinstance(mine, fastzip.ZipFile)
        assert is_native(mine)
        assert mine.read("top.txt") == b"0"
        assert bytes(mine.read_many(["a/b/c.txt"])[0]) == b"1"
        assert mine.testzip() is None
        assert [info.filename for info in mine.infolist()] == list(TREE)
        with pytest.raises(KeyError):
            mine.getinfo("nope")


def test_zipfile_path_of_other_archives(save):
    """Of one that is written, of a subclass's, and twice."""
    for kind in (fastzip.ZipFile, zipfile.ZipFile):
        file = io.BytesIO()
        with kind(file, "w") as archive:
            root = zipfile.Path(archive)
            with root.joinpath("a/b.txt").open("w", encoding="utf-8") as member:
                member.write("text")
            assert archive.namelist() == ["a/b.txt", "a/"]
            assert root.joinpath("a").is_dir()
            assert isinstance(archive, kind)
        with zipfile.ZipFile(file) as archive:
            assert archive.read("a/b.txt") == b"text"

    class Mine(fastzip.ZipFile):
        def extra(self):
            return len(self.namelist())

    with Mine(save(written(TREE))) as archive:
        assert archive.extra() == 5
        zipfile.Path(archive), zipfile.Path(zipfile.Path(archive).root)
        assert isinstance(archive, Mine)
        assert archive.extra() == 8
        assert archive.read("a/b/c.txt") == b"1"
        assert is_native(archive)


@pytest.mark.parametrize("listed", [True, False])
def test_extraction_after_zipfile_path(listed, save, tmp_path):
    """Implied folders are no members, and are made all the same."""
    with fastzip.ZipFile(save(written(TREE))) as archive:
        if listed:
            archive.infolist()
        zipfile.Path(archive)
        archive.extractall(tmp_path / "all")
        found = {str(p.relative_to(tmp_path / "all")) for p in (tmp_path / "all").rglob("*")}
        assert found == {"top.txt", "a", "a/b", "a/b/c.txt", "a/d.txt", "e", "f", "f/g"}
        assert archive.extract("a/d.txt", tmp_path) == str(tmp_path / "a" / "d.txt")


def test_own_path(save):
    file = save(written(TREE))
    ours, theirs = fastzip.Path(file), zipfile.Path(file)
    assert list(walk(ours)) == list(walk(theirs))
    assert is_native(ours.root)
    assert ours.joinpath("a", "d.txt").read_text("utf-8") == "two\nlines\n"
    with fastzip.ZipFile(file) as archive:
        assert fastzip.Path(archive, "a/").joinpath("d.txt").exists()
    ours.root.close()
    theirs.root.close()


def test_import_as_zipfile(save, tmp_path, capsys):
    """A program that reads, with its import line changed."""
    path = save(written(TREE))
    shown = []
    for name in ("zipfile", "fastzip"):
        module = importlib.import_module(name)
        assert module.is_zipfile(path)
        assert not module.is_zipfile(__file__)
        with module.ZipFile(path, "r", module.ZIP_DEFLATED) as archive:
            assert isinstance(archive.getinfo("top.txt"), module.ZipInfo)
            archive.printdir()
            listed = {i.filename: (i.file_size, i.is_dir(), i.CRC) for i in archive.infolist()}
            shown.append((listed, capsys.readouterr().out))
            with archive.open("a/d.txt") as member:
                shown[-1] += (list(io.TextIOWrapper(member, "utf-8")),)
        try:
            module.ZipFile(__file__)
        except module.BadZipFile:
            shown[-1] += ("bad",)
    assert shown[0] == shown[1]
    for name in ("ZIP_STORED", "ZIP_DEFLATED", "ZIP_BZIP2", "ZIP_LZMA", "LargeZipFile", "ZipInfo"):
        assert getattr(fastzip, name) is getattr(zipfile, name)


def test_refusals_of_the_standard_library_are_caught_as_ours(lab):
    damaged = lab.Archive([lab.Member(b"a", b"x" * 50, crc=1)]).build()
    with pytest.raises(fastzip.BadZipFile, match="not a zip file"):
        fastzip.ZipFile(Lookalike(b"no archive at all, just some text"))
    with fastzip.ZipFile(Lookalike(damaged)) as archive:
        with pytest.raises(fastzip.BadZipFile, match="CRC"):
            archive.read("a")
        assert archive.testzip() == "a"
        with pytest.raises(KeyError):
            archive.read("b")
    with fastzip.ZipFile(Lookalike(damaged.replace(b"PK\3\4", b"PK\3\5"))) as archive:
        assert outcome(archive.open, "a")[0] == "Bad magic number for file header"
        with pytest.raises(fastzip.BadZipFile):
            archive.open("a")
    file = io.BytesIO(b"no archive at all, just some text")
    with fastzip.ZipFile(file, "a") as archive:  # zipfile starts one behind it
        archive.writestr("a", "x")
    assert fastzip.ZipFile(file).read("a") == b"x"


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
    monkeypatch.setattr(_stream, "WHOLE", 50_000)
    held = []
    monkeypatch.setattr("fastzip.archive.Many", lambda *a: held.append(a) or Many(*a))
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
