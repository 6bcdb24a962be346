"""docs/architecture.md is right: its tree has every file, its layers are those of the imports."""

from __future__ import annotations

import fnmatch
import graphlib
import re
from pathlib import Path

import pytest
from test_rooms import ORDER

from fastzip import _core
from fastzip._cli.command import VERBS

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


NATIVE_FOLDERS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "src", *(ROOT / "src").rglob("*"))
    if path.is_dir()
)


PACKAGE_FOLDERS = sorted(
    str(path.parent.relative_to(ROOT)) for path in (ROOT / "fastzip").rglob("__init__.py")
)


def test_folders():
    others = {"tests", "bench", "docs", "examples", ".ci"}
    assert {*NATIVE_FOLDERS, *PACKAGE_FOLDERS, *others} == set(named())


@pytest.mark.parametrize("folder", [*NATIVE_FOLDERS, *PACKAGE_FOLDERS, ".ci"])
def test_the_tree_names_each_file_once(folder):
    if not (ROOT / folder).exists():
        pytest.skip("a source distribution has not all of them")
    files, patterns = there(folder), named()[folder]
    found = [name for pattern in patterns for name in fnmatch.filter(files, pattern)]
    assert sorted(found) == sorted(files)
    assert [p for p in patterns if not fnmatch.filter(files, p)] == []


def test_the_verbs():
    """They stand there as well."""
    line = next(line for line in TREE.splitlines() if line.endswith("a verb each"))
    assert {name.removesuffix(".py") for name in line.split("   ")[0].split()} == set(VERBS)


def test_the_package_s_rooms():
    assert [set(line.split()) for line in PACKAGE.splitlines()] == ORDER


def native_files() -> list[Path]:
    found = (ROOT / "src").rglob("*")
    kinds = {".pyx", ".pxi", ".pxd", ".c", ".h"}
    return sorted(p for p in found if p.suffix in kinds and p.name != "_core.c")


def uses(path: Path) -> set[Path]:
    """What a native file takes from others: by cimport, `cdef extern from`, or #include."""
    text, src = path.read_text(), ROOT / "src"
    modules = re.findall(r"^from (\w+\.\w+) cimport ", text, re.MULTILINE)
    found = {src / f"{module.replace('.', '/')}.pxd" for module in modules}
    for name in re.findall(r'^(?:cdef extern from|#include|include) "(.+?)"', text, re.MULTILINE):
        found.add(src / name if "/" in name else path.parent / name)
    return {p for p in found if p.exists()}


def room(path: Path) -> str:
    parts = path.relative_to(ROOT / "src").parts
    return parts[0] if len(parts) > 1 else "_core"


def test_the_core_s_rooms():
    layers = [line.split() for line in NATIVE.splitlines()]
    level = {name: i for i, layer in enumerate(layers) for name in layer}
    files = native_files()
    assert set(level) == {room(path) for path in files}
    graph = {path: uses(path) for path in files}
    for path, used in graph.items():
        for other in used:
            assert room(other) == room(path) or level[room(other)] > level[room(path)], (
                path,
                other,
            )
    graphlib.TopologicalSorter(graph).prepare()  # no circles


@pytest.mark.parametrize("path", native_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_core_s_habits(path):
    """Each name says where it comes from; what is included is a header, or a class of _core.pyx."""
    text = path.read_text()
    assert "cimport *" not in text
    included = re.findall(r'^#?include "(.+?)"', text, re.MULTILINE)
    if path.name == "_core.pyx":
        for name in included:
            part = (path.parent / name).read_text()
            assert len(re.findall(r"^cdef class ", part, re.MULTILINE)) == 1, name
    else:
        assert [name for name in included if not name.endswith(".h")] == []
    if path.suffix == ".pxd" and path.name != "__init__.pxd":
        assert text.startswith('"""')


def test_status_codes():
    """status.h has the list; status.pxd names all of it."""
    header, view = (ROOT / "src" / "runtime" / f"status.{kind}" for kind in ("h", "pxd"))
    listed = re.findall(r"X\((\w+), ", header.read_text())
    declared = re.findall(r'^        (\w+) "FZ_(\w+)"$', view.read_text(), re.MULTILINE)
    assert declared == [(name, name) for name in (*listed, "STATUS_COUNT")]
    assert [name.lower() for name in listed] == list(_core.STATUS_CODES)
