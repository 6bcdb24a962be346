"""Does what we built carry what it should? Usage: check_archives.py TREE WHEEL SDIST WHEEL..."""

import sys
import tarfile
import zipfile
from pathlib import Path


def wheel_names(path: str) -> set[str]:
    """Names in a wheel, without its metadata."""
    with zipfile.ZipFile(path) as wheel:
        names = [name for name in wheel.namelist() if not name.endswith("/")]
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names), "no LICENSE"
    return {name for name in names if ".dist-info/" not in name}


def sdist_names(path: str) -> set[str]:
    """Names in an sdist, without its top folder and its metadata."""
    with tarfile.open(path) as sdist:
        names = {m.name.partition("/")[2] for m in sdist.getmembers() if m.isfile()}
    return {name for name in names if ".egg-info/" not in name} - {"PKG-INFO", "setup.cfg"}


def tracked(tree: Path, *places: str) -> set[str]:
    """These files of the tree, and those in these folders, without what a build left there."""
    made = {".so", ".pyc"}
    found = {p for place in places for p in (tree / place, *(tree / place).rglob("*"))}
    files = {p for p in found if p.is_file()}
    return {str(p.relative_to(tree)) for p in files if p.suffix not in made} - {"src/_core.c"}


def differ(what: str, there: set[str], wanted: set[str]) -> bool:
    """Print what lacks and what is too much."""
    for name in sorted(wanted - there):
        print(f"{what} lacks {name}")
    for name in sorted(there - wanted):
        print(f"{what} should not have {name}")
    return there != wanted


EXTRAS = ("bench", "docs", "examples", "CHANGELOG.md")


def main(tree: Path, wheel: str, sdist: str, *more_wheels: str) -> int:
    """Compare each archive with the tree; 0 if they agree."""
    package = tracked(tree, "fastzip")
    assert {"fastzip/__init__.py", "fastzip/py.typed", "fastzip/_core.pyi"} <= package, package
    bad = False
    for path in (wheel, *more_wheels):
        names = wheel_names(path)
        cores = {name for name in names if name.startswith("fastzip/_core.") and name[-3:] == ".so"}
        assert len(cores) == 1, f"{path}: native modules {sorted(cores)}"
        bad |= differ(path, names - cores, package)
    wanted = package | tracked(tree, "src", "tests")
    wanted |= {"LICENSE", "README.md", "pyproject.toml", "setup.py", "MANIFEST.in"}
    names = sdist_names(sdist)
    optional = {name for name in names if name.split("/")[0] in EXTRAS}
    bad |= differ(sdist, names - optional, wanted)
    assert optional <= tracked(tree, *EXTRAS), sorted(optional)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
