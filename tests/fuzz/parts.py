"""The parts of the test suite that the fuzz targets share, loaded by their paths."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).resolve().parent.parent


def load(name: str, path: Path) -> ModuleType:
    """The module at this path."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


builder = load("builder", TESTS / "conftest.py")
policy = load("policy", TESTS / "policy.py")
