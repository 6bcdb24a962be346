"""Docstrings of everything public are whole, by numpydoc's rules. Their examples run elsewhere."""

from __future__ import annotations

import importlib
import inspect
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import fastzip

validate = pytest.importorskip("numpydoc.validate", reason="numpydoc isn't installed").validate
get_doc_object = importlib.import_module("numpydoc.docscrape").get_doc_object
mock = importlib.import_module("sphinx.ext.autodoc.mock").mock

PACKAGE = pathlib.Path(fastzip.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("[a-z]*") if path.suffix in ("", ".py"))
FRAMEWORKS = {"torch": "torch", "tf": "tensorflow", "keras": "keras"}
RULES = {
    *("GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10"),  # there is one, in order
    *("SS01", "SS02", "SS03", "SS04", "SS06"),  # a summary, one line
    *("PR01", "PR02", "PR03", "PR04", "PR06", "PR07", "PR08", "PR09", "PR10"),  # every parameter
    *("RT01", "RT03", "RT04", "RT05", "YD01"),  # what comes back
    *("SA02", "SA03", "EX01"),  # an example
}


def imported(name: str) -> Any:
    """A public module; an adapter also where its framework isn't installed."""
    framework = FRAMEWORKS.get(name)
    if framework is None or importlib.util.find_spec(framework) is not None:
        return importlib.import_module(f"fastzip.{name}")
    with mock([framework]):
        module = importlib.import_module(f"fastzip.{name}")
    ours = f"fastzip.{name}"
    for other in [n for n in sys.modules if n.startswith((ours, framework))]:
        del sys.modules[other]  # the next one that imports it wants the real one
    delattr(fastzip, name)
    return module


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """What is ours in a module, and in its classes."""
    for name in module.__all__:
        thing = getattr(module, name)
        if not getattr(thing, "__module__", "").startswith("fastzip"):
            continue
        yield name, thing
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                shown = not member.startswith("_") or member == "__getitems__"
                if shown and (inspect.isfunction(value) or isinstance(value, property)):
                    yield f"{name}.{member}", value


def wrong(thing: Any) -> list[str]:
    found = validate(get_doc_object(thing))["errors"]
    return [
        f"{code} {text}"
        for code, text in found
        if code in RULES and not (code == "EX01" and isinstance(thing, property))
    ]


@pytest.mark.parametrize("name", ["", *MODULES])
def test_docstrings(name):
    module = imported(name) if name else fastzip
    assert module.__doc__
    things = dict(public(module))
    assert things
    assert {name: wrong(thing) for name, thing in things.items() if wrong(thing)} == {}


def test_the_check_sees_what_lacks():
    def f(x):
        """Double it.

        Parameters
        ----------
        y : int
        """
        return 2 * x

    codes = {text[:4] for text in wrong(f)}
    assert {"PR01", "PR02", "PR07", "RT01", "EX01"} <= codes
