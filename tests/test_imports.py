"""The package's shape: imports go downward, names are what they should be, examples run."""

from __future__ import annotations

import doctest
import importlib
import importlib.machinery
import pathlib
import shutil
import subprocess
import sys

import pytest

import fastzip
from fastzip import _core, errors

PACKAGE = pathlib.Path(fastzip.__file__).parent
NEEDS = {
    "_cli.demo_steps": ["matplotlib", "tqdm"],
    "_cli.demo_data": ["matplotlib", "tqdm"],
    "torch": ["torch"],
    "torch.dataset": ["torch"],
    "torch.lent": ["torch"],
    "tf": ["tensorflow"],
    "keras": ["keras"],
}
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")
)
"""By their names in the package, a room's face as ``room.__init__``."""


def test_core_imports_nothing_of_the_package():
    source = (PACKAGE.parent / "src" / "_core.pyx").read_text()
    assert "import fastzip" not in source
    assert "from fastzip" not in source
    assert "cimport numpy" not in source


@pytest.mark.parametrize(
    "kind", ["source tree", "other Python", "hides another", "with a space", "installed", "broken"]
)
def test_no_core(tmp_path, kind):
    """A clone's own folder shadows the installed package, and has no core: one line says so."""
    tag, code = sys.implementation.cache_tag, ""
    if kind == "with a space":
        tmp_path /= "a clone"
    (tmp_path / "fastzip").mkdir(parents=True)
    for path in PACKAGE.glob("*.py"):  # no room is entered without a core
        (tmp_path / "fastzip" / path.name).write_text(path.read_text())
    if kind not in ("installed", "broken"):
        (tmp_path / "setup.py").touch()
    told = f"fastzip's native core isn't built for {tag} in this source tree, {tmp_path}"
    if kind == "source tree":
        told += f"; run: pip install -e {tmp_path}"
    elif kind == "with a space":
        told += f"; run: pip install -e '{tmp_path}'"
    elif kind == "other Python":
        (tmp_path / "fastzip" / "_core.cpython-36m-x86_64-linux-gnu.so").touch()
        told += " (it is built for cpython-36m-x86_64-linux-gnu); run: pip install -e "
    elif kind == "hides another":
        code = f"sys.path.append({str(PACKAGE.parent)!r}); "
        told += f"; it hides the fastzip that is installed in {PACKAGE}: work from another folder, "
        told += f"or build the tree as well: pip install -e {tmp_path}"
    elif kind == "installed":
        told = f"there is no native core for {tag} in {tmp_path / 'fastzip'}; run in a clone of "
        told += "fastzip's repository: pip install --force-reinstall ."
    else:
        native = f"_core{importlib.machinery.EXTENSION_SUFFIXES[0]}"
        (tmp_path / "fastzip" / native).write_text("no library")
        told = f"{tmp_path / 'fastzip' / native}: "
    code = f"import sys; {code}sys.path.insert(0, {str(tmp_path)!r}); import fastzip"
    command = [sys.executable, "-S", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"ImportError: {told}")
    assert done.stderr.count("Error: ") == 1  # and nothing else does


def test_built_but_not_installed(tmp_path):
    """As `python setup.py build_ext --inplace` leaves a tree: the version stands in pyproject."""
    shutil.copytree(PACKAGE, tmp_path / "tree" / "fastzip")
    (tmp_path / "tree" / "pyproject.toml").write_text('[project]\nversion = "7.8.9"\n')
    code = f"""if True:
        import importlib.metadata, sys
        def missing(name):
            raise importlib.metadata.PackageNotFoundError(name)
        importlib.metadata.version = missing
        sys.path.insert(0, {str(tmp_path / "tree")!r})
        import fastzip
        print(fastzip.__version__, fastzip.__file__)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["7.8.9", str(tmp_path / "tree" / "fastzip" / "__init__.py")]


def test_public_names():
    modules = {path.stem for path in PACKAGE.iterdir()} | {"_core"}
    public = {n for n in vars(fastzip) if not n.startswith("_") or n == "__version__"}
    assert public - modules == set(fastzip.__all__)
    for name in fastzip.__all__:
        assert getattr(fastzip, name) is not None
        assert name == "__version__" or getattr(fastzip, name).__doc__


def test_every_code_has_an_exception():
    internal = {"ok", "other_header", "read_more"}
    assert set(errors.TABLE) == set(_core.STATUS_CODES) - internal
    assert len(set(_core.STATUS_CODES)) == len(_core.STATUS_CODES)


@pytest.mark.parametrize("code", errors.TABLE)
def test_exceptions(code):
    kind, text = errors.TABLE[code]
    exc = errors.error(_core.STATUS_CODES.index(code), "some/path", "some member", 12345)
    assert type(exc) is kind
    assert (exc.code, exc.path, exc.member, exc.offset) == (
        code,
        "some/path",
        "some member",
        12345,
    )
    assert exc.failed == []
    assert str(exc) == f"some/path: some member: {text} [{code}, at byte 12,345]"


def test_kinds_of_exceptions():
    import zipfile

    assert issubclass(fastzip.BadZipFile, zipfile.BadZipFile)
    assert issubclass(fastzip.CRCError, fastzip.BadZipFile)
    assert issubclass(fastzip.TruncatedError, fastzip.BadZipFile)
    assert issubclass(fastzip.UnsupportedError, NotImplementedError)
    assert issubclass(errors.TABLE["memory"][0], MemoryError)
    assert issubclass(errors.TABLE["closed"][0], ValueError)


def test_failed_io():
    exc = errors.error(-5, "some/path", "some member", 9)
    assert isinstance(exc, OSError)
    assert (exc.errno, exc.filename, exc.code) == (5, "some/path", "EIO")
    assert exc.member == "some member"


@pytest.mark.parametrize("name", [n for n in MODULES if n not in ("__main__",)])
def test_examples_in_docstrings(name):
    path = "fastzip." + name
    for needed in NEEDS.get(name.removesuffix(".__init__"), ()):
        pytest.importorskip(needed)
    module = importlib.import_module(path.removesuffix(".__init__"))
    results = doctest.testmod(module)
    assert results.failed == 0
    source = (PACKAGE / name.replace(".", "/")).with_suffix(".py").read_text()
    assert "doctest: +SKIP" not in source


@pytest.mark.parametrize("name", [n for n in fastzip.__all__ if n != "__version__"])
def test_examples_of_public_names(name):
    """Their modules are said to be fastzip, so that nobody looks for them in their own."""
    thing = getattr(fastzip, name)
    if getattr(thing, "__module__", "") != "fastzip":
        return  # the standard library's
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(thing, name, module=False, globs={}):
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0


def test_public_docstrings_have_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for obj in (fastzip.load, fastzip.NpzFile, fastzip.NpzFile.fetch, fastzip.NpzFile.spec,
                fastzip.group, fastzip.Groups.keys, fastzip.NpzFile.lengths,
                fastzip.NpzFile.fetch_ragged, fastzip.NpzFile.fetch_padded,
                fastzip.Loader, fastzip.engines, fastzip.trim,
                fastzip.set_num_threads):  # fmt: skip
        assert any(test.examples for test in finder.find(obj, obj.__name__)), obj
