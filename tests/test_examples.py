"""examples/: each runs on small data, and checks what it reads."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples"
NEEDS = {"torch_training": "torch"}
OUTPUT = {
    "bitmaps": "300 samples, every batch the same",
    "one_line": "40 samples, all equal",
    "padded": "400 sentences in each of 2 epochs, half the filling or less",
    "studies": "30 studies, 150 slices, all equal",
    "torch_training": "epoch 2: 100% right",
    "two_datasets": "100 samples of two data sets, as they were",
}

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="an installed package has no examples")


def test_all_are_run():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(OUTPUT)
    assert {path.name for path in FOLDER.glob("*.ipynb")} == {"colab.ipynb"}


@pytest.mark.parametrize("name", OUTPUT)
def test_example(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} isn't installed")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(FOLDER / f"{name}.py")],
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == OUTPUT[name]
    left = {path.name for path in tmp_path.iterdir()}
    assert left <= {f"torchinductor_{getpass.getuser()}"}  # made when torch is imported


def test_notebook(tmp_path, monkeypatch, capsys):
    """Its code cells, from top to bottom."""
    notebook = json.loads((FOLDER / "colab.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert {cell["cell_type"] for cell in cells} == {"markdown", "code"}
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = {"__name__": "__main__"}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    output = capsys.readouterr().out
    assert "2,000 members" in output
    assert "2,000 samples of uint8 (28, 28)" in output
    assert list(tmp_path.iterdir()) == []


def test_notebook_format():
    nbformat = pytest.importorskip("nbformat", reason="nbformat isn't installed")
    nbformat.validate(nbformat.read(FOLDER / "colab.ipynb", as_version=4))
