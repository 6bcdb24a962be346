"""docs/architecture.md is right: its tree has every file, its layers are those of the imports."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest
from test_imports import LAYERS

ROOT = Path(__file__).resolve().parents[1]
TREE, PACKAGE, NATIVE = re.findall(
    r"^```\n(.*?)^```", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE | re.DOTALL
)[:3]
MADE = {".so", ".pyc", ".o"}


def named() -> dict[str, list[str]]:
    """Of each folder of the tree, the names that stand at the beginnings of its lines."""
    folders: dict[str, list[str]] = {}
    folder = ""
    for line in TREE.splitlines():
        names = re.split(r" {2,}", line.strip())[0].split()
        if line.startswith("  "):
            folders[folder] += names
        else:
            folder = names[0].rstrip("/")
            folders[folder] = []
    return folders


def there(folder: str) -> set[str]:
    files = {path for path in (ROOT / folder).iterdir() if path.is_file()}
    return {p.name for p in files if p.suffix not in MADE} - {"_core.c"}


def test_folders():
    assert {"src", "fastzip", "tests", "bench", "docs", "examples", ".ci"} == set(named())


@pytest.mark.parametrize("folder", ["src", "fastzip", ".ci"])
def test_the_tree_names_each_file_once(folder):
    if not (ROOT / folder).exists():
        pytest.skip("a source distribution has not all of them")
    files, patterns = there(folder), named()[folder]
    found = [name for pattern in patterns for name in fnmatch.filter(files, pattern)]
    assert sorted(found) == sorted(files)
    assert [p for p in patterns if not fnmatch.filter(files, p)] == []


def test_the_verbs():
    """They stand there as well."""
    line = next(line for line in TREE.splitlines() if "_cmd_*.py" in line)
    verbs = {name.removeprefix("_cmd_")[:-3] for name in there("fastzip") if "_cmd_" in name}
    assert set(line.partition("each: ")[2].split(", ")) == verbs


def test_the_package_s_layers():
    files = {name[:-3] for name in there("fastzip") if name.endswith(".py")} | {"_core"}
    layers = [line.split() for line in PACKAGE.splitlines()]
    assert [
        {name for pattern in layer for name in fnmatch.filter(files, pattern)} for layer in layers
    ] == LAYERS


def test_the_core_s_layers():
    layers = [line.split() for line in NATIVE.splitlines()]
    level = {name: i for i, layer in enumerate(layers) for name in layer}
    assert set(level) == {name[:-4] for name in there("src") if name.endswith((".pxd", ".pyx"))}
    for path in (ROOT / "src").glob("*.p[xy][xdi]"):
        name = "_core" if path.suffix in (".pyx", ".pxi") else path.stem
        own = re.findall(r"^from (\w+) cimport ", path.read_text(), re.MULTILINE)
        for other in own:
            assert level[other] > level[name], f"{path.name} cimports {other}"
