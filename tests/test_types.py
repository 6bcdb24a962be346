"""What type checkers know of programs that use fastzip: mypy and pyright, on the same programs.

`assert_type` fails where a checker infers another type. A line that ends with ``# error`` must be
refused, and no other line may be.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import fastzip
from fastzip._train import loader

ROOT = Path(fastzip.__file__).resolve().parents[1]
HEAD = """\
from collections.abc import Callable, Iterator
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

import fastzip

Array = npt.NDArray[Any]
Lengths = npt.NDArray[np.int64]
Bytes = np.ndarray[tuple[int, int], np.dtype[np.uint8]]
npz = fastzip.open_npz("training.npz")
labels = np.arange(5)
"""

PROGRAMS = {
    "open": """
        assert_type(fastzip.open_npz("x.npz"), fastzip.NpzFile)
        assert_type(fastzip.open_npz(b"PK", strict=True, max_buffered=None), fastzip.NpzFile)
        with fastzip.open_npz("x.npz", mmap_mode="r") as opened:
            assert_type(opened, fastzip.NpzFile)
        fastzip.open_npz("x.npz", mmap_mode="w+")  # error
        fastzip.open_npz("x.npz", maxbuffered=3)  # error
        fastzip.open_npz()  # error
        npz.fetsh([0])  # error
        assert_type(npz.nested("inner.npz"), fastzip.NpzFile)
        assert_type(npz.files, list[str])
        assert_type(npz.spec("x"), fastzip.ArraySpec)
    """,
    "load": """
        loaded = fastzip.load("x.npz")
        if isinstance(loaded, fastzip.NpzFile):
            assert_type(loaded, fastzip.NpzFile)
            assert_type(loaded["x"], Array)
        loaded.fetch([0])  # error
        if isinstance(loaded, np.ndarray):
            loaded.reshape(-1).nosuch  # error
        narrow: np.ndarray[tuple[int], np.dtype[np.float32]] = fastzip.load("x.npy")  # error
        text: str = fastzip.load("x.pkl", allow_pickle=True)  # error
        fastzip.load("x.npz", allow_pickles=True)  # error
    """,
    "read": """
        assert_type(npz["x"], Array)
        assert_type(npz.fetch([0, 1]), Array)
        assert_type(npz.fetch(["a", "b"], threads=2), Array)
        assert_type(npz.fetch([0], out=None), Array)
        floats: npt.NDArray[np.float32] = np.empty((1, 2), np.float32)
        assert_type(npz.fetch([0], floats), npt.NDArray[np.float32])
        assert_type(npz.lengths(), Lengths)
        npz.fetch()  # error
        for name, array in npz.items():
            assert_type(name, str)
            assert_type(array, Array)
        batch = None
        for start in range(3):
            batch = npz.fetch([start], out=batch)
        assert_type(npz.fetch_ragged([0]), tuple[Array, Lengths])
        assert_type(npz.fetch_padded([0], -1, 5), tuple[Array, Lengths])
        out = np.empty((1, 5), np.uint8)
        flat = np.empty(5, np.uint8).reshape(-1)
        assert_type(npz.fetch_ragged([0], flat)[1], Lengths)
        assert_type(npz.fetch_padded([0], out=out)[0], Bytes)
        npz.fetch_padded([0], fill=3)  # error
    """,
    "out of another kind": """
        class Tensor:
            pass

        assert_type(npz.fetch([0], out=Tensor()), Tensor)
        assert_type(npz.fetch_padded([0], out=Tensor()), tuple[Tensor, Lengths])
    """,
    "loader of one": """
        for x in fastzip.Loader(npz, batch_size=4, shuffle=True):
            assert_type(x, Array)
        for x in fastzip.Loader(labels, batch_size=4):
            assert_type(x, Array)
        for x in fastzip.Loader((npz, ["a", "b"]), batch_size=4):
            assert_type(x, Array)
        for x in fastzip.Loader(source=npz, batch_size=4, collate=None):
            assert_type(x, Array)
        for pair in fastzip.Loader(fastzip.Padded(npz), batch_size=4, bucket_by_length=10):
            assert_type(pair, tuple[Array, Lengths])
        for values, offsets in fastzip.Loader(fastzip.Ragged(npz), batch_size=4):
            assert_type(values, Array)
            assert_type(offsets, Lengths)
        assert_type(iter(fastzip.Loader(npz, batch_size=4)), Iterator[Array])
        assert_type(len(fastzip.Loader(npz, batch_size=4)), int)
    """,
    "loader of two": """
        for x, y in fastzip.Loader(npz, labels, batch_size=4):
            assert_type(x, Array)
            assert_type(y, Array)
        for arrays in fastzip.Loader((npz, slice(5)), npz["labels"], batch_size=4, seed=1):
            assert_type(arrays, tuple[Array, Array])
        for both in fastzip.Loader((npz, [1, 2]), npz, batch_size=4):
            assert_type(both, tuple[Array, Array])
        for (padded, lengths), y in fastzip.Loader(fastzip.Padded(npz), labels, batch_size=4):
            assert_type(padded, Array)
            assert_type(lengths, Lengths)
            assert_type(y, Array)
        for x, (values, offsets) in fastzip.Loader(npz, fastzip.Ragged(npz), batch_size=4):
            assert_type(x, Array)
            assert_type(values, Array)
            assert_type(offsets, Lengths)
        for first, second in fastzip.Loader(fastzip.Ragged(npz), fastzip.Padded(npz), batch_size=4):
            assert_type(first, tuple[Array, Lengths])
            assert_type(second, tuple[Array, Lengths])
        for a, b, c in fastzip.Loader(npz, labels, batch_size=4):  # error
            pass
    """,
    "loader of more": """
        for three in fastzip.Loader(npz, labels, (npz, slice(5)), batch_size=4):
            assert_type(three, tuple[Array, Array, Array])
        for (padded, lengths), y, z in fastzip.Loader(
            fastzip.Padded(npz), labels, labels, batch_size=4
        ):
            assert_type(lengths, Lengths)
            assert_type(z, Array)
        for x, y, ragged in fastzip.Loader(npz, labels, fastzip.Ragged(npz), batch_size=4):
            assert_type(x, Array)
            assert_type(ragged, tuple[Array, Lengths])
        for four in fastzip.Loader(npz, labels, labels, labels, batch_size=4):
            assert_type(four, Any)
    """,
    "collate": """
        def made(batch: tuple[Array, Array]) -> dict[str, Array]:
            return {"x": batch[0], "y": batch[1]}

        for batch in fastzip.Loader(npz, labels, batch_size=4, collate=made):
            assert_type(batch, dict[str, Array])
        for n in fastzip.Loader(npz, batch_size=4, collate=len):
            assert_type(n, int)

        def chosen(how: Callable[[Any], int] | None) -> None:
            for either in fastzip.Loader(npz, batch_size=4, collate=how):
                print(either)

        chosen(len)
    """,
    "loader's own": """
        def train(loader: fastzip.Loader) -> None:
            for batch in loader:
                assert_type(batch, Any)

        def train_pairs(loader: fastzip.Loader[tuple[Array, Array]]) -> None:
            for x, y in loader:
                assert_type(x, Array)

        train(fastzip.Loader(npz, batch_size=4))
        train_pairs(fastzip.Loader(npz, labels, batch_size=4))
        train_pairs(fastzip.Loader(npz, batch_size=4))  # error
        fastzip.Loader(npz)  # error
        fastzip.Loader(npz, batch_size="4")  # error
        fastzip.Loader(npz, batch_size=4, sampler=None)  # error
        state: dict[str, Any] = fastzip.Loader(npz, batch_size=4).state_dict()
    """,
    "groups and files": """
        groups = fastzip.group(npz, "{sample}.{field}")
        assert_type(groups, fastzip.Groups)
        assert_type(groups.fetch([0]), dict[str, Array])
        with fastzip.ZipFile("x.zip") as archive:
            assert_type(archive, fastzip.ZipFile)
            assert_type(archive.read("a"), bytes)
            assert_type(archive.namelist(), list[str])
    """,
}


def source_of(program: str) -> str:
    """The program below the imports, in a function of its own."""
    return f"{HEAD}\n\ndef program() -> None:\n{program.rstrip()}\n".replace("\n        ", "\n    ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All programs, so that a checker runs once."""
    folder = tmp_path_factory.mktemp("programs")
    for number, program in enumerate(PROGRAMS.values()):
        (folder / f"program_{number}.py").write_text(source_of(program))
    return folder


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def by_mypy(folder):
    """The lines that mypy refuses: {(file, line): message}."""
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy isn't installed")
    (folder / "mypy.ini").write_text(f"[mypy]\nmypy_path = {ROOT}\nstrict = true\n")
    said = run([sys.executable, "-m", "mypy", "--show-error-codes", "."], folder)
    found = re.findall(r"^(\w+\.py):(\d+): error: (.*)$", said, re.MULTILINE)
    assert found, said
    return {(file, int(line)): text for file, line, text in found}


@pytest.fixture(scope="module")
def by_pyright(folder):
    """The same of pyright; basedpyright is pyright with a Node.js of its own."""
    if importlib.util.find_spec("basedpyright") is None:
        pytest.skip("basedpyright isn't installed")
    settings = {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "pythonVersion": "3.11"}
    silent = (
        "reportUnusedImport",
        "reportUnusedVariable",
        "reportUnusedExpression",
        "reportMissingTypeArgument",
    )
    silent += "reportUnknownVariableType", "reportUnknownMemberType", "reportUnknownArgumentType"
    settings |= dict.fromkeys(silent, "none")
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    said = json.loads(run(command, folder))
    assert said["summary"]["filesAnalyzed"] == len(PROGRAMS)
    return {
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1): one["message"]
        for one in said["generalDiagnostics"]
        if one["severity"] == "error"
    }


@pytest.mark.parametrize("checker", ["by_mypy", "by_pyright"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_types(name, checker, request):
    file = f"program_{list(PROGRAMS).index(name)}.py"
    refused = {
        line: text
        for (where, line), text in request.getfixturevalue(checker).items()
        if where == file
    }
    lines = source_of(PROGRAMS[name]).splitlines()
    wanted = {i for i, line in enumerate(lines, 1) if line.endswith("# error")}
    told = {lines[i - 1].strip(): refused.get(i, "not refused") for i in {*refused} ^ wanted}
    assert not told


def test_overloads_have_the_keywords():
    """Those of `Loader`'s overloads are the implementation's, but for `collate`, which differs."""
    parameters = inspect.signature(fastzip.Loader, eval_str=True).parameters.values()
    keywords = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY}
    told = get_type_hints(loader.Usual)
    assert told.keys() == keywords.keys()
    assert told | {"collate": None} == keywords | {"collate": None}


def test_the_programs_say_something():
    text = "".join(PROGRAMS.values())
    assert text.count("assert_type(") > 40
    assert text.count("# error") > 10
