"""When the package isn't installed as it should be: what to do about it."""

from __future__ import annotations

import shlex
import sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Final, NoReturn

__all__ = ["explain", "version"]

_FOLDER: Final = Path(__file__).resolve().parent
_TREE: Final = _FOLDER.parent
_TAG: Final = sys.implementation.cache_tag


def explain(exc: ImportError) -> NoReturn:
    """Raise an ImportError that says in one line why there is no native core."""
    if PathFinder.find_spec("fastzip._core", [str(_FOLDER)]) is not None:
        raise exc  # it is there: what hinders it says so itself
    built = sorted(path.name.split(".")[1] for path in _FOLDER.glob("_core.*.so"))
    others = f" (it is built for {', '.join(built)})" if built else ""
    if not (_TREE / "setup.py").exists():
        raise ImportError(
            f"there is no native core for {_TAG} in {_FOLDER}{others}; run in a clone of fastzip's "
            "repository: pip install --force-reinstall ."
        ) from None
    text = f"fastzip's native core isn't built for {_TAG} in this source tree, {_TREE}{others}; "
    elsewhere = _installed()
    if elsewhere is not None:
        text += f"it hides the fastzip that is installed in {elsewhere}: work from another folder, "
        text += "or build the tree as well: "
    else:
        text += "run: "
    build = f"pip install -e {shlex.quote(str(_TREE))}"
    raise ImportError(text + build) from None


def _installed() -> str | None:
    """The folder of another fastzip, with a core for this Python, which the tree hides."""
    paths = [path for path in sys.path if Path(path or ".").resolve() != _TREE]
    found = PathFinder.find_spec("fastzip", paths)
    places = list(found.submodule_search_locations or ()) if found is not None else []
    core = PathFinder.find_spec("fastzip._core", places) if places else None
    return None if core is None else places[0]


def version() -> str:
    """The package's version; from pyproject.toml in a tree that was built but not installed."""
    try:
        return version_of("fastzip-reader")
    except PackageNotFoundError:
        import tomllib

        project = tomllib.loads((_TREE / "pyproject.toml").read_text())["project"]
        return str(project["version"])
