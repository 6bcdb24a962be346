"""The command ``fastzip demo``: what it makes, what it measures, and how it fails."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastzip
from fastzip._cli import console as _console
from fastzip._cli import demo_data as _demo_data
from fastzip._cli import demo_steps as _demo
from fastzip._cli.command import main

Patch = pytest.MonkeyPatch
Output = pytest.CaptureFixture[str]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(autouse=True)
def growth(monkeypatch: Patch, tmp_path: Path) -> Any:
    """Spare all tests but one the child processes; hands out the real function."""
    monkeypatch.chdir(tmp_path)  # for contact sheets
    real = _demo._growth
    monkeypatch.setattr(
        _demo, "_growth", lambda loader, *_: {"numpy": 1 << 20, "fastzip": 1 << 17}[loader]
    )
    return real


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A person's archive of 40 equal members."""
    rng = np.random.default_rng(5)
    path = tmp_path / "own.npz"
    arrays: dict[str, Any] = {f"m{i}": rng.random((8, 6), np.float32) for i in range(40)}
    np.savez_compressed(path, **arrays)
    return path


def in_child(*arguments: str) -> subprocess.Popen[str]:
    """Start Python in a process that finds the modules where this one found them."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", *arguments],
        env=dict(os.environ, PYTHONPATH=path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Wrapped(contextlib.AbstractContextManager["Wrapped"]):
    """An NpzFile that a test may bend."""

    def __init__(self, npz: Any) -> None:
        self.npz = npz

    @classmethod
    def install(cls, monkeypatch: Patch) -> None:
        real = fastzip.open_npz
        monkeypatch.setattr(fastzip, "open_npz", lambda path: cls(real(path)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.npz, name)

    def __getitem__(self, name: str) -> Any:
        return self.npz[name]

    def __len__(self) -> int:
        return len(self.npz)

    def __exit__(self, *_: object) -> None:
        self.npz.close()


# What it makes


def test_made_archive_holds_bitmaps(tmp_path: Path) -> None:
    made = _demo_data.make(tmp_path, 60)
    assert not made.reused
    assert {path.name for path in tmp_path.iterdir()} == {"glyphs-60-labels.npz", "glyphs-60.npz"}
    with np.load(made.images) as images:
        assert images.files == [f"ix-{i:06d}" for i in range(60)]
        for name in images.files:
            image = images[name]
            assert image.dtype == np.uint8
            assert image.shape == (220, 400)
            assert set(np.unique(image)) == {0, 1}
        assert len({images[name].tobytes() for name in images.files}) == 60
    with zipfile.ZipFile(made.images) as archive:
        infos = archive.infolist()
    assert {info.compress_type for info in infos} == {zipfile.ZIP_DEFLATED}
    ratio = sum(info.file_size for info in infos) / sum(info.compress_size for info in infos)
    assert 24 < ratio < 38


def test_labels_name_the_fonts(tmp_path: Path) -> None:
    made = _demo_data.make(tmp_path, 60)
    fonts = _demo_data.load_fonts()
    names = _demo_data.read_labels(made.labels)
    assert len(names) == 60
    assert len(set(names)) > 5
    with np.load(made.labels) as arrays, np.load(made.images) as images:
        assert arrays["labels"].dtype == np.int64
        assert list(arrays["classes"]) == [font.name for font in fonts]
        # Set in the font that the label names, a member comes out; in another one, it doesn't.
        number = int(arrays["labels"][7])
        image = images["ix-000007"]
    assert np.array_equal(_demo_data.draw(7, [fonts[number]] * len(fonts)), image)
    assert not np.array_equal(_demo_data.draw(7, [fonts[number - 1]] * len(fonts)), image)


def test_fonts_without_letters_are_left_out() -> None:
    names = {font.name for font in _demo_data.load_fonts()}
    assert {"DejaVuSans", "STIXGeneral", "cmr10"} <= names
    assert not names & {
        "STIXSizOneSymReg",
        "STIXNonUni",
        "DejaVuSansDisplay",
        "cmex10",
        "LastResortHE-Regular",
    }


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    made = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        made.append(_demo_data.make(tmp_path / name, 5, seed=seed))
    a, b, c = (one.images.read_bytes() for one in made)
    assert a == b
    assert a != c
    assert made[0].labels.read_bytes() == made[1].labels.read_bytes()


def test_interrupted_making_leaves_nothing(tmp_path: Path) -> None:
    drawn: list[int] = []

    def tick() -> None:
        drawn.append(1)
        if len(drawn) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _demo_data.make(tmp_path, 20, tick=tick)
    assert list(tmp_path.iterdir()) == []


# What it measures


def test_demo(tmp_path: Path, capsys: Output) -> None:
    kept = tmp_path / "new" / "kept"
    command = ["demo", "--members", "60", "--batch", "16", "--dir", str(kept)]
    assert main(command) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"Made {kept / 'glyphs-60.npz'}" in said.out
    assert "glyphs-60.npz: 60 members of uint8 (220, 400)" in said.out
    assert "batches of 16\n" in said.out
    assert "All 60 samples, in 4 batches, are equal bit for bit." in said.out
    table = said.out.split("\n\n")[2].splitlines()
    assert len({len(line) for line in table}) == 1, "columns are aligned"
    assert table[0].split() == ["np.load", "fastzip", "ratio"]
    time = r"[\d.,]+ (s|ms|µs|ns)"
    whats = ["open", "memory per member", "one random member", "shuffled epoch"]
    cells = [time, r"[\d,]+ bytes", time, r"[\d.,]+ samples/s"]
    for line, what, cell in zip(table[1:], whats, cells, strict=True):
        assert re.fullmatch(rf"{what} +{cell} +{cell} +[\d.,]+x", line)
    assert table[2].endswith(" 8.0x")
    assert (kept / "fastzip-demo.png").read_bytes().startswith(PNG)

    # Again: from the same files, untouched; of another size: beside them.
    before = (kept / "glyphs-60.npz").stat()
    assert main(command) == 0
    assert f"Reusing {kept / 'glyphs-60.npz'}" in capsys.readouterr().out
    after = (kept / "glyphs-60.npz").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert main(["demo", "--members", "3", "--dir", str(kept)]) == 0
    assert "All 3 samples, in 1 batch, are" in capsys.readouterr().out
    assert (kept / "glyphs-60.npz").stat().st_ino == before.st_ino


def test_sheets_are_kept(own: Path, capsys: Output) -> None:
    """Without a name for it the sheet takes a free one; a file of a given name is replaced."""
    Path("fastzip-demo.png").write_bytes(b"mine")
    Path("fastzip-demo-2.png").symlink_to("nowhere")
    for free in ("fastzip-demo-3.png", "fastzip-demo-4.png"):
        assert main(["demo", str(own)]) == 0
        assert f"Contact sheet of 40 samples: {free}\n" in capsys.readouterr().out
        assert Path(free).read_bytes().startswith(PNG)
    assert Path("fastzip-demo.png").read_bytes() == b"mine"
    assert not Path("nowhere").exists()
    for end in ("\n", " (replaced)\n"):
        assert main(["demo", str(own), "--sheet", "s.png"]) == 0
        assert f"Contact sheet of 40 samples: s.png{end}" in capsys.readouterr().out


def test_long_work_is_told_of_in_pipes(own: Path, monkeypatch: Patch, capsys: Output) -> None:
    monkeypatch.setattr(_console, "PATIENCE", 0)
    assert main(["demo", str(own), "--batch", "16"]) == 0
    err = capsys.readouterr().err
    assert "one shuffled epoch: 16 of 40\n" in err
    assert "\r" not in err
    monkeypatch.setenv("TQDM_DISABLE", "1")
    assert main(["demo", str(own)]) == 0
    assert capsys.readouterr().err == ""


def test_processes_draw_what_one_draws(tmp_path: Path, monkeypatch: Patch) -> None:
    pictures = []
    for name, worth in (("one", 1000), ("two", 5)):
        monkeypatch.setattr(_demo_data, "_WORTH_A_PROCESS", worth)
        monkeypatch.setattr(fastzip, "get_num_threads", lambda: 2)
        (tmp_path / name).mkdir()
        pictures.append(_demo_data.make(tmp_path / name, 40).images.read_bytes())
    assert pictures[0] == pictures[1]


def test_ctrl_c_ends_the_processes(tmp_path: Path) -> None:
    code = (
        "import signal, sys, fastzip, fastzip._cli.command\n"
        "fastzip.get_num_threads = lambda: 2\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)  # '&' may have ignored it\n"
        "    sys.exit(fastzip._cli.command.main(sys.argv[1:]))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    kept = tmp_path / "kept"
    with in_child(str(script), "demo", "--dir", str(kept)) as child:
        assert child.stderr is not None
        while not any(part.stat().st_size for part in kept.glob(".*.part.npz")):
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        assert child.stderr.read() == ""
    assert child.returncode == 130
    assert list(kept.iterdir()) == []


def test_without_dir_only_the_sheet_stays(tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "here")
    assert main(["demo", "--members", "4"]) == 0
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path.name for path in Path().iterdir()] == ["fastzip-demo.png"]


def test_every_sample_is_read_once_shuffled(own: Path, monkeypatch: Patch) -> None:
    seen: list[int] = []
    threads = []

    class Spy(Wrapped):
        def fetch(self, keys: Any, out: Any = None, **options: Any) -> Any:
            seen.extend(int(key) for key in keys)
            threads.append(options["threads"])
            return self.npz.fetch(keys, out=out, **options)

    Spy.install(monkeypatch)
    assert main(["demo", str(own), "--batch", "16", "--threads", "2"]) == 0
    assert sorted(seen) == list(range(40))
    assert seen != sorted(seen)
    assert threads == [2, 2, 2]


def test_a_wrong_bit_is_found(own: Path, monkeypatch: Patch, capsys: Output) -> None:
    named = []

    class Bent(Wrapped):
        def fetch(self, keys: Any, out: Any = None, **options: Any) -> Any:
            got = self.npz.fetch(keys, out=out, **options)
            if len(keys) == 8:  # the last batch, the third
                got.view(np.uint8)[5, 7, -1] ^= 1
                named.append(self.npz.files[int(keys[5])])
            return got

    Bent.install(monkeypatch)
    assert main(["demo", str(own), "--batch", "16"]) == 1
    said = capsys.readouterr()
    assert said.err == f"fastzip: batch 2 differs from np.load in 1 member, first in {named[0]}\n"
    assert "equal" not in said.out
    assert not Path("fastzip-demo.png").exists()


def test_a_wrong_dtype_is_found(own: Path, monkeypatch: Patch, capsys: Output) -> None:
    class Wide(Wrapped):
        def fetch(self, keys: Any, out: Any = None, **options: Any) -> Any:
            return self.npz.fetch(keys, **options).astype(np.float64)

    Wide.install(monkeypatch)
    assert main(["demo", str(own)]) == 1
    assert "batch 0 is float64 (40, 8, 6), not float32" in capsys.readouterr().err


def test_a_wrong_member_is_found(own: Path, monkeypatch: Patch, capsys: Output) -> None:
    class Negated(Wrapped):
        def __getitem__(self, name: str) -> Any:
            return -self.npz[name]

    Negated.install(monkeypatch)
    assert main(["demo", str(own)]) == 1
    assert re.search(r"m\d+ read by fastzip differs", capsys.readouterr().err)


def test_bits_are_compared() -> None:
    nan = np.array([np.nan, 0.0])
    assert _demo._equal(nan, nan.copy())
    assert not _demo._equal(nan, np.array([np.nan, -0.0]))
    assert not _demo._equal(np.zeros((2, 3)), np.zeros((3, 2)))


def test_memory_is_measured_in_children(growth: Any, own: Path, tmp_path: Path) -> None:
    small, large = tmp_path / "small.npz", tmp_path / "large.npz"
    np.savez(small, a=np.zeros(1))
    with zipfile.ZipFile(large, "w") as archive:
        for i in range(20_000):
            archive.writestr(f"m{i}.npy", b"")
    # np.load keeps some 700 bytes a member.
    assert 200 < growth("numpy", small, large, "m7") / 20_000 < 4000
    assert 0 <= growth("fastzip", small, own, "m7") < 4 << 20
    with pytest.raises(_demo_data.DemoError, match=r"measures memory failed: AssertionError"):
        growth("numpy", small, own, "absent")


def test_less_than_a_page_is_told_as_such(monkeypatch: Patch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda _: 4096)
    grown = {"numpy": 4096 * 80, "fastzip": 0}
    monkeypatch.setattr(_demo, "_growth", lambda loader, *_: grown[loader])
    row = _demo._memory_row(Path("x"), "k", 100)
    assert (row.usual, row.ours, row.ratio) == ("3,277 bytes", "< 41 bytes", "> 80.0x")
    grown["numpy"] = 8192
    assert _demo._memory_row(Path("x"), "k", 1).ratio == "-"


def test_each_goes_first_in_turn() -> None:
    calls: list[str] = []
    for turn in range(2):
        _demo._in_turn(partial(calls.append, "a"), partial(calls.append, "b"), turn)
    assert calls == ["a", "b", "b", "a"]


# A person's own archive


def test_unequal_members_are_left_out(tmp_path: Path, capsys: Output) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "mixed.npz"
    arrays: dict[str, Any] = {f"a{i}": rng.random(3) for i in range(5)}
    arrays |= {f"b{i}": rng.random((9, 7)).astype(">f4") for i in range(12)}
    arrays["b3"] = np.asfortranarray(arrays["b3"])
    arrays |= {"objects": np.array([{}, None]), "text": np.array("some")}
    np.savez(path, **arrays)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "no array")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a3.npy", archive.read("a4.npy"))
    assert main(["demo", str(path), "--batch", "5", "--dir", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "mixed.npz: 12 members of >f4 (9, 7)" in said.out
    assert "All 12 samples, in 3 batches, are equal" in said.out
    left = next(line for line in said.out.splitlines() if line.startswith("Left out: "))
    assert "2 named twice" in left
    assert "2 not a plain array" in left
    assert "5 of another dtype or shape" in left
    assert (tmp_path / "out" / "fastzip-demo.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("sample", "drawn"),
    [
        (np.linspace(-1, 1, 30), True),
        (np.array([1.0, np.nan, np.inf] * 9).reshape(3, 3, 3), True),
        (np.zeros((3, 12, 9), np.float16), True),
        (np.zeros((12, 9, 4), np.uint8), True),
        (np.ones((2000, 3), bool), True),
        (np.float32(3.5), False),
        (np.zeros((5, 6, 7, 8), np.int8), False),
        (np.zeros((0, 7)), False),
        (np.array(["text", "more"]), False),
        (np.ones((4, 4), np.complex64), False),
    ],
    ids=lambda value: f"{value.dtype}{value.shape}" if hasattr(value, "dtype") else None,
)
def test_sheet_draws_what_can_be_drawn(
    sample: Any, drawn: bool, tmp_path: Path, capsys: Output
) -> None:
    # Titles are no mathematics, and may have letters that the font has not.
    np.savez_compressed(tmp_path / "x.npz", **{"$a": sample, "$\\no$": sample, "鍵" * 40: sample})
    sheet = tmp_path / "sheet.png"
    assert main(["demo", str(tmp_path / "x.npz"), "--sheet", str(sheet)]) == 0
    out = capsys.readouterr().out
    assert "All 3 samples" in out
    assert sheet.exists() == drawn
    assert (f"Contact sheet of 3 samples: {sheet}" in out) == drawn
    assert ("No contact sheet" in out) != drawn


def test_long_epochs_are_capped(own: Path, monkeypatch: Patch, capsys: Output) -> None:
    command = ["demo", str(own)]
    assert main([*command, "--limit", "10"]) == 0
    out = capsys.readouterr().out
    assert "cut to 10 of 40 samples" in out
    assert "All 10 samples, in 1 batch," in out

    size = 8 * 6 * 4
    monkeypatch.setattr(_demo, "OWN_BYTES", 30 * size)
    monkeypatch.setattr(_demo, "BATCH_BYTES", 7 * size)
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "cut to 30 of 40 samples" in out
    assert "Batches hold 7, not 64" in out
    assert "All 30 samples, in 5 batches," in out
    assert main([*command, "--limit", "40"]) == 0
    assert "All 40 samples" in capsys.readouterr().out


@pytest.fixture
def sheets(monkeypatch: Patch) -> list[Any]:
    """(pictures, titles) of each contact sheet."""
    seen: list[Any] = []
    real = _demo_data.write_sheet

    def write(path: Path, batch: Any, titles: list[str], heading: str) -> int:
        seen.append((batch, titles))
        return real(path, batch, titles, heading)

    monkeypatch.setattr(_demo_data, "write_sheet", write)
    return seen


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_of_large_arrays(save: Any, capsys: Output, sheets: list[Any]) -> None:
    """MNIST's layout: the digits are the samples, with their labels below."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (300, 28, 28), np.uint8), rng.integers(0, 10, 300)
    save("mnist.npz", y_train=y, x_train=x, x_test=x[:50], y_test=y[:50])
    assert main(["demo", "mnist.npz"]) == 0
    out = capsys.readouterr().out
    assert "mnist.npz: 300 rows of x_train, uint8 (28, 28), " in out
    assert "Left out: 3 of another dtype or shape." in out
    assert re.search(r"^all of x_train +[\d.,]+ .?s", out, re.MULTILINE)
    assert "memory per member" not in out
    assert "All 300 samples, in 5 batches, are equal bit for bit." in out
    assert "Contact sheet of 64 samples: fastzip-demo.png" in out
    ((pictures, titles),) = sheets
    places = [int(np.flatnonzero((x == picture).all((1, 2)))[0]) for picture in pictures]
    assert titles == [str(y[place]) for place in places]
    assert len(set(places)) == 64


def test_rows_without_labels(capsys: Output, sheets: list[Any], monkeypatch: Patch) -> None:
    np.savez("one.npz", x=np.arange(300.0).reshape(100, 3).astype(">f4"))
    assert main(["demo", "one.npz", "--limit", "10"]) == 0
    assert "one.npz: 100 rows of x, >f4 (3,), " in capsys.readouterr().out
    ((pictures, titles),) = sheets
    assert titles == [f"x[{int(row[0]) // 3}]" for row in pictures]
    monkeypatch.setattr("fastzip._cli.demo_samples.ROWS_BYTES", 1199)
    assert main(["demo", "one.npz"]) == 1
    assert "x has 1.2 KiB; arrays of up to 1.2 KiB are compared" in capsys.readouterr().err


def test_a_wrong_row_is_found(monkeypatch: Patch, capsys: Output) -> None:
    np.savez("one.npz", x=np.arange(300.0).reshape(100, 3))
    real = fastzip.Loader

    def bent(source: Any, **options: Any) -> Any:
        return (batch + (len(batch) == 36) for batch in real(source, **options))

    monkeypatch.setattr(fastzip, "Loader", bent)
    assert main(["demo", "one.npz"]) == 1
    assert "batch 1 differs from np.load in 36 members, first in x[" in capsys.readouterr().err


def pictures_of(n: int) -> dict[str, bytes]:
    image = pytest.importorskip("PIL.Image")
    members = {}
    for i in range(n):
        file, kind = io.BytesIO(), "JPEG" if i % 2 else "PNG"
        image.new("RGB", (40 + i, 30), (i, 0, 0)).save(file, kind)
        members[f"cat/{i}.{kind.lower()}"] = file.getvalue()
    return members


def test_encoded_images(capsys: Output, sheets: list[Any]) -> None:
    """Bytes are compared, and what Pillow reads is drawn, each picture above its own name."""
    members = pictures_of(20)
    with zipfile.ZipFile("images.zip", "w") as archive:
        archive.writestr("cat/", "")
        for name, data in members.items():
            archive.writestr(name, data)
        archive.writestr("labels.json", "{}")
        archive.writestr("odd.npy", "no array")
    assert main(["demo", "images.zip", "--batch", "8", "--threads", "2"]) == 0
    out = capsys.readouterr().out
    assert "images.zip: 22 members of bytes, not arrays, " in out
    assert re.search(r"^ +zipfile +fastzip +ratio$", out, re.MULTILINE)
    assert "All 22 samples, in 3 batches, are equal bit for bit." in out
    ((pictures, titles),) = sheets
    assert [members.get(title) for title in titles] == [
        data if data in members.values() else None for data in pictures
    ]
    drawn = sum(title in members for title in titles)
    assert f"Contact sheet of {drawn} samples: fastzip-demo.png" in out


def test_a_picture_that_claims_to_be_huge(monkeypatch: Patch, capsys: Output) -> None:
    """Pillow refuses it, or warns: neither ends the demo, nor shows."""
    image = pytest.importorskip("PIL.Image")
    with zipfile.ZipFile("images.zip", "w") as archive:
        for name, data in pictures_of(3).items():
            archive.writestr(name, data)
    for most, drawn in ((1000, "3 samples"), (500, None)):  # of 1,200 to 1,260 pixels
        monkeypatch.setattr(image, "MAX_IMAGE_PIXELS", most)
        assert main(["demo", "images.zip"]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert (f"Contact sheet of {drawn}" if drawn else "No contact sheet") in said.out


def test_texts_have_no_sheet(capsys: Output) -> None:
    with zipfile.ZipFile("texts.zip", "w") as archive:
        archive.writestr("readme.txt", "no array")
    assert main(["demo", "texts.zip"]) == 0
    out = capsys.readouterr().out
    assert "texts.zip: 1 member of bytes, not arrays, " in out
    assert "No contact sheet: nothing to draw in 1 member of bytes, not arrays." in out
    assert not Path("fastzip-demo.png").exists()


def test_wrong_bytes_are_found(monkeypatch: Patch, capsys: Output) -> None:
    with zipfile.ZipFile("texts.zip", "w") as archive:
        for i in range(9):
            archive.writestr(f"{i}.txt", f"{i}" * 9)
    real = fastzip.ZipFile.read_many
    monkeypatch.setattr(
        fastzip.ZipFile, "read_many", lambda *args, **options: real(*args, **options)[::-1]
    )
    assert main(["demo", "texts.zip"]) == 1
    assert "batch 0 differs from zipfile in 8 members, first in " in capsys.readouterr().err


def test_without_pillow(monkeypatch: Patch, capsys: Output) -> None:
    with zipfile.ZipFile("images.zip", "w") as archive:
        for name, data in pictures_of(3).items():
            archive.writestr(name, data)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert main(["demo", "images.zip"]) == 0
    assert "No contact sheet: pictures are decoded by Pillow (pip install pillow)." in (
        capsys.readouterr().out
    )


# How it fails


def test_foreign_file_is_not_overwritten(tmp_path: Path, capsys: Output) -> None:
    theirs = tmp_path / "glyphs-6.npz"
    np.savez(theirs, a=np.zeros(3))
    np.savez(tmp_path / "glyphs-6-labels.npz", labels=np.zeros(6, int), classes=np.array(["a"]))
    before = theirs.read_bytes()
    command = ["demo", "--members", "6", "--dir", str(tmp_path)]
    assert main(command) == 1
    assert "does not hold the demo's 6 members" in capsys.readouterr().err
    theirs.write_bytes(b"not a zip")
    assert main(command) == 1
    assert "can't be reused" in capsys.readouterr().err
    assert theirs.read_bytes() == b"not a zip"
    theirs.write_bytes(before)
    (tmp_path / "glyphs-6-labels.npz").unlink()
    assert main(command) == 1
    assert theirs.read_bytes() == before


@pytest.mark.parametrize("module", ["matplotlib", "tqdm"])
def test_missing_extra(module: str, tmp_path: Path, monkeypatch: Patch, capsys: Output) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["demo", "--dir", str(tmp_path / "new")]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert "pip install 'matplotlib>=3.8' tqdm" in said.err
    assert module in said.err
    assert not (tmp_path / "new").exists()


def test_extra_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, fastzip._cli.command; print({'matplotlib', 'tqdm'} & set(sys.modules))"
    with in_child("-c", code) as child:
        assert child.communicate() == ("set()\n", "")


def bad_files() -> dict[str, bytes | None]:
    """Contents of files that are no archives of arrays, by what is wrong with them."""
    one, whole, pickles = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(one, np.zeros(3))
    np.savez(whole, a=np.arange(1000))
    np.savez(pickles, o=np.array([{}, None]))
    data = whole.getvalue()
    corrupt = data[:4000] + bytes([data[4000] ^ 1]) + data[4001:]
    return {
        "missing": None,
        "empty": b"",
        "text": b"this is no archive\n" * 50,
        "single array": one.getvalue(),
        "no plain arrays": pickles.getvalue(),
        "truncated": data[:-30],
        "corrupt": corrupt,
    }


@pytest.mark.parametrize("kind", list(bad_files()))
def test_bad_archive_is_one_line(kind: str, tmp_path: Path, capsys: Output) -> None:
    path = tmp_path / "bad.npz"
    content = bad_files()[kind]
    if content is not None:
        path.write_bytes(content)
    assert main(["demo", str(path)]) == 1
    said = capsys.readouterr()
    assert re.fullmatch(r"fastzip: .{5,}\n", said.err)
    assert not Path("fastzip-demo.png").exists()


def test_sheet_without_a_directory_fails_at_once(own: Path, tmp_path: Path, capsys: Output) -> None:
    assert main(["demo", str(own), "--sheet", str(tmp_path / "no" / "s.png")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"fastzip: {tmp_path / 'no'}: no such directory for the contact sheet\n"


@pytest.mark.parametrize(
    "arguments",
    ["nosuch", "demo --members 0", "demo --batch many", "demo own.npz --members 5"],
)
def test_bad_usage_is_status_2(arguments: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("usage: fastzip")


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyboardInterrupt(), 130, ""),
        (ValueError("one\ntwo"), 1, "fastzip: one two\n"),
        (OSError(28, "No space left on device", "x.npz"), 1, "fastzip: x.npz: No space left"),
        (MemoryError(), 1, "fastzip: out of memory\n"),
    ],
)
def test_errors_become_a_line_and_a_status(
    error: BaseException, status: int, told: str, monkeypatch: Patch, capsys: Output
) -> None:
    def fail(options: Any) -> None:
        raise error

    monkeypatch.setattr(_demo, "run", fail)
    assert main(["demo"]) == status
    said = capsys.readouterr().err
    assert said.startswith(told)
    assert said.count("\n") == (status == 1)


def test_closed_pipe_is_silent(own: Path) -> None:
    with in_child("-m", "fastzip", "demo", str(own)) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 141


def test_module_and_version() -> None:
    with in_child("-m", "fastzip", "--version") as child:
        out, err = child.communicate()
    assert child.returncode == 0
    assert re.fullmatch(r"fastzip \S.*\n", out)
    assert err == ""
    with in_child("-m", "fastzip", "demo", "nosuch.npz") as child:
        out, err = child.communicate()
    assert (child.returncode, out) == (1, "")
    assert err == "fastzip: nosuch.npz: No such file or directory [ENOENT]\n"
