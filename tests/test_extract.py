"""`extract` and `extractall` against `zipfile`'s, and what the file system may do to them."""

from __future__ import annotations

import errno
import io
import os
import pathlib
import resource
import signal
import time
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastzip
from fastzip._batch import files as _extract

SETTINGS = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=60
)


@pytest.fixture(autouse=True)
def unchanged():
    """No descriptor stays open, whatever failed."""
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


def tree(folder):
    """What is below a folder: bytes of files, targets of links, None for folders."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


def archive(lab, members, **options):
    """An open archive of {name: bytes} or of members."""
    if isinstance(members, dict):
        members = [lab.Member(name.encode(), data, flags=0x800) for name, data in members.items()]
    return fastzip.ZipFile(io.BytesIO(lab.Archive(members).build()), **options)


CONTENT = {
    "a": b"one " * 5000,
    "d/": b"",
    "d/b": b"two",
    "deep/er/and/deeper": b"",
    "e/f/": b"",
    "stored é": b"\0" * 70_000,
}


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_all_members(lab, tmp_path, threads):
    with archive(lab, CONTENT) as mine:
        assert mine.extractall(tmp_path / "not" / "yet", threads=threads) is None
        assert mine.extractall(str(tmp_path / "not" / "yet"), threads=threads) is None  # again
    with zipfile.ZipFile(
        mine._reader.opened.memory and io.BytesIO(mine._reader.opened.memory)
    ) as z:
        z.extractall(tmp_path / "reference")
    assert tree(tmp_path / "not" / "yet") == tree(tmp_path / "reference")


def test_no_members(lab, tmp_path):
    with archive(lab, {}) as mine:
        mine.extractall(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_some_members(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with archive(lab, CONTENT) as mine:
        mine.extractall(members=iter(["d/b", mine.getinfo("a")]))
        assert tree(".") == {"a": CONTENT["a"], "d": None, "d/b": b"two"}
        assert mine.extract("e/f/", "x/..") == "e/f"
        assert mine.extract("d/b") == str(tmp_path / "d" / "b")
        info = mine.getinfo("d/b")
        info.filename = "new/name"
        assert mine.extract(info, tmp_path / "p") == str(tmp_path / "p/new/name")
        mine.extractall(tmp_path / "q", [info, "a"])
        assert tree("q") == {"a": CONTENT["a"], "new": None, "new/name": b"two"}
        mine.extractall(tmp_path / "all")
        assert "new/name" in tree("all")
        assert "d/b" not in tree("all")


def test_members_of_another_archive(lab, tmp_path):
    """As zipfile: where they are, is read in this one."""
    with archive(lab, CONTENT) as mine, archive(lab, CONTENT) as other:
        mine.extractall(tmp_path, ["a", zipfile.ZipFile.getinfo(other, "d/b"), "stored é"])
    assert sorted(tree(tmp_path)) == ["a", "d", "d/b", "stored é"]


def test_standard_library_reads(lab, tmp_path):
    class Bytes(io.BytesIO):
        pass

    data = lab.Archive([lab.Member(b"a/b", b"1"), lab.Member(b"c", b"2")]).build()
    with fastzip.ZipFile(Bytes(data)) as mine:
        mine.extractall(tmp_path)
        assert mine.extract("c", tmp_path / "x") == str(tmp_path / "x" / "c")
    assert tree(tmp_path) == {"a": None, "a/b": b"1", "c": b"2", "x": None, "x/c": b"2"}


# --------------------------------------------------------------------- names

HOSTILE = [
    "../x", "../../../../../../tmp/x", "/abs", "//abs", "/etc/passwd", "a/../../b", "a/..", "..",
    ".", "./x", "a/./b", "a//b", "", "/", "//", "../", "./", "C:\\x", "C:/x", "..\\x", "a\\b",
    "\\\\host\\share\\x", "~/x", "~", "x/", "x/../", " ", "...", "a/.../b", "\n", "é/漢字", "-rf",
    "n" * 255, ".fastzip-0-0",
]  # fmt: skip

parts = st.sampled_from(["..", ".", "", "a", "b", "C:", "\\", "..\\", " "])


def check_names(seen, name):
    one, whole, *theirs = seen
    if name.endswith("/") and not set(name.split("/")) - {"", ".", ".."}:
        assert one[0] == "."
        assert one[1] == whole[1] == {"in": None, "in/side": None}
        theirs = [one, whole]  # the folder itself: an error in some versions
    assert [one, whole] == theirs
    assert all(below in ("in", "in/side") or below.startswith("in/side/") for below in one[1])


def extract_both(lab, folder, name, data):
    """(path below the folder or the kind of failure, what there is) for fastzip and for zipfile."""
    content = lab.Archive([lab.Member(name.encode(), data, flags=0x800)]).build()
    seen = []
    for kind in (fastzip.ZipFile, zipfile.ZipFile):
        for way in ("extract", "extractall"):
            inside = folder / f"{kind.__module__}-{way}" / "in" / "side"
            inside.mkdir(parents=True)
            with kind(io.BytesIO(content)) as archive:
                try:
                    path = getattr(archive, way)(*([name] if way == "extract" else []), path=inside)
                except (OSError, ValueError, IndexError):
                    seen.append(("failed", tree(folder / f"{kind.__module__}-{way}")))
                else:
                    path = path and os.path.relpath(path, inside)
                    seen.append((path, tree(folder / f"{kind.__module__}-{way}")))
    return seen


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(lab, tmp_path, name):
    """Made harmless just as zipfile does it."""
    data = b"" if name.endswith("/") else b"data"
    check_names(extract_both(lab, tmp_path, name, data), name)


@SETTINGS
@given(name=st.lists(parts, min_size=1, max_size=5).map("/".join))
def test_any_hostile_name(lab, tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("any")
    data = b"" if name.endswith("/") else b"data"
    check_names(extract_both(lab, folder, name, data), name)


def test_name_that_is_too_long(lab, tmp_path):
    with archive(lab, {"a": b"1", "n" * 256: b"2", "z": b"3"}) as mine:
        with pytest.raises(OSError) as caught:
            mine.extractall(tmp_path)
        assert caught.value.errno == errno.ENAMETOOLONG
    assert tree(tmp_path) == {"a": b"1", "z": b"3"}


def test_name_with_nul(lab, tmp_path):
    """A caller's own name; a member's can't be read."""
    with archive(lab, {"a": b"1", "b": b"2"}) as mine:
        mine.getinfo("b").filename = "b\0c"
        with pytest.raises(ValueError):
            mine.extractall(tmp_path)


def test_duplicates(lab, tmp_path):
    """The last one wins."""
    members = [lab.Member(b"a", b"1"), lab.Member(b"b", b"2"), lab.Member(b"a", b"3")]
    members += [lab.Member(b"./b", b"4"), lab.Member(b"/a", b"5")]
    with archive(lab, members) as mine:
        mine.extractall(tmp_path)
        assert tree(tmp_path) == {"a": b"5", "b": b"4"}
        assert mine.extract("a", tmp_path / "x") == str(tmp_path / "x" / "a")
        assert tree(tmp_path / "x") == {"a": b"3"}
        mine.extract(mine.infolist()[0], tmp_path / "x")
        assert tree(tmp_path / "x") == {"a": b"1"}


# --------------------------------------------------------------------- what is there already


@pytest.fixture
def folder(tmp_path):
    """Where to extract to; `outside` beside it holds a file."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    yield tmp_path / "folder"
    assert tree(tmp_path / "outside") == {"file": b"kept"}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("target", ["../outside/file", "nowhere", "other", "/dev/full"])
def test_a_link_in_a_files_place_is_replaced(lab, folder, monkeypatch, target, large):
    if large:
        monkeypatch.setattr(_extract, "WHOLE", 100)
    (folder / "other").write_bytes(b"other")
    (folder / "a").symlink_to(target)
    with archive(lab, {"a": b"new " * 100}) as mine:
        mine.extractall(folder)
        assert tree(folder) == {"a": b"new " * 100, "other": b"other"}
        (folder / "a").unlink()
        (folder / "a").symlink_to(target)
        mine.extract("a", folder)
    assert tree(folder) == {"a": b"new " * 100, "other": b"other"}


def test_another_name_of_a_file_keeps_its_bytes(lab, folder):
    os.link(folder.parent / "outside" / "file", folder / "a")
    with archive(lab, {"a": b"new"}) as mine:
        mine.extractall(folder)
    assert tree(folder) == {"a": b"new"}


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("target", ["../outside", "/", "..", "inner/up"])
@pytest.mark.parametrize("name", ["d/x", "d/deeper/x", "d/deeper/"])
def test_a_link_that_leads_out_is_refused(lab, folder, monkeypatch, target, name, large):
    if large:
        monkeypatch.setattr(_extract, "WHOLE", 100)
    (folder / "inner").mkdir()
    (folder / "inner" / "up").symlink_to("../../outside")
    (folder / "d").symlink_to(target)
    before = tree(folder)
    content = {"a": b"1" * 200, name: b"" if name.endswith("/") else b"x" * 200, "z": b"3" * 200}
    with archive(lab, content) as mine:
        for act in (lambda: mine.extract(name, folder), lambda: mine.extractall(folder)):
            with pytest.raises(ValueError, match="is a link to") as caught:
                act()
            assert caught.value.code == "link_outside"
            assert caught.value.path == str(folder / "d")
    assert tree(folder).items() >= before.items()
    assert tree(folder)["a"] == b"1" * 200


@pytest.mark.parametrize("target", ["real", "./inner/../real", "ABSOLUTE"])
def test_a_link_that_stays_inside_is_followed(lab, folder, target):
    (folder / "real").mkdir()
    (folder / "inner").mkdir()
    target = str(folder / "real") if target == "ABSOLUTE" else target
    (folder / "d").symlink_to(target)
    with archive(lab, {"d/x": b"1", "d/e/y": b"2", "d/": b""}) as mine:
        mine.extractall(folder)
    assert tree(folder / "real") == {"e": None, "e/y": b"2", "x": b"1"}
    assert (folder / "d").is_symlink()


def test_the_folder_itself_may_be_a_link(lab, folder):
    (folder / "real").mkdir()
    (folder / "link").symlink_to("real")
    with archive(lab, {"a": b"1", "d/x": b"2"}) as mine:
        mine.extractall(folder / "link")
        assert mine.extract("a", folder / "link") == str(folder / "link" / "a")
    assert tree(folder / "real") == {"a": b"1", "d": None, "d/x": b"2"}


def test_dangling_link_in_a_folders_place(lab, folder):
    (folder / "d").symlink_to("nowhere")
    (folder / "out").symlink_to("../nowhere")
    with archive(lab, {"d/x": b"1", "d/": b"", "out/x": b"2"}) as mine:
        for name in ("d/x", "d/"):
            with pytest.raises(FileExistsError):
                mine.extract(name, folder)
        with pytest.raises(ValueError) as caught:
            mine.extract("out/x", folder)
        assert caught.value.code == "link_outside"
    assert tree(folder) == {"d": "nowhere", "out": "../nowhere"}
    assert not (folder.parent / "nowhere").exists()


@pytest.mark.parametrize("large", [False, True])
def test_a_file_in_a_folders_place(lab, folder, monkeypatch, large):
    """The others are written, whether they stand before or behind."""
    if large:
        monkeypatch.setattr(_extract, "WHOLE", 1)
    (folder / "d").write_bytes(b"a file")
    with archive(lab, {"a": b"11", "d/x": b"22", "d/y": b"33", "e/z": b"44"}) as mine:
        with pytest.raises(NotADirectoryError):
            mine.extractall(folder)
        with pytest.raises(NotADirectoryError):
            mine.extract("d/x", folder)
    assert tree(folder).items() >= {"a": b"11", "d": b"a file"}.items()
    assert large or tree(folder)["e/z"] == b"44"
    with archive(lab, {"a2": b"1", "d/": b"", "e2": b"2"}) as mine:
        with pytest.raises(FileExistsError):
            mine.extractall(folder)
        with pytest.raises(FileExistsError):
            mine.extract("d/", folder)
    assert tree(folder)["a2"] == b"1"


def test_a_file_in_the_folders_place_of_another_method(folder):
    """Members that aren't native are written by other means."""
    (folder / "d").write_bytes(b"a file")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, method in (("a", 8), ("d/x", zipfile.ZIP_BZIP2), ("b", zipfile.ZIP_BZIP2)):
            archive.writestr(name, name * 50, method)
    with fastzip.ZipFile(file) as mine, pytest.raises(NotADirectoryError):
        mine.extractall(folder)
    assert tree(folder) == {"a": b"a" * 50, "b": b"b" * 50, "d": b"a file"}


@pytest.mark.parametrize("large", [False, True])
def test_a_folder_in_a_files_place(lab, folder, monkeypatch, large):
    if large:
        monkeypatch.setattr(_extract, "WHOLE", 1)
    (folder / "d").mkdir()
    with archive(lab, {"a": b"11", "d": b"22", "e": b"33"}) as mine:
        with pytest.raises(IsADirectoryError) as caught:
            mine.extractall(folder)
        assert large or caught.value.filename == str(folder / "d")
        with pytest.raises(IsADirectoryError):
            mine.extract("d", folder)
    assert tree(folder).items() >= {"a": b"11", "d": None}.items()
    assert large or tree(folder)["e"] == b"33"


def test_an_archive_that_contradicts_itself(lab, folder):
    """A name is a file's and a folder's."""
    for content in ({"d": b"1", "d/x": b"2"}, {"d/x": b"2", "d": b"1"}, {"d": b"1", "d/": b""}):
        with archive(lab, content) as mine, pytest.raises(OSError):
            mine.extractall(folder / str(len(tree(folder))))


# --------------------------------------------------------------------- damage


@pytest.mark.parametrize("threads", [1, 4])
def test_damage_in_the_middle(lab, tmp_path, threads):
    """The others of the run are written; the bad ones leave what was there before."""
    members = [lab.Member(b"d%d/%d" % (i % 3, i), bytes([i]) * 9000) for i in range(40)]
    members[17].crc = 1
    members[30].body = b"\7" + bytes(100)
    (tmp_path / "d2").mkdir()
    (tmp_path / "d2" / "17").write_bytes(b"kept")
    with archive(lab, members) as mine:
        with pytest.raises(fastzip.CRCError) as caught:
            mine.extractall(tmp_path, threads=threads)
        assert caught.value.failed == [("d2/17", "crc"), ("d0/30", "deflate")]
        with pytest.raises(fastzip.CRCError):
            mine.extract("d2/17", tmp_path)
    found = {name: data for name, data in tree(tmp_path).items() if data is not None}
    expected = {f"d{i % 3}/{i}": bytes([i]) * 9000 for i in range(40) if i not in (17, 30)}
    assert found == expected | {"d2/17": b"kept"}


def test_damage_in_a_large_member(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(_extract, "WHOLE", 1000)
    members = [lab.Member(b"%d" % i, bytes(9000)) for i in range(5)]
    members[2].crc = 1
    with archive(lab, members) as mine, pytest.raises(fastzip.CRCError):
        mine.extractall(tmp_path)
    assert tree(tmp_path) == {"0": bytes(9000), "1": bytes(9000)}


def test_limits_hold(lab, tmp_path):
    mine = archive(lab, {"a": b"1", "b": b"22"}, max_member_size=1)
    with mine, pytest.raises(fastzip.LimitError):
        mine.extractall(tmp_path)
    assert tree(tmp_path) == {"a": b"1"}


# --------------------------------------------------------------------- the disk


@pytest.fixture
def largest_file():
    """largest_file(n): files can't grow beyond n bytes, as if the disk were full then."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n: resource.setrlimit(resource.RLIMIT_FSIZE, (n, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("threads", [1, 4])
def test_no_room(lab, tmp_path, monkeypatch, largest_file, threads, large):
    if large:
        monkeypatch.setattr(_extract, "WHOLE", 20_000)
    members = [lab.Member(b"%02d" % i, bytes(10_000 + 40_000 * (i == 7))) for i in range(20)]
    (tmp_path / "07").write_bytes(b"kept")
    with archive(lab, members) as mine:
        largest_file(30_000)
        with pytest.raises(OSError) as caught:
            mine.extractall(tmp_path, threads=threads)
        largest_file(resource.RLIM_INFINITY)
        assert caught.value.errno == errno.EFBIG
        assert large or caught.value.filename == str(tmp_path / "07")
        assert tree(tmp_path)["07"] == b"kept"
        assert sorted(tree(tmp_path)) == [f"{i:02}" for i in range(8 if large else 20)]
        mine.extractall(tmp_path, threads=threads)
    assert tree(tmp_path)["07"] == bytes(50_000)


def failing_writes(faults, fault, large):
    """The nth write fails, for every n: one file isn't there, and nothing of it."""
    if large:
        _extract.WHOLE = 100
    content = {f"d{i % 3}/{i}": bytes([i]) * 40_000 for i in range(10)}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in content.items():
            made.writestr(name, data)
    with fastzip.ZipFile(file, threads=1) as mine:
        for n in (*range(len(content)), None):
            folder = faults.folder / str(n)
            with faults.during(".fastzip-", fault, call="write", after=n or 0, times=1):
                kind, exc = faults.outcome(mine.extractall, folder, None if n is not None else [])
                assert faults.injected("write") == (n is not None)
            found = {name: data for name, data in tree(folder).items() if data is not None}
            if fault.startswith("E") and fault != "EINTR" and n is not None:
                assert (kind, exc.errno) == ("OSError", getattr(errno, fault))
                lost = list(content)[n:] if large else [list(content)[n]]
                assert found == {k: v for k, v in content.items() if k not in lost}
                assert large or exc.filename == str(folder / lost[0])
            else:
                assert kind == "right", exc
                assert found == (content if n is not None else {})


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("fault", ["ENOSPC", "EIO", "EDQUOT", "EINTR", "short", "crumbs"])
def test_the_nth_write_fails(faultlab, injector, fault, large):
    faultlab.run(failing_writes, fault, large, injector=injector)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder(lab, tmp_path):
    (tmp_path / "d").mkdir(mode=0o500)
    with archive(lab, {"a": b"1", "d/x": b"2", "e/y": b"3"}) as mine:
        for act in (lambda: mine.extractall(tmp_path), lambda: mine.extract("d/x", tmp_path)):
            with pytest.raises(PermissionError):
                act()
    assert tree(tmp_path) == {"a": b"1", "d": None, "e": None, "e/y": b"3"}


def test_where_nothing_can_be_made(lab):
    with archive(lab, {"a": b"1"}) as mine:
        for path in ("/proc/nothing", "/dev/null", "/dev/null/x"):
            with pytest.raises(OSError):
                mine.extractall(path)


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o027, 0])
def test_umask(lab, tmp_path, monkeypatch, mask):
    before = os.umask(mask)
    try:
        with archive(lab, {"a": b"1", "d/x": b"2" * 200}) as mine:
            mine.extractall(tmp_path)
            monkeypatch.setattr(_extract, "WHOLE", 100)
            mine.extractall(tmp_path / "e")
    finally:
        os.umask(before)
    for name in ("a", "d/x", "e/a", "e/d/x"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o666 & ~mask
    for name in ("d", "e", "e/d"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o777 & ~mask


@pytest.mark.parametrize("threads", [1, 3])
def test_many_files_in_many_folders(lab, tmp_path, threads):
    """More folders and members than a run has, and fewer descriptors than folders."""
    content = {f"d{i % 150}/{i}": b"%d" % i * (i % 90) for i in range(2500)}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with archive(lab, content) as mine:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 100 + fds()), hard))
        try:
            mine.extractall(tmp_path, threads=threads)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert {k: v for k, v in tree(tmp_path).items() if v is not None} == content


def fds():
    return max(map(int, os.listdir("/proc/self/fd")))


def test_large_members(lab, tmp_path, monkeypatch):
    """Written as they are decoded, between others."""
    content = {f"{i}": lab.sparse(200 + 300_000 * (i % 3 == 1), i).tobytes() for i in range(9)}
    monkeypatch.setattr(_extract, "WHOLE", 100_000)
    with archive(lab, content) as mine:
        mine.extractall(tmp_path)
        assert mine.extract("4", tmp_path / "x") == str(tmp_path / "x/4")
    assert (tmp_path / "x/4").read_bytes() == content["4"]
    (tmp_path / "x/4").unlink()
    (tmp_path / "x").rmdir()
    assert tree(tmp_path) == content


def test_progress(lab, tmp_path, capsys):
    pytest.importorskip("tqdm")
    with archive(lab, {f"{i}": bytes(1024) for i in range(1500)} | {"d/": b""}) as mine:
        mine.extractall(tmp_path)
        assert capsys.readouterr() == ("", "")
        mine.extractall(tmp_path, progress=True)
        out, err = capsys.readouterr()
        assert out == ""
        assert "extracting: 100%" in err
        assert "1.46M/1.46M" in err


def test_interrupted(lab, tmp_path):
    """Ctrl-C at any moment: complete files, and no others."""
    content = {f"{i}": bytes(4_000_000) for i in range(12)}
    interrupted = 0
    with archive(lab, content) as mine:
        started = time.perf_counter()
        mine.extractall(tmp_path / "all", threads=2)
        took = time.perf_counter() - started
        for i in range(8):
            folder = tmp_path / str(i)
            handler = signal.signal(signal.SIGALRM, signal.default_int_handler)
            try:
                signal.setitimer(signal.ITIMER_REAL, took * (i + 0.5) / 9)
                mine.extractall(folder, threads=1 + i % 2)
            except KeyboardInterrupt:
                interrupted += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, handler)
            for path in folder.iterdir() if folder.exists() else ():
                assert path.name in content
                assert path.stat().st_size == 4_000_000
                path.unlink()
        mine.extract("3", tmp_path / "one")
    assert interrupted > 0
    assert (tmp_path / "one" / "3").read_bytes() == content["3"]


def test_arrays(lab, tmp_path):
    arrays = {f"a{i}": np.arange(i) for i in range(30)}
    with fastzip.ZipFile(io.BytesIO(lab.npz(**arrays))) as mine:
        mine.extractall(tmp_path)
    for key, array in arrays.items():
        assert np.array_equal(np.load(tmp_path / f"{key}.npy"), array)
