"""The benchmark suite, on next to no data: who reads what is agreed on, and what is written.

No figure matters here. What isn't installed is skipped by the suite itself, with its reason.
"""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCH = ROOT / "bench"
SUITE = (
    *("suite", "contenders", "rounds", "report", "plots", "jobs", "cache", "converted"),
    *("data", "work", "bare", "probe", "instructions"),
)
if not BENCH.is_dir():
    pytest.skip("there is no bench/ here", allow_module_level=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def suite(monkeypatch, folder):
    """module(name): one of the suite's, which are found by short names as in `python -m bench`."""
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setenv("FASTZIP_BENCH_DIR", str(folder))
    kept = {name: sys.modules.pop(name, None) for name in SUITE}
    yield importlib.import_module
    for name, module in kept.items():
        sys.modules.pop(name, None)
        if module is not None:
            sys.modules[name] = module


def run(folder, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        env=os.environ | {"FASTZIP_BENCH_DIR": str(folder), "TQDM_DISABLE": "1"},
        capture_output=True,
        text=True,
    )


# ---- a tiny run ------------------------------------------------------------------------------

READERS = "np.load;zipfile;rapidgzip;bsdtar;fastzip;fastzip, zlib-ng"


@pytest.fixture(scope="module")
def tiny(folder, tmp_path_factory):
    """A run of some readers at some tasks: its folder, and what it said."""
    pytest.importorskip("matplotlib")
    out = tmp_path_factory.mktemp("out")
    work = "check-open;check-one;check-batch;check-extract;check-epoch"
    options = ("--size", "check", "--seconds", "0.1", "--out", str(out))
    done = run(folder, *options, "--work", work, "--readers", READERS)
    assert done.returncode == 0, done.stderr
    return out, done


def test_readers_agree(tiny):
    """All that were measured have read the same; in the one order, by rounds."""
    out, _ = tiny
    found = json.loads((out / "results.json").read_text())
    assert [task["id"] for task in found["tasks"]] == [
        *("check-open", "check-one", "check-batch", "check-epoch", "check-extract"),
    ]
    order = found["about"]["order"]
    assert order == READERS.split(";")
    for task in found["tasks"]:
        assert task["wrong"] == {}
        names = [reader["reader"] for reader in task["readers"]]
        assert names == [name for name in order if name in names]
        assert {"fastzip", task["usual"]} <= set(names)
        assert set(names) | set(task["skipped"]) == set(order)
        for reader in task["readers"]:
            assert reader["rounds"]
            assert min(reader["rounds"]) <= reader["seconds"]["median"] <= max(reader["rounds"])
        assert task["readers"][0]["ratio"] == {"q1": 1, "median": 1, "q3": 1}
    assert all("resident" in reader["memory"] for reader in found["tasks"][0]["readers"])
    assert found["about"]["versions"]["numpy"] == np.__version__


def test_who_is_left_out_is_named(tiny):
    out, _ = tiny
    tasks = {task["id"]: task for task in json.loads((out / "results.json").read_text())["tasks"]}
    assert tasks["check-one"]["skipped"]["rapidgzip"] == "for large streams"
    assert tasks["check-extract"]["skipped"]["np.load"] == "doesn't extract"
    said = (out / "results.md").read_text()
    assert "| rapidgzip | for large streams | 5 tasks |" in said


def test_markdown(tiny):
    out, done = tiny
    said = (out / "results.md").read_text()
    (head,) = re.findall(r"^\| +\| np\.load \| (.+) \|$", said, re.MULTILINE)
    assert head.split(" | ")[-2:] == ["fastzip", "fastzip, zlib-ng"]
    assert re.search(r"^\| one \| [\d.]+ [µm]s \| [\d.]+ \| ", said, re.MULTILINE)
    assert "## Times faster than zipfile" in said
    assert len(re.findall(r"^### ", said, re.MULTILINE)) == 5
    assert "## Times faster than np.load" in done.stdout
    for rows in re.findall(r"(?:^\|.*\|\n)+", said, re.MULTILINE):
        assert len({row.count("|") for row in rows.splitlines()}) == 1, rows


def test_pictures(tiny):
    out, _ = tiny
    for kind in "open", "one", "batch", "epoch", "extract":
        svg = (out / f"bars-{kind}.svg").read_text()
        assert svg.startswith("<?xml")
        assert "</svg>" in svg
        assert (out / f"bars-{kind}.png").read_bytes().startswith(b"\x89PNG")
        assert f"(bars-{kind}.svg)" in (out / "results.md").read_text()


def test_usage(folder):
    done = run(folder, "--size", "huge")
    assert (done.returncode, done.stdout) == (2, "")
    done = run(folder, "--work", "nothing-*")
    assert done.returncode == 2
    assert "--list" in done.stderr
    done = run(folder, "--publish", "--size", "check")
    assert done.returncode == 2
    done = run(folder, "--list", "--size", "medium")
    assert done.returncode == 0
    assert re.search(r"^open-60k +open 60,000 members$", done.stdout, re.MULTILINE)
    assert re.search(r"^np\.load +[\d.]+", done.stdout, re.MULTILINE)


# ---- pieces ----------------------------------------------------------------------------------


def test_sizes(suite):
    """Each has all that the one before it has; all of it on sets that there are."""
    tasks, data = suite("suite").tasks, suite("data")
    quick, medium, everything = ({t.id for t in tasks(size)} for size in ("quick", "medium", "all"))
    assert quick < medium < everything
    assert everything | {t.id for t in tasks("check")} == set(suite("suite").TASKS)
    assert set(suite("suite").OVERVIEW) <= quick
    kinds = suite("jobs").KINDS
    for task in suite("suite").TASKS.values():
        assert task.set in data.SETS
        assert task.kind in kinds
    for size in "check", "quick":
        assert {t.kind for t in tasks(size)} == set(kinds)
    members = {t.x for t in tasks("all") if t.curve == "members"}
    assert members == {1_000, 60_000, 250_000, 1_000_000}
    assert {1, 2} < {t.threads for t in tasks("medium")}


def test_order(suite):
    """The suite's order, and that of `fastzip bench`, are one."""
    from fastzip._cli import bench_readers as _bench_readers

    names = list(suite("contenders").CONTENDERS)
    assert names[0] == "np.load"
    for arrays in True, False:
        shared = [n for n in _bench_readers.names(arrays) if n in names]
        assert shared == [n for n in names if n in shared]
    assert set(_bench_readers.names(True)) <= set(names)
    assert set(suite("plots").STYLES) <= set(names)
    shown = suite("report").SHOWN
    assert list(shown) == [name for name in names if name in shown]
    every = {kind for c in suite("contenders").CONTENDERS.values() for kind in c.does}
    assert every == set(suite("jobs").KINDS)
    for contender in suite("contenders").CONTENDERS.values():
        assert contender.does == every or contender.why or contender.name == "fastzip"


def test_a_missing_reader_says_so(suite, monkeypatch, tmp_path):
    """Not installed, or broken: a reason, and the others are measured."""
    (tmp_path / "cramjam.py").write_text("raise ImportError('no cramjam', name='cramjam')")
    (tmp_path / "deflate.py").write_text("def deflate_decompress(*_): return b''\ncrc32 = hash\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rounds, size = suite("rounds"), suite("suite").SIZES["check"]
    task = suite("suite").TASKS["check-one"]
    wanted = ["np.load", "libdeflate by hand", "cramjam by hand"]
    result = rounds.measure(task, wanted, size, 0.1)
    assert list(result.seconds) == ["np.load"]
    assert result.skipped["cramjam by hand"] == "not installed (cramjam)"
    assert result.skipped["libdeflate by hand"].startswith("BadZipFile: ix-")
    assert result.wrong == {}


def test_a_wrong_reader_is_not_timed(suite, monkeypatch, tmp_path):
    """Another archive's arrays are something else."""
    code = "import numpy\nreal = numpy.stack\nnumpy.stack = lambda a, **k: real(a, **k) + 1\n"
    (tmp_path / "cramjam.py").write_text(
        f"{code}import zlib\nclass deflate:\n"
        "    decompress = staticmethod(lambda d, output_len: zlib.decompress(d, -15))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rounds, size = suite("rounds"), suite("suite").SIZES["check"]
    result = rounds.measure(
        suite("suite").TASKS["check-batch"], ["np.load", "cramjam by hand"], size, 0.1
    )
    assert not result.skipped
    assert list(result.seconds) == ["np.load"]
    assert result.wrong == {"cramjam by hand": "reads something else than np.load"}


def test_a_process_that_dies(suite, monkeypatch, tmp_path):
    (tmp_path / "cramjam.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rounds, size = suite("rounds"), suite("suite").SIZES["check"]
    result = rounds.measure(
        suite("suite").TASKS["check-one"], ["np.load", "cramjam by hand"], size, 0.1
    )
    assert list(result.seconds) == ["np.load"]
    assert result.skipped["cramjam by hand"].startswith("ended with status -6")


def test_a_process_that_hangs(suite, monkeypatch, tmp_path):
    """It is ended, and named."""
    (tmp_path / "cramjam.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rounds, task = suite("rounds"), suite("suite").TASKS["check-one"]
    process = rounds.Process(suite("contenders").CONTENDERS["cramjam by hand"], task)
    try:
        with pytest.raises(rounds.Gone, match="no answer"):
            process.answer(0.2)
    finally:
        process.end()
        process.close()
    assert process.running.returncode  # asked to end, so that it can tidy up, or killed at last


def test_other_output_comes_not_between(suite, monkeypatch, tmp_path):
    """What C code writes to the standard output is no answer."""
    (tmp_path / "cramjam.py").write_text(
        "import os, zlib\nos.write(1, b'loaded\\n')\nclass deflate:\n"
        "    decompress = staticmethod(lambda d, output_len: zlib.decompress(d, -15))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rounds, size = suite("rounds"), suite("suite").SIZES["check"]
    wanted = ["np.load", "cramjam by hand"]
    result = rounds.measure(suite("suite").TASKS["check-one"], wanted, size, 0.1)
    assert list(result.seconds) == wanted


def test_cold(suite, tmp_path):
    """Either the file's pages go, or the reason is told; nothing of them is read by looking."""
    cache = suite("cache")
    path = tmp_path / "file"
    path.write_bytes(os.urandom(1 << 20))
    assert cache.cached(str(path)) == 1
    reason = ""
    try:
        cache.drop(str(path))
    except cache.StaysCached as exc:
        reason = str(exc)
    if reason:
        assert re.match(r"\d+% of the file stay|this system doesn't", reason)
    else:
        assert cache.cached(str(path)) <= cache.MOST_LEFT
        assert cache.cached(str(path)) <= cache.MOST_LEFT


def test_publish(suite, tmp_path):
    report = suite("report")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.publish(readme, "| new |")
    assert readme.read_text() == f"before\n{report.BEGIN}\n| new |\n{report.END}\nafter\n"
    readme.write_text("no marks\n")
    with pytest.raises(ValueError, match="has no lines"):
        report.publish(readme, "")
    assert readme.read_text() == "no marks\n"
    assert report.BEGIN in (ROOT / "README.md").read_text()


def test_curves_are_drawn(suite, tmp_path):
    """From results that are made up: three points, one of them without a reader."""
    pytest.importorskip("matplotlib")
    rounds, tasks, plots = suite("rounds"), suite("suite").TASKS, suite("plots")
    points = []
    for name in "open-1k", "open-60k", "open-250k":
        task = tasks[name]
        result = rounds.Result(task.title, task.unit, task=task)
        result.seconds = {"np.load": [task.x * 1e-6] * 3, "fastzip": [task.x * 1e-8] * 3}
        points.append(result)
    points[2].seconds["SPDL"] = [0.5, 0.25, 1.0]
    drawn = plots.draw(points, tmp_path)
    assert {"bars-open", "curve-members", "overview"} == set(drawn)
    assert (tmp_path / "curve-members.svg").stat().st_size < 100_000


def test_only_what_was_done_is_told(suite, tmp_path):
    """Without np.load nothing stands under its name; no picture without readers to show."""
    pytest.importorskip("matplotlib")
    rounds, report = suite("rounds"), suite("report")
    task = suite("suite").TASKS["one-small"]
    result = rounds.Result(task.title, task.unit, task=task)
    result.seconds = {"zipfile": [2.0] * 3, "fastzip": [1.0] * 3}
    assert report.overview([result]) == []
    assert json.loads(report.as_json([result], {}))["tasks"][0]["usual"] == "zipfile"
    result.seconds = {"np.load": [2.0] * 3, "zipfile": [1.0] * 3}
    assert report.overview([result]) == [result]
    assert suite("plots").draw([result], tmp_path) == ["bars-one"]


def test_instructions_say_what_lacks(suite, monkeypatch, capsys):
    instructions = suite("instructions")
    monkeypatch.setattr(instructions.shutil, "which", lambda _: None)
    monkeypatch.setattr(sys, "argv", ["instructions.py"])
    assert instructions.main() == 0
    assert capsys.readouterr().err.startswith("skipped: valgrind isn't installed")


def test_instructions_run_their_work(suite):
    """What valgrind would count does what it says, as often as it says."""
    instructions = suite("instructions")
    for work in (
        instructions.opening("check"),
        instructions.looking_up("check"),
        instructions.reading("check", 5),
        instructions.fetching("check", 20),
        instructions.padding("check-unequal", 5),
    ):
        once, twice = work(1), work(2)
        assert once
        assert len(twice) == 2 * len(once)
