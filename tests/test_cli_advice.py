"""What ``fastzip info`` advises: each archive is made, and what the advice says is done.

What the advice says can't be done is tried as well: the day it can, the sentence has to change."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastzip
from fastzip import Loader, Padded, ZipFile, load
from fastzip._cli.command import main

RNG = np.random.default_rng(0)
MNIST = {
    "x_train": RNG.integers(0, 255, (200, 7, 7), np.uint8),
    "y_train": RNG.integers(0, 9, 200),
    "x_test": RNG.integers(0, 255, (50, 7, 7), np.uint8),
    "y_test": RNG.integers(0, 9, 50),
}
LENGTHS = {f"t{i}": np.arange(i + 1) for i in range(20)}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def advice(capsys: Any) -> Any:
    """advice(path) -> {code: sentence}"""

    def said(path: str) -> dict[str, str]:
        capsys.readouterr()
        assert main(["info", "--json", path]) == 0
        return {one["code"]: one["text"] for one in json.loads(capsys.readouterr().out)["advice"]}

    return said


def bad_members(path: str, capsys: Any) -> list[str]:
    capsys.readouterr()
    assert main(["test", path]) == 1
    return [line.split(": ")[1] for line in capsys.readouterr().out.splitlines()[:-1]]


def make(path: str, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows(save: Any, advice: Any, capsys: Any) -> None:
    """MNIST's layout: what the advice says, word by word, reads the training set."""
    save("mnist.npz", **MNIST)
    said = advice("mnist.npz")
    assert set(said) == {"rows", "good"}
    (expression,) = re.findall(r"Loader\(.*?=True\)", said["rows"])
    assert main(["info", "mnist.npz"]) == 0
    assert "x_train: uint8 (200,7,7), 200 rows\n" in capsys.readouterr().out

    mapped = load("mnist.npz", mmap_mode="r")
    if "stored (np.savez), load(" in said["rows"]:
        assert save is np.savez_compressed
        with pytest.raises(ValueError, match="can't be mapped"):
            mapped["x_train"]
        np.savez("stored.npz", **MNIST)
        assert "stored" not in advice("stored.npz")["rows"]
        mapped = load("stored.npz", mmap_mode="r")
    assert isinstance(mapped["x_train"], np.memmap)
    expected = zip(MNIST["x_train"], MNIST["y_train"], strict=True)
    samples = sorted((x.tobytes(), int(y)) for x, y in expected)
    for npz in (load("mnist.npz"), mapped):
        loader = eval(expression, {"Loader": Loader, "npz": npz})
        seen = [(x[k].tobytes(), int(y[k])) for x, y in loader for k in range(len(x))]
        assert sorted(seen) == samples
        assert seen != samples


def test_rows_are_not_read_from_the_archive() -> None:
    np.savez("mnist.npz", **MNIST)
    npz = load("mnist.npz")
    assert npz.fetch(["x_train"]).shape == (1, 200, 7, 7)
    with pytest.raises((TypeError, ValueError)):
        list(Loader(npz, batch_size=4))


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"x": np.zeros((50, 3))}, "rows"),
        ({"x": np.zeros(50)}, "rows"),
        ({"x": np.zeros((50, 3)), "y": np.zeros(50)}, "rows"),
        ({"x": np.zeros((50, 3)), "mask": np.zeros((50, 3)), "y": np.zeros(50)}, "rows"),
        ({"train": np.zeros((50, 3)), "test": np.zeros((40, 3))}, "rows"),
        ({f"{i}": np.zeros((50, 3)) for i in range(3)}, "alike"),
        ({f"{i}": np.zeros(50) for i in range(40)}, "alike"),
        ({f"{i}": np.zeros(50 + i) for i in range(3)}, "lengths"),
        ({f"{i}": np.zeros((50 + i, 3)) for i in range(9)}, "lengths"),
        (LENGTHS, "lengths"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(3)}, "unlike"),
        ({f"{i}.{k}": np.zeros(50 * k) for i in range(8) for k in (1, 2)}, "lengths"),
        ({f"{i}.{k}": np.zeros((50, 3)[:k]) for i in range(8) for k in (1, 2)}, "unlike"),
        ({f"{i}": np.zeros((50, i)) for i in range(20)}, "unlike"),
        ({"0": np.array(1), "1": np.array(2)}, "alike"),
    ],
    ids=str,
)
def test_layouts(arrays: dict[str, Any], code: str, advice: Any) -> None:
    np.savez("x.npz", **arrays)
    told = set(advice("x.npz")) & {"rows", "alike", "lengths", "unlike"}
    assert told == {code}


def test_alike(advice: Any) -> None:
    np.savez_compressed("x.npz", **{f"k{i}": np.full((3, 2), i) for i in range(20)})
    assert set(advice("x.npz")) == {"alike", "good"}
    npz = load("x.npz")
    assert npz.fetch([3, 1])[:, 0, 0].tolist() == [3, 1]
    assert [len(batch) for batch in Loader(npz, batch_size=8)] == [8, 8, 4]


def test_folders(advice: Any) -> None:
    make("x.zip", {"a/": b""} | {f"a/{i}.npy": npy(np.full(9, i)) for i in range(1100)})
    said = advice("x.zip")
    assert set(said) == {"alike", "tiny"}
    assert said["alike"].endswith("where folders are no keys")
    assert said["tiny"].endswith("by NpzFile.fetch")
    npz = load("x.zip")
    keys = [key for key in npz.files if not key.endswith("/")]
    assert len(list(Loader((npz, keys), batch_size=100))) == 11
    assert len(npz.fetch(keys)) == 1100


def test_lengths(advice: Any) -> None:
    np.savez_compressed("x.npz", **LENGTHS)
    said = advice("x.npz")
    assert {"lengths"} <= set(said) <= {"lengths", "good", "incompressible"}
    npz = load("x.npz")
    assert npz.fetch_padded([3, 1])[1].tolist() == [4, 2]
    assert npz.fetch_ragged([3, 1])[1].tolist() == [0, 4, 6]
    assert len(list(Loader(Padded(npz), batch_size=8))) == 3
    with pytest.raises(ValueError, match="alike"):
        npz.fetch([3, 1])


def test_unlike(advice: Any) -> None:
    """Keys of one kind, and members that make a sample together."""
    arrays = {f"{i}.x": np.full((3, 2), i) for i in range(20)}
    arrays |= {f"{i}.y": np.array(i) for i in range(20)}
    np.savez("x.npz", **arrays)
    assert set(advice("x.npz")) == {"unlike"}
    npz = load("x.npz")
    kind = npz.spec("3.x")
    keys = [key for key in npz.files if npz.spec(key) == kind]
    assert npz.fetch(keys).shape == (20, 3, 2)
    with pytest.raises(ValueError, match="alike"):
        npz.fetch(["3.x", "3.y"])
    samples = fastzip.group(npz, "{sample}.{field}")
    batch = samples.fetch(samples.samples[:4])
    assert batch["x"][:, 0, 0].tolist() == batch["y"].tolist()


def test_tiny(advice: Any) -> None:
    np.savez_compressed("alike.npz", **{f"k{i}": np.full(60, i) for i in range(1000)})
    said = advice("alike.npz")
    assert set(said) == {"alike", "tiny"}
    assert "one array" not in said["tiny"]
    npz = load("alike.npz")
    whole = npz.fetch(slice(None))
    assert whole[:, 0].tolist() == list(range(1000))
    loader = Loader(whole, batch_size=100, shuffle=True)
    assert (
        np.sort(np.concatenate([batch[:, 0] for batch in loader])).tolist() == whole[:, 0].tolist()
    )

    np.savez("lengths.npz", **{f"k{i}": np.arange(i % 7) for i in range(1000)})
    assert "NpzFile.fetch_ragged" in advice("lengths.npz")["tiny"]
    assert load("lengths.npz").fetch_ragged(slice(None))[1][-1] == sum(i % 7 for i in range(1000))

    make("texts.zip", {f"{i}": b"%d" % i for i in range(1000)})
    assert "ZipFile.read_many" in advice("texts.zip")["tiny"]
    archive = ZipFile("texts.zip")
    assert list(map(bytes, archive.read_many(archive.namelist()))) == [
        b"%d" % i for i in range(1000)
    ]


def test_pictures(advice: Any) -> None:
    """A zip of encoded images has bytes to read, and no batches of arrays."""
    image = pytest.importorskip("PIL.Image")
    members = {}
    for i in range(20):
        file = io.BytesIO()
        image.fromarray(RNG.integers(0, 255, (9, 8, 3), np.uint8)).save(file, "PNG")
        members[f"cat/{i}.PNG"] = file.getvalue()
    make("x.zip", members | {"labels.json": b"{}" * 99}, zipfile.ZIP_STORED)
    said = advice("x.zip")
    assert set(said) == {"others"}
    assert said["others"].startswith("21 members are no arrays (20 .png, 1 .json), ")
    assert "Pillow" in said["others"]
    views = ZipFile("x.zip").read_many(list(members))
    assert {image.open(io.BytesIO(view)).size for view in views} == {(8, 9)}
    with pytest.raises(ValueError, match="not an array"):
        load("x.zip").fetch([0, 1])
    with pytest.raises((TypeError, ValueError)):
        next(iter(Loader(load("x.zip"), batch_size=2)))

    make("y.zip", {"a": npy(np.arange(9)), "readme": b"text" * 99})
    said = advice("y.zip")
    assert said["others"].startswith("1 member is no array (1 others), ")
    assert "Pillow" not in said["others"]
    assert not {"good", "alike"} & set(said)


def test_large(advice: Any) -> None:
    x = np.zeros((65 << 10, 1 << 10), np.uint8)
    np.savez_compressed("x.npz", x=x)
    assert set(advice("x.npz")) == {"rows", "large"}
    with pytest.raises(ValueError, match="can't be mapped"):
        load("x.npz", mmap_mode="r")["x"]
    np.savez("x.npz", x=x)
    assert set(advice("x.npz")) == {"rows", "good"}
    assert load("x.npz", mmap_mode="r")["x"][7000:7003].shape == (3, 1 << 10)


@pytest.mark.parametrize("array", [True, False])
def test_incompressible(array: bool, advice: Any) -> None:
    noise = RNG.integers(0, 255, (40, 500), np.uint8)
    how = "np.savez" if array else "ZIP_STORED"
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        make("x.zip", {"x.npy": npy(noise) if array else noise.tobytes()}, method)
        said = advice("x.zip")
        assert ("incompressible" in said) == (method == zipfile.ZIP_DEFLATED)
        assert f"stored ({how})" in said.get("incompressible", f"stored ({how})")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_slow_method(method: int, advice: Any) -> None:
    members = {"x.npy": npy(np.zeros((40, 50)))}
    make("x.npz", members, method)
    assert "slow_method" in advice("x.npz")
    assert load("x.npz")["x"].shape == (40, 50)
    make("x.npz", members)
    assert "slow_method" not in advice("x.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_nested(method: int, advice: Any) -> None:
    file = io.BytesIO()
    np.savez(file, x=np.arange(500))
    make("x.zip", {"part.npz": file.getvalue()}, method)
    assert "nested" in advice("x.zip")
    assert load("x.zip").nested("part.npz")["x"].tolist() == list(range(500))


def test_objects(advice: Any) -> None:
    np.savez("x.npz", o=np.array([1, "x"], object))
    assert set(advice("x.npz")) == {"objects"}
    assert load("x.npz", allow_pickle=True)["o"].tolist() == [1, "x"]
    with pytest.raises(ValueError, match="pickle"):
        load("x.npz")["o"]
    with pytest.raises(ValueError, match="object"):
        load("x.npz", allow_pickle=True).fetch(["o"])


def test_converted(advice: Any) -> None:
    arrays = {"f": np.asfortranarray(np.ones((3, 4))), "b": np.ones((3, 4), ">f8")}
    np.savez("x.npz", **arrays)
    assert advice("x.npz")["converted"].startswith("2 arrays ")
    for key in arrays:
        batch = load("x.npz").fetch([key])
        assert batch.dtype.isnative
        assert batch.flags.c_contiguous
    np.savez("x.npz", **{key: np.ascontiguousarray(a, float) for key, a in arrays.items()})
    assert set(advice("x.npz")) == {"alike", "good"}

    rows = {"f": np.asfortranarray(np.ones((40, 3, 4))), "b": np.ones((40, 3), ">f8")}
    np.savez("x.npz", **rows)
    assert advice("x.npz")["converted"].endswith("batches of their rows stay so")
    npz = load("x.npz")
    x, y = next(iter(Loader(npz["f"], npz["b"], batch_size=8)))
    assert (x.flags.c_contiguous, y.dtype.isnative) == (False, False)


def test_encrypted(advice: Any, faultlab: Any) -> None:
    if faultlab.SANITIZED:
        pytest.skip("pycryptodomex opens its libraries with RTLD_DEEPBIND, which ASan forbids")
    pyzipper = pytest.importorskip("pyzipper")
    with pyzipper.AESZipFile("x.npz", "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"sesame")
        archive.writestr("x.npy", npy(np.arange(5)))
    assert "encrypted" in advice("x.npz")
    assert load("x.npz", pwd=b"sesame")["x"].tolist() == list(range(5))
    with pytest.raises(fastzip.PasswordError):
        load("x.npz")["x"]


def test_duplicates(lab: Any, advice: Any) -> None:
    members = [lab.Member(b"x.npy", npy(np.array(i))) for i in range(2)]
    Path("x.npz").write_bytes(lab.Archive(members).build())
    assert advice("x.npz")["duplicates"].startswith("1 member ")
    assert load("x.npz")["x"] == 1
    assert load("x.npz").fetch([0, 1]).tolist() == [0, 1]


def test_unreadable_and_damaged(lab: Any, advice: Any, capsys: Any) -> None:
    good, method = lab.Member(b"good", b"1"), lab.Member(b"ppmd", b"1", method=98, body=b"1")
    magic = lab.Member(b"magic", b"1" * 60, local={"magic": b"PK\3\5"})
    Path("x.zip").write_bytes(lab.Archive([good, method, magic]).build())
    assert {"unreadable", "damaged"} <= set(advice("x.zip"))
    assert bad_members("x.zip", capsys) == ["ppmd", "magic"]
