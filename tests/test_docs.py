"""docs/security.md says what the code does: its codes, its commands, its example."""

import re
import subprocess
from pathlib import Path

import pytest

import fastzip
from fastzip import errors

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
    else:  # a private class; people catch the standard one
        assert kind.__name__.startswith("_")
        assert kind.__mro__[2].__name__ == name


def test_every_limit_stands_there():
    for name in ("max_members", "max_total_size", "max_member_size", "max_header_size"):
        assert re.search(rf"^\| `{name}` \| [a-z]+ ", TEXT, re.MULTILINE), name


def test_files_and_stages_exist():
    files = set(re.findall(r"(?:tests|docs|src|fastzip|bench)/[\w./]*\w", TEXT))
    assert {"tests/policy.py", "tests/fuzz/run"} < files
    assert not {name for name in files if not (ROOT / name).exists()}
    stages = set(re.findall(r"`\.ci/run (\w[\w-]*)`", TEXT))
    assert stages == {"sanitizers", "races"}
    if (ROOT / ".ci").exists():  # a source distribution has none
        command = ["bash", str(ROOT / ".ci" / "run"), "--list"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True)
        assert stages < set(listed.stdout.split())


def test_example(tmp_path, monkeypatch, capsys):
    (example,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/security.md", "exec"), {})
    assert capsys.readouterr().out == "0.0\nmax_member_size large.npy\n"
