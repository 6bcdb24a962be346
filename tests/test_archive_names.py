"""`ZipFile` against `zipfile.ZipFile` on the same archives: lists and names."""

from __future__ import annotations

import io
import struct
import threading
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from archivelab import (
    LIES,
    SETTINGS,
    UNICODE_PATHS,
    both,
    fields,
    is_native,
    outcome,
    run_threads,
    same_lists,
    written,
)
from hypothesis import given
from hypothesis import strategies as st

import fastzip

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
