"""What isn't an archive, or not yet one: each is told what it is, and what to do about it."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import pathlib
import pickle
import re
import tarfile
import urllib.request
import zipfile

import numpy as np
import pytest

import fastzip
from fastzip import grain
from fastzip._zip import formats as _formats


def _tar(data: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        info = tarfile.TarInfo("weights.bin")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return file.getvalue()


NOISE = bytes(range(256)) * 4
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
KINDS = {
    "web page": (b"\n<!DOCTYPE html>\n<html><body>Sign in</body></html>", "a web page", "again"),
    "web page, no doctype": (b"<HTML><head></head></HTML>\n" * 3, "a web page", "again"),
    "xml": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML", "again"),
    "json": (json.dumps({"error": "not found", "code": 404}).encode(), "JSON", "again"),
    "git lfs": (LFS, "a Git LFS pointer", "git lfs pull"),
    "git annex": (b"/annex/objects/SHA256E-s123--4d7a.npz\n", "git-annex pointer", "git annex get"),
    "tar": (_tar(NOISE), "a tar archive", "tarfile"),
    "gzip": (gzip.compress(NOISE), "a gzip file", "gzip.open"),
    "bzip2": (bz2.compress(NOISE), "a bzip2 file", "bz2.open"),
    "xz": (lzma.compress(NOISE), "an xz file", "lzma.open"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04\x58" + NOISE, "a Zstandard file", "decompress"),
    "lz4": (b"\x04\x22\x4d\x18\x64\x40" + NOISE, "an LZ4 file", "decompress"),
    "hdf5": (b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0" + NOISE, "an HDF5 file", "h5py"),
    "matlab": (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + NOISE, "a MATLAB file", "loadmat"),
    "rar": (b"Rar!\x1a\x07\x01\x00" + NOISE, "a RAR archive", "unpack"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0\x04" + NOISE, "a 7z archive", "unpack"),
    "parquet": (b"PAR1\x15\x04\x15" + NOISE + b"PAR1", "a Parquet file", "pyarrow"),
    "arrow": (b"ARROW1\0\0" + NOISE, "an Arrow file", "pyarrow"),
    "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + NOISE, "a JPEG image", "decoded"),
    "png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + NOISE, "a PNG image", "decoded"),
    "gif": (b"GIF89a" + NOISE, "a GIF image", "decoded"),
    "pdf": (b"%PDF-1.7\n" + NOISE, "a PDF document", "path"),
    "safetensors": (b'\x12\0\0\0\0\0\0\0{"a":{"dtype":"F4"}' + NOISE, "a safetensors", "load_file"),
    "torch, legacy": (pickle.dumps(0x1950A86A20F9469CFC6C, 2) + NOISE, "PyTorch", "torch.load"),
    "csv": (b"name,label\nix-000001,3\nix-000002,5\n", "a text file", "read_csv"),
    "numbers": (b"0.5 1.25\n0.75 1.5\n" * 50, "a text file", "loadtxt"),
    "text": (("Ünïcode — in a file\n" * 60).encode(), "a text file", "loadtxt"),
}
CUT = "cut short or not yet complete"


@pytest.mark.parametrize("kind", KINDS)
def test_load_names_it(tmp_path, kind):
    data, what, advice = KINDS[kind]
    path = tmp_path / "training.npz"
    path.write_bytes(data)
    sources = [path, str(path), io.BytesIO(data), bytearray(data)]
    if what != "a text file":  # as bytes, that is a path
        sources.append(data)
    for source in sources:
        with pytest.raises(ValueError) as info:
            fastzip.load(source)
        assert info.value.code == "not_npz"
        text = str(info.value)
        assert what in text
        assert advice in text
        assert "allow_pickle" not in text
        assert text.count("\n") == 0
        assert info.value.__cause__ is info.value.__context__ is None  # NumPy's advice isn't shown
    assert str(path) in _refused(ValueError, fastzip.load, path)
    with open(path, "rb") as file:
        _refused(ValueError, fastzip.load, file)
        assert file.tell() == 0


def _refused(kind, call, *args, **options):
    with pytest.raises(kind) as info:
        call(*args, **options)
    return str(info.value)


@pytest.mark.parametrize("kind", KINDS)
def test_archives_name_it(tmp_path, kind):
    """Where an archive is wanted: the exception stays what it was, and says more."""
    data, what, advice = KINDS[kind]
    path = tmp_path / "training.npz"
    path.write_bytes(data)
    calls = [fastzip.open_npz, fastzip.NpzFile, fastzip.ZipFile, lambda path: grain.Source(path)]
    for call in calls:
        with pytest.raises(fastzip.BadZipFile) as info:
            call(path if call is not calls[3] else str(path))
        assert info.value.code in ("no_eocd", "too_short")
        assert what in str(info.value)
        assert advice in str(info.value)


@pytest.mark.parametrize("kind", KINDS)
def test_numpys_exceptions_stay(tmp_path, kind):
    data, what, _ = KINDS[kind]
    path = tmp_path / "training.npz"
    path.write_bytes(data)
    with pytest.raises(ValueError) as theirs:
        np.load(path)
    with fastzip.patch_numpy(), pytest.raises(ValueError) as ours:
        np.load(path)
    assert type(ours.value) is type(theirs.value)
    assert str(ours.value) == str(theirs.value)
    assert any(what in note for note in ours.value.__notes__)
    if kind == "torch, legacy":  # it is a pickle, of a number
        return
    for patched in (False, True):
        with fastzip.patch_numpy(), pytest.raises(pickle.UnpicklingError) as allowed:
            (np.load if patched else fastzip.load)(path, allow_pickle=True)
        assert any(what in note for note in allowed.value.__notes__)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("value", [1, None, "x", [1, "y"], {"a": np.arange(3)}, "é" * 999, (), 1.5])
def test_pickles_are_pickles(tmp_path, protocol, value):
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(ValueError, match="allow_pickle=") as info:
        fastzip.load(path)
    assert info.value.code == "pickle"
    assert repr(fastzip.load(path, allow_pickle=True)) == repr(value)


def test_neither(tmp_path):
    """What nobody knows isn't called a pickle either."""
    path = tmp_path / "x.npz"
    path.write_bytes(b"\x01\x02\x03" + bytes(600))
    text = _refused(ValueError, fastzip.load, path)
    assert "it begins with b'\\x01\\x02\\x03" in text
    assert "allow_pickle" not in text


def test_other_kinds_for_open_npz(lab, tmp_path):
    np.save(tmp_path / "x.npy", np.arange(9))
    text = _refused(fastzip.BadZipFile, fastzip.open_npz, tmp_path / "x.npy")
    assert "an .npy file, one array; fastzip.load reads it" in text
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(list(range(100))))
    text = _refused(fastzip.BadZipFile, fastzip.open_npz, tmp_path / "x.pkl")
    assert "it is a pickle" in text
    assert "allow_pickle" not in text
    (tmp_path / "empty.npz").touch()
    assert "the file is empty" in _refused(
        fastzip.BadZipFile, fastzip.open_npz, tmp_path / "empty.npz"
    )
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        for name in ("model/data.pkl", "model/byteorder", "model/data/0", "model/version"):
            archive.writestr(name, b"1")
    with pytest.raises(ValueError, match=r"PyTorch checkpoint.*torch\.load") as info:
        fastzip.open_npz(tmp_path / "model.pt")
    assert info.value.code == "not_npz"
    assert fastzip.load(tmp_path / "model.pt")["model/version"] == b"1"  # as NumPy
    assert fastzip.open_npz(lab.npz(a=np.arange(3)))["a"].tolist() == [0, 1, 2]


def test_open_npz_is_load(path, check, lab):
    data = path.read_bytes()
    for source in (path, str(path), data, io.BytesIO(data)):
        check(fastzip.open_npz(source))
    with pytest.raises(ValueError, match="encoding must be"):
        fastzip.open_npz(path, encoding="utf-8")
    npz = fastzip.open_npz(path, threads=1, max_member_size=10, mmap_mode="r", fix_imports=False)
    assert (npz.threads, npz.mmap_mode) == (1, "r")
    assert npz.pickle_kwargs == {"encoding": "ASCII", "fix_imports": False}
    with pytest.raises(fastzip.LimitError):
        npz["a"]
    with pytest.raises(fastzip.BadZipFile):
        fastzip.open_npz(b"junk" + data, strict=True)
    assert fastzip.open_npz(b"junk" + data)["a"].tolist() == [0, 1, 2, 3]
    with pytest.raises(TypeError):
        fastzip.open_npz(path, "r")


def test_cut_short(path):
    data = path.read_bytes()
    for n in (4, 15, 22, 100, len(data) - 3):
        text = _refused(fastzip.BadZipFile, fastzip.load, data[:n] + b"")
        assert CUT in text
        assert CUT in _refused(fastzip.BadZipFile, fastzip.ZipFile, io.BytesIO(data[:n]))


@pytest.mark.parametrize("n", range(0, _formats.FRONT + 9, 7))
def test_fronts_of_any_length(n):
    """Nothing but an answer comes of any bytes."""
    rng = np.random.default_rng(n)
    for data, _, _ in KINDS.values():
        _formats.describe_file(data[:n])
    for _ in range(20):
        front = rng.bytes(n)
        _formats.describe_file(front)
        _formats.is_pickle(front)


def test_zip_file_of_other_file_objects():
    """The standard library's exception, and a note."""

    class Own(io.BytesIO):
        pass

    with pytest.raises(fastzip.BadZipFile) as info:
        fastzip.ZipFile(Own(LFS))
    assert any("git lfs pull" in note for note in info.value.__notes__)


# ---- paths that lead nowhere -----------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    np.savez("training.npz", x=1)
    np.save("labels.npy", 1)
    np.savez("data/valid.npz", x=1)
    pathlib.Path("notes.txt").write_text("x")
    os.symlink("gone/away.npz", "linked.npz")
    return tmp_path


HINTS = [
    ("training", "there is 'training.npz' beside it"),
    ("trainng.npz", "there is 'training.npz' beside it"),
    ("Training.npz", "there is 'training.npz' beside it"),
    ("training.npy", "there is 'training.npz' beside it"),
    ("labels", "there is 'labels.npy' beside it"),
    ("labels.npz", "there is 'labels.npy' beside it"),
    ("data/vald.npz", "there is 'valid.npz' beside it"),
    ("dat/valid.npz", "there is no folder 'dat'; there is 'data' beside it"),
    ("nowhere/in/valid.npz", "there is no folder 'nowhere'"),
    ("training.npz/x.npy", "'training.npz' is a file, not a folder"),
    ("*.npz", "patterns are not expanded in paths; glob.glob('*.npz')"),
    ("linked.npz", "it is a link to 'gone/away.npz', which does not exist"),
]


@pytest.mark.parametrize(("name", "hint"), HINTS)
def test_hints(folder, name, hint):
    with pytest.raises(OSError) as theirs:
        pathlib.Path(name).read_bytes()
    calls = [fastzip.load, fastzip.open_npz, fastzip.ZipFile, grain.Source]
    if name.endswith(".npy"):
        calls.pop()  # which says that this holds no samples
    for call in calls:
        for path in (name, pathlib.Path(name), os.path.abspath(name)):
            with pytest.raises(type(theirs.value)) as info:
                call(path)
            assert info.value.errno == theirs.value.errno
            assert str(info.value).startswith(str(theirs.value).partition(":")[0])
            assert os.fspath(info.value.filename) == os.fspath(path)
            (note,) = info.value.__notes__
            if path == os.path.abspath(name):
                assert hint.partition(" ")[2][:10] in note
            else:
                assert hint in note
    with fastzip.patch_numpy(), pytest.raises(type(theirs.value)) as info:
        np.load(name)
    assert str(info.value) == str(theirs.value)


@pytest.mark.parametrize("name", ["zzz.npz", "a.npz", "notes", "data/zzz.npz"])
def test_no_hint(folder, name):
    """Endings alone make no likeness, nor do files of other kinds."""
    with pytest.raises(FileNotFoundError) as info:
        fastzip.load(name)
    assert not hasattr(info.value, "__notes__")
    assert str(info.value) == f"[Errno 2] No such file or directory: {name!r}"


def test_home(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    with pytest.raises(FileNotFoundError) as info:
        fastzip.load("~/training.npz")
    assert "expanduser" in info.value.__notes__[0]


def test_odd_paths(folder):
    for name in ("", "/", "x" * 300, b"\xff.npz", "data", "\udcff.npz"):
        with pytest.raises(OSError):
            fastzip.load(name)
    with pytest.raises(ValueError, match="null"):
        fastzip.load("a\0b")


URLS = ["s3://bucket/a.npz", "gs://bucket/a.npz", "az://box/a.npz", "http://host.example/a.npz",
        "https://host.example/a.npz?x=1", "hf://datasets/a/b.npz", "abfs+x://a/b",
        "simplecache::s3://bucket/a.npz"]  # fmt: skip


@pytest.mark.parametrize("url", URLS)
def test_urls(folder, url):
    for call in (fastzip.load, fastzip.open_npz, fastzip.ZipFile, grain.Source):
        for given in (url, pathlib.Path(url)):
            with pytest.raises(FileNotFoundError) as info:
                call(given)
            assert info.value.code == "url"
            assert info.value.errno == errno.ENOENT
            assert "No such file" not in str(info.value)
            scheme = re.findall(r"([\w+]+):/", url)[0]
            assert f"{scheme} URLs are not read yet; download" in str(info.value)
            assert str(given) in str(info.value)
    with fastzip.patch_numpy(), pytest.raises(FileNotFoundError):
        np.load(url)


def test_url_of_a_file(folder):
    os.rename("training.npz", "of training.npz")
    url = (folder / "of training.npz").as_uri()
    text = _refused(FileNotFoundError, fastzip.load, url)
    assert f"pass the path itself, {str(folder / 'of training.npz')!r}" in text


def test_a_path_like_a_url(folder):
    """What exists is opened, whatever it is called."""
    os.makedirs("s3:/bucket")
    os.rename("training.npz", "s3:/bucket/a.npz")
    assert fastzip.load("s3://bucket/a.npz").files == ["x"]


# ---- other objects ---------------------------------------------------------------------------


class Unopened:
    """As fsspec's OpenFile."""

    fs = None

    def open(self):
        raise AssertionError


class Response:
    """As an HTTP response: bytes come once, in order."""

    def __init__(self, data):
        self._file = io.BytesIO(data)

    def read(self, n=-1):
        return self._file.read(n)

    def seekable(self):
        return False

    def seek(self, *args):
        raise io.UnsupportedOperation("seek")


def test_what_no_file_is(path):
    with zipfile.ZipFile(path) as archive, np.load(path) as npz, open(path) as text:
        wrong = {
            "NoneType": None,
            "int; of a file descriptor, pass open(descriptor, 'rb')": 3,
            "list; archives are opened one by one": [str(path)],
            "tuple; archives are opened one by one": (path, path),
            "dict": {"a": 1},
            "float": 1.5,
            "ndarray; of an array that holds paths": np.array(str(path)),
            "ndarray; of an array that holds": np.array([path], object),
            "NpzFile; it is open already": npz,
            "it is open already: pass its path": archive,
            "TextIOWrapper; it is open in text mode: open it with mode 'rb'": text,
            "StringIO; it is open in text mode": io.StringIO("x"),
            "Unopened; it is not open yet: pass what its open() returns": Unopened(),
            "Path; it is not open yet: pass what its open('rb')": zipfile.Path(archive, "a.npy"),
        }
        for message, given in wrong.items():
            for call in (fastzip.load, fastzip.open_npz, fastzip.NpzFile, fastzip.ZipFile):
                assert message in _refused(TypeError, call, given), (message, call)
    assert "io.BytesIO(data)" in _refused(TypeError, fastzip.ZipFile, path.read_bytes())
    assert fastzip.load(np.str_(path)).files


@pytest.mark.filterwarnings("ignore:codecs.open:DeprecationWarning")  # from Python 3.14 on
def test_codecs_that_decode(path):
    """A reader of text that isn't an io.TextIOBase."""
    import codecs

    with codecs.open(str(path), encoding="latin-1") as file:
        assert "mode 'rb'" in _refused(TypeError, fastzip.load, file)


def test_what_cannot_seek(path):
    data = path.read_bytes()
    ends = os.pipe()
    os.close(ends[1])

    class Bare:
        def read(self, n=-1):
            raise AssertionError("not a byte is read")

    response = urllib.request.urlopen("data:application/zip;base64,UEsDBA==")
    with os.fdopen(ends[0], "rb") as pipe, response:
        for file in (Response(data), pipe, Bare()):
            for call in (fastzip.load, fastzip.open_npz, fastzip.NpzFile):
                with pytest.raises(
                    io.UnsupportedOperation, match=r"pass the bytes, file\.read\(\)"
                ) as info:
                    call(file)
                assert info.value.code == "not_seekable"
                assert type(file).__name__ in str(info.value)
        with pytest.raises(fastzip.BadZipFile) as info:  # as zipfile
            fastzip.ZipFile(pipe)
        assert "pass the bytes" in info.value.__notes__[0]
        with pytest.raises(io.UnsupportedOperation, match="can't seek"):
            fastzip.ZipFile(Bare())
    assert fastzip.load(Response(data).read())["a"].tolist() == [0, 1, 2, 3]
