"""`ZipFile` against `zipfile.ZipFile`: what can be opened, closed, written, derived from."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import tempfile
import time
import zipfile

import pytest
from archivelab import (
    CLOSED,
    CONTENT,
    Bytes,
    Lookalike,
    both,
    is_native,
    outcome,
    same_lists,
    written,
)

import fastzip
from fastzip._zip import stream as _stream

# --------------------------------------------------------------------- what can be opened


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
            yield file, True
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
