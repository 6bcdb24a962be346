"""The commands of this folder: they find what differs, and nothing where nothing does."""

import importlib.util
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastzip

HERE = Path(__file__).parent

JUDGE = """
import argparse, importlib, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("command", choices=["judge"])
parser.add_argument("folder")
for name in ("--reader", "--json", "--timeout", "--mem", "--rss"):
    parser.add_argument(name, required=True)
parser.add_argument("--npy", action="store_true")
options = parser.parse_args()
module, _, function = options.reader.partition(":")
read = getattr(importlib.import_module(module), function)
failures = []
for case in json.loads(pathlib.Path(options.folder, "manifest.json").read_text())["cases"]:
    try:
        found = read(options.folder + case["file"])
        bad = any(isinstance(data, Exception) for _, data, *_ in found)
    except Exception:
        bad = True
    verdict = "ok" if bad == (case["expect"] == "error") else "rejects" if bad else "ACCEPTS"
    print("category", verdict, case["level"], 1)
    if verdict != "ok" and case["level"] == "must":
        failures.append({"file": case["file"], "verdict": verdict, "note": ""})
    elif verdict != "ok":
        print("policy", case["file"], verdict, "a note")
pathlib.Path(options.json).write_text(json.dumps(failures))
"""


def module(name):
    """A script of this folder, imported."""
    spec = importlib.util.spec_from_file_location(f"compare_{name}", HERE / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def real():
    return module("real_archives")


@pytest.fixture
def readers():
    return module("readers")


@pytest.fixture
def folder(tmp_path, lab):
    """A file of most kinds; the picture is none."""
    made = tmp_path / "archives"
    made.mkdir()
    np.savez(made / "a.npz", x=np.arange(6).reshape(2, 3), o=np.array([{}], dtype=object))
    np.save(made / "b.npy", np.arange(4))
    with zipfile.ZipFile(made / "c.whl", "w") as archive:
        archive.writestr("deflated", b"one " * 999, zipfile.ZIP_DEFLATED)
        archive.writestr("bzip2", b"two " * 999, zipfile.ZIP_BZIP2)
        archive.writestr("stored", b"three")
    odd = [lab.Member(b"secret", bytes(range(99)), flags=1), lab.Member(b"ppmd", b"seven", 98)]
    (made / "d.zip").write_bytes(lab.Archive(odd).build())
    zipped = (made / "c.whl").read_bytes()
    (made / "prefixed").write_bytes(b"#!/bin/sh\n" + zipped)
    (made / "cut.zip").write_bytes(zipped[:-1])
    end = b"PK\5\6" + bytes(4) + b"\1" + bytes(13)  # zipfile takes it for an empty archive
    (made / "program").write_bytes(b"constants: " + end)
    (made / "picture.png").write_bytes(b"\x89PNG" + bytes(99))
    return made


def run(real, folder, capsys, *arguments):
    status = real.main([str(folder), "--jobs", "1", "--json", f"{folder}.json", *arguments])
    results = {Path(r["path"]).name: r for r in json.loads(Path(f"{folder}.json").read_text())}
    return status, results, capsys.readouterr().out


def test_real_archives_are_the_same(real, folder, capsys):
    status, results, out = run(real, folder, capsys)
    assert status == 0
    assert out.endswith("0 differ\n")
    verdicts = {name: (r["kind"], r["verdict"]) for name, r in results.items()}
    assert verdicts == {
        "a.npz": ("npz", "same"),
        "b.npy": ("npy", "same"),
        "c.whl": ("wheel", "same"),
        "cut.zip": ("zip", "refused by both"),
        "d.zip": ("zip", "same"),
        "prefixed": ("other, by content", "same"),
        "program": ("other, by content", "no archive"),
    }
    assert results["a.npz"]["arrays"] == 2
    assert results["c.whl"]["refused"] == {}
    assert results["d.zip"]["refused"] == {"password": 1, "method": 1}
    assert results["c.whl"]["nbytes"] == 4 * 999 + 4 * 999 + 5


def test_false_refusals_of_whole_archives_are_found(real, folder, capsys, monkeypatch):
    def refuse(*arguments, **options):
        raise real.fastzip.BadZipFile("no")

    monkeypatch.setattr(real.fastzip.BadZipFile, "code", "multi_disk")
    monkeypatch.setattr(real, "ArrayReader", refuse)
    status, results, _ = run(real, folder, capsys)
    assert status == 1
    assert results["c.whl"]["notes"] == ["zipfile opens it, fastzip: no"]
    assert results["prefixed"]["verdict"] == "differs"
    assert results["program"]["verdict"] == "no archive"


def test_what_strict_would_refuse(real, folder, capsys):
    _, results, out = run(real, folder, capsys, "--strict")
    assert {name: r["strict"] for name, r in results.items() if r["strict"]} == {
        "prefixed": {"prefix": -1}
    }
    assert "| prefix 1 |" in out


def test_other_bytes_are_found(real, folder, capsys, monkeypatch):
    monkeypatch.setattr(real, "read_view", lambda reader, position: memoryview(b"three!"))
    status, results, out = run(real, folder, capsys)
    assert status == 1
    assert results["c.whl"]["verdict"] == "differs"
    assert "other bytes" in out
    assert "where the refusal 'password' was expected" in out


def test_false_refusals_are_found(real, folder, capsys, monkeypatch):
    refusal = fastzip.BadZipFile("no")
    monkeypatch.setattr(real, "read_view", lambda reader, position: refusal)
    status, results, _ = run(real, folder, capsys)
    assert status == 1
    assert any("zipfile reads it, fastzip: no" in note for note in results["c.whl"]["notes"])


def test_other_arrays_are_found(real):
    array = np.arange(6, dtype="i4")
    assert real.same_array(array, array.copy())
    for other in (
        array.view("u4"),
        array.reshape(2, 3),
        array + 1,
        array.tobytes(),
        ValueError("no"),
    ):
        assert not real.same_array(array, other)
        assert not real.same_array(other, array)
    square = array[:4].reshape(2, 2)
    assert not real.same_array(square, np.asfortranarray(square))


def test_a_refusal_without_a_code_is_found(real, folder, capsys, monkeypatch):
    def broken(*arguments, **options):
        raise AttributeError("a bug")

    monkeypatch.setattr(real, "ArrayReader", broken)
    status, results, _ = run(real, folder, capsys)
    assert status == 1
    assert results["c.whl"]["notes"] == ["AttributeError: a bug"]


@pytest.mark.parametrize(
    "reader", ["fastzip_members", "fastzip_members_8_threads", "zipfile_members"]
)
def test_member_readers_agree(readers, lab, save, reader):
    members = [lab.Member(b"a", b"x" * 999), lab.Member(b"b", b"yz", crc=1), lab.Member(b"c", b"")]
    found = list(getattr(readers, reader)(str(save(lab.Archive(members).build()))))
    assert [(name, size) for name, _, size in found] == [("a", 999), ("b", 2), ("c", 0)]
    assert (bytes(found[0][1]), bytes(found[2][1])) == (b"x" * 999, b"")
    assert isinstance(found[1][1], zipfile.BadZipFile)
    with pytest.raises(zipfile.BadZipFile):
        list(getattr(readers, reader)(str(save(b"no archive at all, but long enough for one"))))


@pytest.mark.parametrize("reader", ["fastzip_arrays", "fastzip_arrays_8_threads", "numpy_arrays"])
def test_array_readers_agree(readers, lab, save, reader):
    members = [
        lab.Member(b"x.npy", lab.npy(np.arange(3))),
        lab.Member(b"t.txt", b"text"),
        lab.Member(b"o.npy", lab.npy(np.array([{}], dtype=object))),
    ]
    found = dict(getattr(readers, reader)(str(save(lab.Archive(members).build()))))
    assert found["x"].tolist() == [0, 1, 2]
    assert (found["t.txt"].dtype.str, found["t.txt"].tobytes()) == ("bytes", b"text")
    assert isinstance(found["o"], ValueError)
    assert dict(getattr(readers, reader)(str(save(lab.npy(np.ones(2))))))[""].tolist() == [1, 1]


def test_threads_that_disagree_are_found(readers, path, monkeypatch):
    outcomes = iter(range(999))
    monkeypatch.setattr(readers, "_outcome", lambda item: next(outcomes))
    with pytest.raises(readers.DisagreeError):
        list(readers.fastzip_members_8_threads(str(path)))


def test_the_table(folder, tmp_path, capsys):
    corpus = module("corpus")
    (tmp_path / "judge.py").write_text(JUDGE)
    cases = [
        {"file": "/a.npz", "expect": "ok", "level": "must"},
        {"file": "/cut.zip", "expect": "error", "level": "must"},
        {"file": "/d.zip", "expect": "ok", "level": "policy"},  # ppmd isn't read
    ]
    (folder / "manifest.json").write_text(json.dumps({"cases": cases}))
    arguments = [str(folder), "--judge", str(tmp_path / "judge.py"), "--only", "fastzip, zlib-ng"]
    assert corpus.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| reader | cases | broken | other choices |"
    assert lines[2:] == [
        "| fastzip, zlib-ng | 3 | 0 | 1 |",
        "| fastzip, zlib-ng, 8 threads | 3 | 0 | 1 |",
    ]
    cases[2]["level"] = "must"
    (folder / "manifest.json").write_text(json.dumps({"cases": cases}))
    assert corpus.main(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| reader | cases | broken | refused, must be read | other choices |"
    assert lines[2] == "| fastzip, zlib-ng | 3 | 1 | 1 | 0 |"
