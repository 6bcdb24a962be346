"""The rooms of the package: imports go downward and through faces, private names stay inside."""

from __future__ import annotations

import ast
import graphlib
import importlib
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import pytest

import fastzip

PACKAGE = pathlib.Path(fastzip.__file__).parent
# From top to bottom, as in docs/architecture.md. A file imports from its own room and lower ones.
ORDER = [
    {"__main__"},
    {"_cli"},
    {"__init__"},
    {"torch", "grain", "tf", "keras"},
    {"_train"},
    {"_dropin"},
    {"_batch"},
    {"_npy"},
    {"_zip"},
    {"errors"},
    {"_signals", "_unbuilt"},
    {"_core"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
# Private names of others: of NumPy's class, namedtuples, argparse, ctypes and torch.
OTHERS = {
    *("_MAX_REPR_ARRAY_COUNT", "_asdict", "_replace", "_type_", "_new_shared"),
    *("_SubParsersAction", "_actions", "_choices_actions"),
}


class Import(NamedTuple):
    room: str
    file: str | None
    """Within the room; None for its face."""
    name: str | None


def room_of(file: pathlib.Path) -> str:
    return file.parts[0] if len(file.parts) > 1 else file.stem


def tree_of(file: pathlib.Path) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text())


def imports(tree: ast.Module) -> Iterator[Import]:
    """What of the package this file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top, _, rest = alias.name.partition(".")
                if top == "fastzip":
                    room, _, file = rest.partition(".")
                    yield Import(room or "__init__", file or None, None)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            parts = (node.module or "").split(".")
            if parts[0] != "fastzip":
                continue
            for alias in node.names:
                if len(parts) == 1:
                    known = alias.name in LEVEL
                    room = alias.name if known else "__init__"
                    yield Import(room, None, None if known else alias.name)
                else:
                    yield Import(parts[1], ".".join(parts[2:]) or None, alias.name)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_imports_go_downward_and_through_faces(file):
    room = room_of(file)
    assert room in LEVEL, "a new room needs a place in the order"
    for found in imports(tree_of(file)):
        if found.room == room:
            continue
        assert LEVEL[found.room] > LEVEL[room], f"{file} imports {found}"
        assert found.file is None, f"{file} imports {found}: past the room's face"


@pytest.mark.parametrize("room", ROOMS)
def test_within_a_room_imports_have_no_circle(room):
    graph = {}
    for file in FILES:
        if room_of(file) != room or file.name == "__init__.py":
            continue
        graph[file.stem] = {
            found.file or found.name
            for found in imports(tree_of(file))
            if found.room == room and (found.file or found.name)
        }
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("room", [room for room in ROOMS if room.startswith("_")])
def test_faces(room):
    """A face says what the room is for, and gives what others use of it, and nothing else."""
    tree = tree_of(pathlib.Path(room, "__init__.py"))
    assert len(ast.get_docstring(tree) or "") > 100
    face = importlib.import_module(f"fastzip.{room}")
    used = set()
    for file in FILES:
        if room_of(file) == room:
            continue
        other = tree_of(file)
        used |= {found.name for found in imports(other) if found.room == room and found.name}
        used |= {
            node.attr
            for node in ast.walk(other)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == room
        }
    assert sorted(face.__all__) == sorted(used)
    assert not [name for name in face.__all__ if name.startswith("_")]
    assert [name for name in face.__all__ if not hasattr(face, name)] == []


def made_in(room: str) -> set[str]:
    """Every name that the room's files define or assign to."""
    names = set()
    for file in FILES:
        if room_of(file) != room:
            continue
        for node in ast.walk(tree_of(file)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                names.add(node.id if isinstance(node, ast.Name) else node.attr)
    return names


@pytest.mark.parametrize("file", FILES, ids=str)
def test_private_names_stay_in_their_room(file):
    own = made_in(room_of(file)) | OTHERS
    taken = set()
    for node in ast.walk(tree_of(file)):
        if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
            continue
        mine = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        if node.attr.startswith("_") and not mine and node.attr not in own:
            taken.add(ast.unparse(node))
    assert taken == set()


def test_the_checks_see():
    found = set(imports(ast.parse("from fastzip import _zip, load\nimport fastzip._npy.header")))
    assert found == {
        Import("_zip", None, None),
        Import("__init__", None, "load"),
        Import("_npy", "header", None),
    }
    below = {found.room for found in imports(tree_of(pathlib.Path("_dropin", "npz.py")))}
    assert {"_batch", "_npy", "_zip", "errors"} <= below
    assert "_reader" in made_in("_dropin")
    assert "_reader" not in made_in("_batch")
