"""The docs say what the code does: codes, commands; their examples run."""

import ast
import importlib.util
import inspect
import json
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastzip
from fastzip import errors, grain
from fastzip._cli import command as cli
from fastzip._cli import completion as _cmd_completion
from fastzip._cli import info as _cmd_info
from fastzip._zip import methods as _methods

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "security.md").read_text()
CODES = errors.TABLE | errors.OTHERS


def rows():
    """The reason codes' tables: (code, exception, meaning, advice)."""
    found = re.findall(r"^\| `(\w+)` \| ([\w.]+) \| (.+) \| (.+) \|$", TEXT, re.MULTILINE)
    assert found
    return found


def test_every_code_stands_there_once():
    assert sorted(code for code, *_ in rows()) == sorted(CODES)


@pytest.mark.parametrize(("code", "name"), [row[:2] for row in rows()])
def test_exceptions(code, name):
    kind = CODES[code][0]
    if name.startswith("fastzip."):
        assert kind is getattr(fastzip, name.removeprefix("fastzip."))
    else:  # a class of fastzip.errors; people catch the standard one
        assert kind.__name__ in fastzip.errors.__all__
        assert kind.__mro__[2].__name__ == name


def test_every_limit_stands_there():
    for name in ("max_members", "max_total_size", "max_member_size", "max_header_size"):
        assert re.search(rf"^\| `{name}` \| [a-z]+ ", TEXT, re.MULTILINE), name


def test_files_and_stages_exist():
    files = set(re.findall(r"(?:tests|docs|src|fastzip|bench)/[\w./]*\w", TEXT))
    assert {"tests/policy.py", "tests/fuzz/run"} < files
    assert not {name for name in files if not (ROOT / name).exists()}
    assert set(re.findall(r"`nox -s (\w[\w-]*)`", TEXT)) == {"sanitizers", "races", "zipfile-tests"}


def test_sessions():
    """noxfile.py's are the stages of .ci/run; CONTRIBUTING.md lists them, pages name no others."""
    if not (ROOT / ".ci").exists():
        pytest.skip("a source distribution has none")
    module = ast.parse((ROOT / "noxfile.py").read_text())
    sessions = {}
    for function in (node for node in module.body if isinstance(node, ast.FunctionDef)):
        for decorator in map(ast.unparse, function.decorator_list):
            if decorator.startswith("nox.session"):
                name = re.search(r"\bname='([\w-]+)'", decorator)
                sessions[name[1] if name else function.name] = "default=False" in decorator
    command = ["bash", str(ROOT / ".ci" / "run"), "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert listed.stdout.split() == sorted(sessions, key=lambda name: sessions[name])
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)` \|", contributing, re.MULTILINE)) == set(sessions)
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    for page in [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", *workflows]:
        named = re.findall(r"\bnox -s (\w[\w-]*)", page.read_text())
        assert set(named) <= set(sessions), page


def test_python_versions():
    """The classifiers, the hosted tests and the wheels are of the same versions."""
    if not (ROOT / ".github").exists():
        pytest.skip("a source distribution has no workflows")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    marks = "Programming Language :: Python :: 3."
    minors = [c.removeprefix(marks) for c in project["project"]["classifiers"] if marks in c]
    wheels = project["tool"]["cibuildwheel"]["build"]
    assert wheels.split() == [f"cp3{minor}-*" for minor in minors]
    tests = (ROOT / ".github" / "workflows" / "tests.yml").read_text()
    (matrix,) = re.findall(r"^ +python: (\[.*\])$", tests, re.MULTILINE)
    assert json.loads(matrix) == [f"3.{minor}" for minor in minors]


def test_example(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/security.md", "exec"), {})
    assert capsys.readouterr().out == "0.0\nmax_member_size large.npy\n"


# ---- pages whose examples run from top to bottom ---------------------------------------------

IN_TURN = ["batches", "compare", "drop-in", "formats", "ragged", "start", "threads"]


@pytest.mark.parametrize("page", IN_TURN)
def test_examples_in_turn(page, tmp_path, monkeypatch, capsys):
    """They share their names, and print what stands behind them."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    blocks = re.findall(
        r"^(```python|(?:They )?[Pp]rints?\n\n```)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL
    )
    assert blocks
    assert "\n>>>" not in text
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for kind, block in blocks:
        if kind == "```python":
            exec(compile(block, f"docs/{page}.md", "exec"), names)
        else:
            assert capsys.readouterr().out == block


def test_every_example_is_run():
    run = {*IN_TURN, *GUIDES, "loader", "security"}
    assert {page.stem for page in PAGES if "```python" in page.read_text()} == run
    for page in [*PAGES, ROOT / "README.md"]:  # all of them are called Python
        assert not re.search(r"^ *```(?!python)\w*\n\s*(import|from) ", page.read_text(), re.M), (
            page
        )


# ---- docs/drop-in.md -------------------------------------------------------------------------

CONTRACTS = (ROOT / "docs" / "drop-in.md").read_text()


def test_methods_and_extras():
    """The table's numbers are the methods that are read, its extras those that there are."""
    table = CONTRACTS.partition("## Methods and passwords")[2]
    numbers = re.findall(r"\((\d+(?:, \d+)?)\)", re.sub(r"^\| passwords.*", "", table, flags=re.M))
    listed = {int(n) for group in numbers for n in group.split(", ")}
    assert listed == set(_methods.METHODS) - {0, 8}
    extras = set(re.findall(r"extra `(\w+)`|\.\[(\w+)\]", table))
    extras = {one or other for one, other in extras}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (
        extras == {"aes", "deflate64", "methods", "zstd"} <= set(project["optional-dependencies"])
    )


def test_reason_codes_and_parameters():
    named = set(re.findall(r"`(\w+)`\)", CONTRACTS))
    assert {"closed", "cd_range", "link_outside", "mmap_deflated", "package"} <= named
    assert named <= set(CODES)
    for call in (fastzip.load, fastzip.ZipFile):
        for name, parameter in inspect.signature(call).parameters.items():
            if parameter.kind is parameter.KEYWORD_ONLY and name != "strict_timestamps":
                assert f"`{name}`" in CONTRACTS, name


# ---- docs/loader.md --------------------------------------------------------------------------


def test_loader_examples(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "loader.md").read_text()
    arrays = {f"{kind}/{i}": np.full((2, 3), i) for i in range(100) for kind in ("img", "seg")}
    np.savez_compressed(tmp_path / "training.npz", **arrays)
    np.save(tmp_path / "labels.npy", np.arange(200))
    texts = {f"text-{i}": np.arange(i % 7) for i in range(100)}
    np.savez_compressed(tmp_path / "texts.npz", **texts)
    monkeypatch.chdir(tmp_path)
    space = {}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        exec(compile(code, "docs/loader.md", "exec"), space)
    x, y = space["x"], space["y"]
    assert np.array_equal(x[:, 0, 0], y // 2)
    assert space["skipped"] == []
    assert json.loads(space["state"])["position"] == 64
    first, _ = next(iter(space["pairs"]))
    assert first[:, 0, 0].tolist() == [0, 1]


# ---- README.md -------------------------------------------------------------------------------


def test_readme_examples(tmp_path, monkeypatch, capsys):
    """On archives such as it speaks of, but small ones."""
    text = (ROOT / "README.md").read_text()
    images = {f"ix-{i:06d}": np.full((3, 4), i % 251, np.uint8) for i in range(130)}
    texts = {f"text-{i}": np.arange(i * i, dtype=np.uint16) for i in range(70)}
    pairs = {f"{i:04}.{field}": np.full(2, i) for i in range(70) for field in ("image", "label")}
    np.savez_compressed(tmp_path / "training.npz", **images)
    np.savez_compressed(tmp_path / "upload.npz", **images)
    np.savez_compressed(tmp_path / "texts.npz", **texts)
    np.savez_compressed(tmp_path / "pairs.npz", **pairs)
    np.save(tmp_path / "labels.npy", np.arange(130) % 251)
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as archive:
        archive.writestr("a/0001.txt", "one")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    space = {}
    blocks = re.findall(r"^( *)```python\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    for _, code in blocks:
        exec(compile(textwrap.dedent(code), "README.md", "exec"), space)
    assert len(blocks) >= 7
    assert len(capsys.readouterr().out.splitlines()) == 2  # the first one's
    assert space["image"][0, 0] == 123
    assert np.array_equal(space["x"][:, 0, 0], space["y"])
    assert space["values"].tolist() == [0, *range(49)]
    assert space["batch"].keys() == {"image", "label"}
    assert (tmp_path / "texts/a/0001.txt").read_bytes() == space["text"] == b"one"
    assert len(space["npz"]) == 130


# ---- docs/command-line.md --------------------------------------------------------------------

MANUAL = (ROOT / "docs" / "command-line.md").read_text()


def test_verbs_and_options():
    verbs = _cmd_completion.verbs_of(cli.make_parser())
    for verb in verbs:
        assert f"`fastzip {verb.name}" in MANUAL
        if verb.name == "demo":  # README.md shows it
            continue
        for option in verb.options:
            for name in {*option.names} - {"-h", "--help", "--threads"}:
                assert re.search(rf"`{name}\b", MANUAL), (verb.name, name)
    known = {name for verb in verbs for option in verb.options for name in option.names}
    assert set(re.findall(r"`(--?\w[\w-]*)", MANUAL)) - {"-b"} <= known


def test_statuses_and_advice():
    for status in (cli.INTERRUPTED, cli.CLOSED_PIPE):
        assert re.search(rf"^\| {status} \| ", MANUAL, re.MULTILINE)
    codes = set(re.findall(r"^    +yield \"(\w+)\"", Path(_cmd_info.__file__).read_text(), re.M))
    table = MANUAL.partition("## info")[2].partition("## test")[0]
    rows = re.findall(r"^\| (`.+`) \| ", table, re.MULTILINE)
    assert {code for row in rows for code in re.findall(r"`(\w+)`", row)} == codes


# ---- the other pages -------------------------------------------------------------------------

PAGES = sorted((ROOT / "docs").glob("*.md"))


def anchors(text):
    """What a heading can be linked by."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.stem)
def test_links_lead_somewhere(page):
    if not (ROOT / "CONTRIBUTING.md").exists():
        pytest.skip("a source distribution has not all of them")
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if not link.startswith("https:"):
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text()), link


def test_codes_and_commands_of_pages():
    """Codes in parentheses exist, verbs too."""
    verbs = {verb.name for verb in _cmd_completion.verbs_of(cli.make_parser())}
    for page in PAGES:
        text = page.read_text()
        assert set(re.findall(r"`fastzip (\w+)", text)) - {"COMMAND"} <= verbs, page
        if page.stem in ("formats", "threads", "performance"):
            assert set(re.findall(r"\(`([a-z_0-9]+)`\)", text)) - {"mmap_mode"} <= set(CODES), page


def test_index_leads_to_all_pages():
    text = (ROOT / "docs" / "index.md").read_text()
    linked = re.findall(r"^- \[[^]]+\]\(([\w-]+)\.md\)", text, re.MULTILINE)
    assert sorted([*linked, "index"]) == [page.stem for page in PAGES]


def test_api_names_everything_public():
    text = (ROOT / "docs" / "api.md").read_text()
    for name in fastzip.__all__:
        assert re.search(rf"(\bfastzip\.|`){name}\b", text), name
    for module in (errors, grain):
        for name in module.__all__:
            assert re.search(rf"\b{module.__name__}\.{name}\b|\bfastzip\.{name}\b", text), name
    for file in ("keras", "tf", "torch"):
        package = Path(fastzip.__file__).parent
        path = package / f"{file}.py"
        source = (path if path.exists() else package / file / "__init__.py").read_text()
        names = re.search(r"^__all__ = \[(.*)\]$", source, re.MULTILINE)[1]
        for name in re.findall(r"\w+", names):
            assert f"fastzip.{file}.{name}" in text, name


SAYING = [*PAGES, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "bench/README.md"))]
SAYING += [*ROOT.glob("examples/*"), *ROOT.glob("fastzip/**/*.py"), *ROOT.glob("bench/*.py")]


@pytest.mark.parametrize(
    "file", [path for path in SAYING if path.is_file()], ids=lambda path: path.name
)
def test_what_to_install(file):
    """Nothing advises to install what no index has; extras exist, and every shell takes them."""
    text = file.read_text()
    assert not re.search(r"install[^`\n]* '?fastzip-reader|fastzip-reader\[", text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in re.findall(r"pip install (.*)", text):
        for quote, extras in re.findall(r"(\S*)\.\[([\w,]+)\]", line):
            assert quote == "'", line
            assert f"'.[{extras}]'" in line, line
            assert set(extras.split(",")) <= set(project["optional-dependencies"]), extras
        assert not re.search(r"(?:^|\s)[\w.-]+[<>]", line.partition("`")[0]), line  # redirections


def test_packages_that_messages_name():
    """`pip install 'x>=1'` in a message is a requirement of the project's, to the letter."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    wanted = {line.partition(";")[0].strip() for lines in lists for line in lines}
    told = set()
    for file in SAYING:
        if file.is_file():
            for line in re.findall(r"pip install ([^`\n]*)", file.read_text()):
                told |= set(re.findall(r"'([\w.-]+[<>=]+[\w.]+)'", line))
    assert {"deflate>=0.8", "keras>=3.3", "torch>=2.2", "matplotlib>=3.8"} <= told <= wanted


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.stem)
def test_commands_are_understood(page):
    """Lines of shell that call fastzip, each with its options."""
    parser = cli.make_parser()
    for block in re.findall(r"^ *```\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in re.findall(r"^ *(fastzip \w.*)", block, re.MULTILINE):
            for command in re.split(r" && | > | \| ", line.partition(" #")[0]):
                name, *words = shlex.split(command)
                if name == "fastzip":
                    assert parser.parse_args(words).run, line  # bad usage exits


# ---- pages for frameworks --------------------------------------------------------------------

GUIDES = ["pytorch", "jax", "tensorflow", "workers", "troubleshooting"]
FRAMEWORKS = {
    "import jax": "jax",
    "import grain": "grain",
    "fastzip.torch": "torch",
    "fastzip.tf": "tensorflow",
    "fastzip.keras": "keras",
}


def examples(page):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    found = re.findall(r"^ *```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    assert found
    return [textwrap.dedent(block) for block in found]


@pytest.mark.parametrize(
    ("page", "number"), [(page, i) for page in GUIDES for i in range(len(examples(page)))]
)
def test_page(page, number, tmp_path):
    """In a process of its own, as a user's script, and on small archives."""
    example = examples(page)[number]
    for word, framework in FRAMEWORKS.items():
        if word in example and importlib.util.find_spec(framework) is None:
            pytest.skip(f"{framework} isn't installed")
    rng = np.random.default_rng(0)
    images = {f"ix-{i:06}": rng.integers(0, 9, (28, 28), np.uint8) for i in range(48)}
    np.savez_compressed(tmp_path / "images.npz", **images)
    np.savez_compressed(tmp_path / "labels.npz", **{name: i % 10 for i, name in enumerate(images)})
    (tmp_path / "script.py").write_text(example)
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    batches = done.stdout.count("[16, 28, 28]") + done.stdout.count("(16, 28, 28)")
    assert batches == (3 if "print(images.shape" in example else 0)


@pytest.mark.parametrize("page", GUIDES)
def test_files_and_codes(page):
    text = (ROOT / "docs" / f"{page}.md").read_text()
    for file in re.findall(r"`(examples/[\w.]+)`", text):
        assert (ROOT / file).exists(), file
    for code in re.findall(r"^- `(\w+)`", text, re.MULTILINE):
        assert code in CODES or code in ("default_collate",), code
