"""The command line: every verb on good and bad archives, statuses, one-line errors, JSON."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastzip
from fastzip._cli import console as _console
from fastzip._cli import info as _cmd_info
from fastzip._cli import machine as _machine
from fastzip._cli import members as _members
from fastzip._cli import survey as _survey
from fastzip._cli.command import main, make_parser

HOSTILE = {
    "esc\x1b[31mred": r"esc\x1b[31mred",
    "line\nbreak\ttab": r"line\nbreak\ttab",
    "back\\slash": r"back\\slash",
    "del\x7f\x9bc1": r"del\x7f\x9bc1",
    "right\u202eleft": r"right\u202eleft",
    "snow\u2603": "snow\u2603",
}
TEXTS = {"a/one.txt": b"one\n" * 500, "a/two.txt": b"two\n" * 300, "b/three.bin": bytes(range(256))}


def archive_of(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 5, 17, 9, 30, 2)), data, method)
    return file.getvalue()


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lab: Any) -> Path:
    """A folder with archives of all kinds, which is the current one."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("texts.zip").write_bytes(archive_of(TEXTS))
    alike: dict[str, Any] = {f"k{i:02}": rng.integers(0, 9, (5, 7)) for i in range(40)}
    np.savez_compressed("alike.npz", **alike)
    np.savez("mixed.npz", f=np.asfortranarray(np.ones((3, 4))), i=np.arange(5, dtype=">i4"),
             o=np.array([1, "x"], object))  # fmt: skip
    Path("hostile.zip").write_bytes(archive_of(dict.fromkeys(HOSTILE, b"?")))
    Path("empty.zip").write_bytes(archive_of({}))
    bad = [lab.Member(b"good0", b"fine"), lab.Member(b"crc", b"x" * 60, crc=1),
           lab.Member(b"long", b"y" * 50, size=20), lab.Member(b"good1", b"fine too")]  # fmt: skip
    Path("bad.zip").write_bytes(lab.Archive(bad).build())
    Path("text.zip").write_bytes(b"this is no archive\n" * 50)
    Path("short.zip").write_bytes(archive_of(TEXTS)[:-10])
    Path("nothing.zip").write_bytes(b"")
    Path("folder").mkdir()
    return tmp_path


def run(*arguments: str, capsys: Any) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = int(stop.code or 0)
    said = capsys.readouterr()
    return status, said.out, said.err


# ---- what goes wrong -------------------------------------------------------------------------

VERBS = {
    "ls": ["ls", "FILE"],
    "ls -l": ["ls", "-l", "FILE"],
    "ls --npy": ["ls", "--npy", "FILE"],
    "ls --json": ["ls", "--json", "--npy", "FILE"],
    "info": ["info", "FILE"],
    "test": ["test", "FILE"],
    "cat": ["cat", "FILE", "x"],
    "extract": ["extract", "FILE", "-d", "new"],
    "bench": ["bench", "FILE", "--seconds", "0.1"],
}
UNUSABLE = {
    "missing.zip": "ENOENT",
    "folder": "EISDIR",
    "text.zip": "no_eocd",
    "short.zip": "(no_eocd|comment_length|too_short|cd_range)",
    "nothing.zip": "(too_short|empty)",
    "/dev/null": "ESPIPE",
}


@pytest.mark.parametrize(("verb", "path"), list(itertools.product(VERBS, UNUSABLE)))
def test_unusable_archives_are_one_line(verb: str, path: str, files: Path, capsys: Any) -> None:
    arguments = [path if word == "FILE" else word for word in VERBS[verb]]
    status, out, err = run(*arguments, capsys=capsys)
    assert (status, out) == (1, "")
    assert re.fullmatch(rf"fastzip: .*{path}.* \[{UNUSABLE[path]}(, [^\]]*)?\]\n", err), err
    assert not Path("new").exists()


def test_no_permission(files: Path) -> None:
    """Root may read everything, so it becomes somebody else for that."""
    path = files / "texts.zip"
    path.chmod(0)
    code = (
        "import os, sys\n"
        "from fastzip._cli.command import main, make_parser\n"
        "make_parser().parse_args(['ls', ''])  # imports what somebody else can't\n"
        "if not os.geteuid(): os.setuid(65534)\n"
        f"sys.exit(main(['ls', {str(path)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"fastzip: {path}: Permission denied [EACCES]\n"


@pytest.mark.parametrize("verb", ["ls", "cat", "extract"])
def test_no_such_member(verb: str, files: Path, capsys: Any) -> None:
    status, out, err = run(verb, "texts.zip", "a/one.txt", "no\x1bne*", capsys=capsys)
    assert status == 1
    assert err == "fastzip: texts.zip: no member matches 'no\\x1bne*' [no_member]\n"
    assert ("a/one.txt" in out) == (verb == "ls"), "what is there is listed, as ls does it"
    assert not Path("a").exists()


USAGE = [
    "nosuch", "ls", "cat texts.zip", "test", "ls -l --json texts.zip", "ls --npy -1 texts.zip",
    "extract texts.zip -o -n", "test --threads 0 texts.zip", "test -t many texts.zip",
    "test -t 1025 texts.zip",
    "bench texts.zip --seconds 0", "bench texts.zip --seconds nan", "completion tcsh",
    "ls -p -P x texts.zip", "info",
]  # fmt: skip


@pytest.mark.parametrize("arguments", USAGE)
def test_bad_usage(arguments: str, files: Path, capsys: Any) -> None:
    status, out, err = run(*arguments.split(), capsys=capsys)
    assert (status, out) == (2, "")
    assert err.startswith("usage: fastzip")


def test_without_arguments_the_help_is_printed(capsys: Any) -> None:
    """As pip does it: nothing was asked for, and nothing failed."""
    status, out, err = run(capsys=capsys)
    assert (status, err) == (0, "")
    assert out == run("-h", capsys=capsys)[1]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ("inf texts.zip", "info"),
        ("Extract texts.zip", "extract"),
        ("dcotor", "doctor"),
        ("--versin", "--version"),
        ("ls --jsno texts.zip", "--json"),
        ("bench texts.zip --secnds=5", "--seconds"),
        ("extract --overwite texts.zip", "--overwrite"),
        ("zzzz", None),
        ("ls --zzzz texts.zip", None),
    ],
)
def test_misspelt_words(arguments: str, meant: str | None, files: Path, capsys: Any) -> None:
    status, out, err = run(*arguments.split(), capsys=capsys)
    assert (status, out) == (2, "")
    said = re.search(r"; did you mean '(.*)'\?\n\Z", err)
    assert (said and said[1]) == meant
    assert not Path("a").exists()


@pytest.mark.parametrize("verb", ["cat", "extract", "ls"])
def test_misspelt_members(verb: str, files: Path, capsys: Any) -> None:
    for path, wanted, meant in [
        ("alike.npz", "k01.np", "k01"), ("alike.npz", "K17.npy", "k17"),
        ("texts.zip", "a/oen.txt", "a/one.txt"), ("texts.zip", "b/thr?.bin", "b/three.bin"),
    ]:  # fmt: skip
        status, _, err = run(verb, path, wanted, capsys=capsys)
        told = f"no member matches {wanted!r}; did you mean {meant!r}? [no_member]"
        assert (status, err) == (1, f"fastzip: {path}: {told}\n")
        assert run("ls", path, meant, capsys=capsys)[0] == 0
    assert "mean" not in run(verb, "empty.zip", "k01", capsys=capsys)[2]


def test_notes_are_told(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """What was added to an exception comes out with it, as harmless as all else."""
    for error, told in [
        (FileNotFoundError(2, "Not here", "x.npz"), "x.npz: Not here; a\\x1b b; c [ENOENT]"),
        (KeyError("x_trian is not a file in the archive"),
         "x_trian is not a file in the archive; a\\x1b b; c"),
    ]:  # fmt: skip
        error.add_note("a\x1b\nb")
        error.add_note("c")

        def fail(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(_members, "open_archive", fail)
        assert run("ls", "x.npz", capsys=capsys) == (1, "", f"fastzip: {told}\n")


def test_misspelt_files(files: Path, capsys: Any) -> None:
    for verb in ("ls", "info", "test", "bench", "demo"):
        for path in ("alik.npz", "alike"):
            status, out, err = run(verb, path, capsys=capsys)
            assert (status, out, err.count("\n")) == (1, "", 1)
            assert "'alike.npz'" in err


@pytest.mark.parametrize("verb", ["", *VERBS, "demo", "doctor", "completion"])
def test_help(verb: str, capsys: Any) -> None:
    status, out, _ = run(*verb.split()[:1], "-h", capsys=capsys)
    assert status == 0
    assert ("examples:" in out) == bool(verb)
    assert max(map(len, out.splitlines())) <= 100


# ---- ls --------------------------------------------------------------------------------------


def test_ls(files: Path, capsys: Any) -> None:
    status, out, err = run("ls", "texts.zip", capsys=capsys)
    assert (status, err) == (0, "")
    assert out.splitlines() == [
        "2000  deflate   a/one.txt",
        "1200  deflate   a/two.txt",
        " 256  deflate   b/three.bin",
    ]
    assert run("ls", "-1", "texts.zip", "*.txt", capsys=capsys)[1] == "a/one.txt\na/two.txt\n"
    assert run("ls", "empty.zip", capsys=capsys) == (0, "", "")


def test_ls_long_agrees_with_zipfile(files: Path, capsys: Any) -> None:
    for path in ("texts.zip", "alike.npz", "hostile.zip"):
        lines = run("ls", "-l", path, capsys=capsys)[1].splitlines()
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
        assert len(lines) == len(infos)
        for line, info in zip(lines, infos, strict=True):
            size, packed, method, crc, day, time, *_ = line.split()
            assert (int(size), int(packed)) == (info.file_size, info.compress_size)
            assert (method, int(crc, 16)) == ("deflate", info.CRC)
            assert f"{day} {time}" == "{}-{:02}-{:02} {:02}:{:02}:{:02}".format(*info.date_time)
            assert line.endswith(f"  {_console.escape(info.filename)}")


def test_ls_impossible_dates(files: Path, lab: Any, capsys: Any) -> None:
    member = lab.Member(b"x", b"data", central={"date": 0, "time": 0xFFFF})
    Path("date.zip").write_bytes(lab.Archive([member]).build())
    assert json.loads(run("ls", "--json", "date.zip", capsys=capsys)[1])["date"] is None
    columns = run("ls", "-l", "date.zip", capsys=capsys)[1].split()
    assert columns[-1] == "x"
    assert len(columns) == 5


def test_ls_npy(files: Path, capsys: Any) -> None:
    out = run("ls", "--npy", "mixed.npz", capsys=capsys)[1].splitlines()
    assert [line.split()[2:] for line in out] == [
        ["float64", "(3,4)", "f.npy"],
        [">i4", "(5,)", "i.npy"],
        ["object", "(2,)", "o.npy"],
    ]
    assert run("ls", "--npy", "texts.zip", "a/one*", capsys=capsys)[1].split()[2:4] == ["-", "-"]


def test_ls_json(files: Path, lab: Any, capsys: Any) -> None:
    lines = run("ls", "--json", "--npy", "mixed.npz", capsys=capsys)[1].splitlines()
    first = json.loads(lines[0])
    with zipfile.ZipFile("mixed.npz") as archive:
        info = archive.infolist()[0]
    assert first == {
        "name": "f.npy", "size": info.file_size, "compressed_size": info.compress_size,
        "method": "stored", "encrypted": False, "crc": f"{info.CRC:08x}",
        "date": "1980-01-01T00:00:00", "dtype": "float64", "shape": [3, 4], "fortran_order": True,
    }  # fmt: skip
    out = run("ls", "--json", "hostile.zip", capsys=capsys)[1]
    assert [json.loads(line)["name"] for line in out.splitlines()] == list(HOSTILE)
    member = lab.Member(b"x.npy", lab.npy(np.arange(3)), local={"magic": b"PK\3\5"})
    Path("magic.zip").write_bytes(lab.Archive([member]).build())
    (damaged,) = run("ls", "--json", "--npy", "magic.zip", capsys=capsys)[1].splitlines()
    assert json.loads(damaged)["error"] == "lfh_magic"
    assert "[lfh_magic]" in run("ls", "--npy", "magic.zip", capsys=capsys)[1]


def test_hostile_names(files: Path, capsys: Any) -> None:
    for option in ("-1", "-l", "--npy"):
        out = run("ls", option, "hostile.zip", capsys=capsys)[1]
        for line, name in zip(out.splitlines(), HOSTILE.values(), strict=True):
            assert line == name or line.endswith(f" {name}")
    assert run("ls", "-0", "hostile.zip", capsys=capsys)[1] == "".join(f"{n}\0" for n in HOSTILE)


def test_names_that_the_encoding_lacks(files: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fastzip", "ls", "-1", "hostile.zip"],
        env=dict(os.environ, PYTHONIOENCODING="ascii"), capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == b"snow\\u2603"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("k07", ["k07.npy"]),
        ("k07.npy", ["k07.npy"]),
        ("k0[12].npy", ["k01.npy", "k02.npy"]),
        ("k?9*", ["k09.npy", "k19.npy", "k29.npy", "k39.npy"]),
    ],
)
def test_patterns(pattern: str, found: list[str], files: Path, capsys: Any) -> None:
    assert run("ls", "-1", "alike.npz", pattern, capsys=capsys)[1].splitlines() == found


def test_a_name_that_looks_like_a_pattern(files: Path, capsys: Any) -> None:
    Path("odd.zip").write_bytes(archive_of({"[a]": b"right", "a": b"also", "dup": b"1"}))
    assert run("ls", "-1", "odd.zip", "[a]", capsys=capsys)[1] == "[a]\na\n"
    assert run("cat", "odd.zip", "[a]", capsys=capsys)[1] == "right"


# ---- info, doctor ----------------------------------------------------------------------------


def info(path: str, *options: str, capsys: Any) -> tuple[dict[str, Any], set[str]]:
    status, out, err = run("info", "--json", path, *options, capsys=capsys)
    assert (status, err) == (0, "")
    found = json.loads(out)
    return found, {advice["code"] for advice in found["advice"]}


def test_info(files: Path, capsys: Any) -> None:
    found, advice = info("alike.npz", capsys=capsys)
    assert (found["members"], found["methods"]["deflate"]["members"]) == (40, 40)
    assert found["arrays"] == [
        {"dtype": "int64", "shape": [5, 7], "fortran_order": False, "members": 40}
    ]
    assert found["sampled_all"]
    assert advice == {"alike", "good"}
    text = run("info", "alike.npz", capsys=capsys)[1]
    assert "40 of int64 (5,7)" in text
    assert "[good]" in text
    found, advice = info("mixed.npz", capsys=capsys)
    assert found["stored_arrays"]["looked_at"] == 3
    assert advice == {"unlike", "objects", "converted"}
    found, advice = info("empty.zip", capsys=capsys)
    assert (found["members"], advice) == (0, set())
    assert run("info", "empty.zip", capsys=capsys)[0] == 0


def test_info_counts_alignment(files: Path, lab: Any, capsys: Any) -> None:
    """Data that begin at a multiple of 64 are told from others."""
    array = lab.npy(np.arange(16.0))
    for pad in range(64):
        member = lab.Member(
            b"x.npy", array, method=0, local={"extra": b"\0\0" + bytes([pad, 0]) + bytes(pad)}
        )
        Path("a.npz").write_bytes(lab.Archive([member]).build())
        found, _ = info("a.npz", capsys=capsys)
        offset = 30 + 5 + 4 + pad + 128
        assert found["stored_arrays"]["aligned_64"] == (offset % 64 == 0), pad
        assert found["stored_arrays"]["aligned_for_dtype"] == (offset % 8 == 0)


def many_small(n: int) -> dict[str, bytes]:
    return {f"{i:05}": b"%d" % i for i in range(n)}


def test_info_advice(files: Path, lab: Any, capsys: Any) -> None:
    noise = np.random.default_rng(0).bytes(5000)
    cases = {
        "tiny": archive_of(many_small(1200)),
        "incompressible": archive_of({"noise": noise}),
        "slow_method": archive_of({"x": b"text" * 50}, zipfile.ZIP_LZMA),
        "nested": archive_of({"part.npz": b"text" * 50}),
        "others": archive_of({"x.npy": lab.npy(np.arange(3)), "readme": b"text" * 50}),
        "encrypted": lab.Archive([lab.Member(b"x", b"secret" * 9, flags=1)]).build(),
        "duplicates": lab.Archive([lab.Member(b"x", b"1"), lab.Member(b"x", b"2")]).build(),
        "unreadable": lab.Archive([lab.Member(b"x", b"1", method=98, body=b"1")]).build(),
        "damaged": lab.Archive([lab.Member(b"x", b"1" * 60, local={"magic": b"PK\3\5"})]).build(),
    }  # fmt: skip
    for code, data in cases.items():
        Path("case.zip").write_bytes(data)
        found, advice = info("case.zip", capsys=capsys)
        assert code in advice, (code, advice, found)
        assert "good" not in advice
        assert f"[{code}]" in run("info", "case.zip", capsys=capsys)[1]


def test_info_samples(files: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(_survey, "SAMPLE", 10)
    found, _ = info("alike.npz", capsys=capsys)
    assert (found["sampled"], found["sampled_all"]) == (10, False)
    assert found["arrays"][0]["members"] == 10
    assert "10 members were looked at" in run("info", "alike.npz", capsys=capsys)[1]
    found, _ = info("alike.npz", "--all", capsys=capsys)
    assert (found["sampled"], found["sampled_all"]) == (40, True)


def test_info_names_what_exists() -> None:
    """Advice speaks of methods that there are."""
    text = Path(_cmd_info.__file__).read_text()
    named = set(re.findall(r"(NpzFile|ZipFile)\.(\w+)", text))
    assert len(named) >= 3
    assert not {(cls, name) for cls, name in named if not hasattr(getattr(fastzip, cls), name)}


def test_doctor(files: Path, capsys: Any) -> None:
    status, out, err = run("doctor", "--json", ".", "/proc", capsys=capsys)
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["engines"] == fastzip.engines()
    assert found["threads"]["batch"] == fastzip.get_num_threads()
    assert found["versions"]["numpy"] == np.__version__
    assert [path["type"] for path in found["paths"]][1] == "proc"
    text = run("doctor", capsys=capsys)[1]
    assert f"numpy {np.__version__}" in text
    assert run("doctor", "missing", capsys=capsys)[2] == (
        "fastzip: missing: No such file or directory [ENOENT]\n"
    )


@pytest.mark.parametrize(
    ("line", "kind", "name"),
    [
        ("ext4 /dev/sda1 rw", "local disk", "ext4"),
        ("nfs4 host:/share rw", "network", "nfs4"),
        ("fuse.sshfs host: rw", "user space", "fuse.sshfs"),
        ("overlay overlay rw", "container layers", "overlay"),
        ("drvfs C: rw", "Windows drive", "drvfs"),
        ("tmpfs tmpfs rw", "memory", "tmpfs"),
        ("whatever x rw", "other", "whatever"),
    ],
)
def test_file_systems(line: str, kind: str, name: str, tmp_path: Path) -> None:
    place = tmp_path / "with space"
    place.mkdir()
    listing = tmp_path / "mountinfo"
    mount = str(place).replace(" ", "\\040")
    listing.write_text(
        f"1 0 8:1 / / rw - ext2 /dev/root rw\n2 1 0:9 / {mount} rw shared:1 - {line}\nbroken\n"
    )
    found = _machine.mount_of(str(place), listing)
    assert (found.kind, found.type, found.mount) == (kind, name, str(place))
    assert _machine.mount_of(str(tmp_path), listing).type == "ext2"
    assert _machine.mount_of(str(tmp_path), tmp_path / "missing").type == "unknown"


# ---- test ------------------------------------------------------------------------------------


def test_test(files: Path, capsys: Any) -> None:
    good = "texts.zip: ok, 3 members, 3.4 KiB\n"
    assert run("test", "texts.zip", capsys=capsys) == (0, good, "")
    assert run("test", "-q", "texts.zip", "alike.npz", capsys=capsys) == (0, "", "")
    status, out, err = run("test", "bad.zip", capsys=capsys)
    assert (status, err) == (1, "")
    crc, long, summary = out.splitlines()
    assert re.fullmatch(r"bad\.zip: crc: the bytes don't have .* \[crc, at byte \d+\]", crc)
    assert long.startswith("bad.zip: long: ")
    assert "[too_long" in long
    assert summary == "bad.zip: 2 of 4 members are bad"
    assert run("test", "-q", "bad.zip", capsys=capsys)[0] == 1


def test_test_goes_on_after_a_bad_archive(files: Path, capsys: Any) -> None:
    status, out, err = run("test", "text.zip", "texts.zip", "missing", capsys=capsys)
    assert (status, err) == (1, "")
    lines = out.splitlines()
    assert "[no_eocd" in lines[0]
    assert lines[1].startswith("texts.zip: ok")
    assert lines[2] == "missing: No such file or directory [ENOENT]"


def test_test_large_members(
    files: Path, lab: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Those that are decoded in pieces, one thread each."""
    from fastzip._zip import stream as _stream

    monkeypatch.setattr(_stream, "WHOLE", 100)
    sizes = {b"a": 5000, b"b": 10, b"c": 7000, b"d": 6000}
    members = [lab.Member(k, k * n, crc=1 if k in b"ac" else None) for k, n in sizes.items()]
    Path("large.zip").write_bytes(lab.Archive(members).build())
    status, out, _ = run("test", "large.zip", "-t", "3", capsys=capsys)
    assert status == 1
    assert {line.split(": ")[1] for line in out.splitlines()[:-1]} == {"a", "c"}
    assert out.count("[crc") == 2


# ---- cat, extract ----------------------------------------------------------------------------


def test_cat(files: Path, capfdbinary: Any) -> None:
    assert main(["cat", "texts.zip", "b/three.bin", "a/one.txt"]) == 0
    assert capfdbinary.readouterr().out == TEXTS["b/three.bin"] + TEXTS["a/one.txt"]
    assert main(["cat", "texts.zip", "a/*"]) == 0
    assert capfdbinary.readouterr().out == TEXTS["a/one.txt"] + TEXTS["a/two.txt"]
    assert main(["cat", "alike.npz", "k03"]) == 0
    out = capfdbinary.readouterr().out
    np.testing.assert_array_equal(np.load(io.BytesIO(out)), np.load("alike.npz")["k03"])


def test_cat_of_damage_writes_nothing(files: Path, capsys: Any) -> None:
    status, out, err = run("cat", "bad.zip", "crc", capsys=capsys)
    assert (status, out) == (1, "")
    assert "bad.zip: crc: " in err
    assert "[crc" in err


def test_cat_npy(files: Path, capsys: Any) -> None:
    assert run("cat", "--npy", "mixed.npz", "i", capsys=capsys) == (0, "[0 1 2 3 4]\n", "")
    status, out, err = run("cat", "--npy", "texts.zip", "a/one.txt", capsys=capsys)
    assert (status, out) == (1, "")
    assert err.endswith("[no_array]\n")
    assert run("cat", "--npy", "mixed.npz", "o", capsys=capsys)[2].endswith(" [pickle]\n")


def tree(folder: str) -> dict[str, bytes]:
    base = Path(folder)
    return {
        str(path.relative_to(base)): path.read_bytes() for path in base.rglob("*") if path.is_file()
    }


def test_extract(files: Path, capsys: Any) -> None:
    status, out, err = run("extract", "texts.zip", "-d", "new/deep", capsys=capsys)
    assert (status, out, err) == (0, "texts.zip: 3 files extracted\n", "")
    assert tree("new/deep") == TEXTS
    assert run("extract", "texts.zip", "a/*", "-q", "-d", "some", capsys=capsys) == (0, "", "")
    assert set(tree("some")) == {"a/one.txt", "a/two.txt"}
    assert stat.S_IMODE(Path("some/a/one.txt").stat().st_mode) & 0o600 == 0o600


def test_extract_over_files_that_are_there(files: Path, capsys: Any) -> None:
    Path("new/a").mkdir(parents=True)
    mine = Path("new/a/two.txt")
    mine.write_bytes(b"mine")
    arguments = ("extract", "texts.zip", "-d", "new")
    status, out, err = run(*arguments, capsys=capsys)
    assert (status, out) == (1, "")
    assert err == (
        "fastzip: new/a/two.txt: is there already; -o replaces it, -n keeps it [EEXIST]\n"
    )
    assert tree("new") == {"a/two.txt": b"mine"}, "nothing is written"
    status, out, _ = run(*arguments, "-n", capsys=capsys)
    assert (status, out) == (0, "texts.zip: 2 files extracted, 1 kept as they were\n")
    assert tree("new") == TEXTS | {"a/two.txt": b"mine"}
    assert run(*arguments, "-o", capsys=capsys)[0] == 0
    assert tree("new") == TEXTS


def test_extract_goes_on_after_damage(files: Path, capsys: Any) -> None:
    status, out, err = run("extract", "bad.zip", "-d", "new", capsys=capsys)
    assert status == 1
    assert out == "bad.zip: 2 files extracted, 2 bad\n"
    assert [re.search(r": (\w+): .*\[(\w+)\]$", line).groups() for line in err.splitlines()] == [
        ("crc", "crc"),
        ("long", "too_long"),
    ]  # type: ignore[union-attr]
    assert tree("new") == {"good0": b"fine", "good1": b"fine too"}


def test_extract_stays_inside(files: Path, capsys: Any) -> None:
    Path("evil.zip").write_bytes(
        archive_of({"../../up": b"1", "/top": b"2", "..": b"3", "x": b"4"})
    )
    for option in ("-q", "-n"):  # the second time into a folder that is there
        status, _, err = run("extract", option, "evil.zip", "-d", "in/new", capsys=capsys)
        assert status == 1
        assert err.endswith(" [name]\n")
    assert tree("in/new") == {"up": b"1", "top": b"2", "x": b"4"}
    assert set(os.listdir("in")) == {"new"}
    Path("out").mkdir()
    Path("in/new/a").symlink_to(files / "out")
    status, _, err = run("extract", "texts.zip", "-d", "in/new", capsys=capsys)
    assert status == 1
    assert err.endswith(" [link_outside]\n")
    assert not os.listdir("out")


def test_extract_where_nobody_may_write(files: Path, capsys: Any) -> None:
    Path("file").write_bytes(b"")
    status, out, err = run("extract", "texts.zip", "-d", "file", capsys=capsys)
    assert (status, out) == (1, "")
    assert re.fullmatch(r"fastzip: .*file.* \[(EEXIST|ENOTDIR)\]\n", err)


# ---- passwords -------------------------------------------------------------------------------


@pytest.fixture
def secret(files: Path, faultlab: Any) -> str:
    if faultlab.SANITIZED:
        pytest.skip("pycryptodomex opens its libraries with RTLD_DEEPBIND, which ASan forbids")
    pyzipper = pytest.importorskip("pyzipper")
    with pyzipper.AESZipFile("secret.zip", "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"open sesame")
        archive.writestr("x", b"treasure")
    return "secret.zip"


def test_passwords(secret: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    status, out, err = run("cat", secret, "x", capsys=capsys)
    assert (status, out) == (1, "")
    assert "[password" in err
    status, out, _ = run("test", secret, capsys=capsys)
    assert status == 1
    assert "[password" in out
    assert run("cat", "-P", "open sesame", secret, "x", capsys=capsys)[:2] == (0, "treasure")
    assert "[wrong_password" in run("cat", "-P", "guess", secret, "x", capsys=capsys)[2]
    asked = []
    monkeypatch.setattr(
        _members.getpass, "getpass", lambda prompt: asked.append(prompt) or "open sesame"
    )
    assert run("test", "-p", secret, capsys=capsys)[0] == 0
    assert run("extract", "-p", secret, "-d", "new", "-q", capsys=capsys) == (0, "", "")
    assert tree("new") == {"x": b"treasure"}
    assert asked == ["password of secret.zip: "] * 2
    assert run("ls", secret, capsys=capsys)[1].split() == ["8", "aes", "x"]
    assert json.loads(run("ls", "--json", secret, capsys=capsys)[1])["encrypted"]


# ---- bench, completion -----------------------------------------------------------------------


@pytest.mark.parametrize("path", ["alike.npz", "texts.zip", "mixed.npz"])
def test_bench(path: str, files: Path, capsys: Any) -> None:
    before = fastzip.engines(), zipfile.crc32, fastzip._core.lanes_from()
    status, out, err = run("bench", path, "--seconds", "0.2", "--json", capsys=capsys)
    assert (status, err) == (0, "")
    found = json.loads(out)
    names = [reader["reader"] for reader in found["tasks"][0]["readers"]]
    assert names[0] == ("np.load" if path == "alike.npz" else "zipfile")
    assert {"fastzip", "fastzip, zlib-ng"} <= set(names) or fastzip.engines()["forced"]
    for task in found["tasks"]:
        for reader in task["readers"]:
            rounds = reader["rounds"]
            assert rounds
            assert all(seconds > 0 for seconds in rounds)
            assert min(rounds) <= reader["seconds"]["median"] <= max(rounds)
        assert task["readers"][0]["ratio"]["median"] == 1
    assert before == (fastzip.engines(), zipfile.crc32, fastzip._core.lanes_from())
    text = run("bench", path, "--seconds", "0.1", capsys=capsys)[1]
    assert "np.load + zlib-ng" in text or path != "alike.npz"


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_bench_plot(suffix: str, files: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    plot = f"plot.{suffix}"
    assert run("bench", "alike.npz", "--seconds", "0.1", "--plot", plot, capsys=capsys)[0] == 0
    start = Path(plot).read_bytes()[:60]
    assert start.startswith(b"\x89PNG") or b"<?xml" in start
    for name in ("plot.txt", "no/plot.png"):
        status, out, err = run("bench", "alike.npz", "--plot", name, capsys=capsys)
        assert (status, out) == (1, "")
        assert err.count("\n") == 1


def test_bench_finds_a_difference(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    real = np.load

    class Wrong:
        """Reads one more than there is."""

        def __init__(self, path: str) -> None:
            self.npz = real(path)

        def __getitem__(self, key: str) -> Any:
            return self.npz[key] + 1

        def close(self) -> None:
            self.npz.close()

    monkeypatch.setattr("fastzip._cli.bench_readers.np.load", Wrong)
    status, out, err = run("bench", "alike.npz", "--seconds", "0.1", capsys=capsys)
    assert (status, out) == (1, "")
    assert "reads something else [differ]" in err


def test_bench_of_nothing(files: Path, capsys: Any) -> None:
    status, _, err = run("bench", "empty.zip", capsys=capsys)
    assert status == 1
    assert err.endswith(" [no_member]\n")
    assert "[crc" in run("bench", "bad.zip", "--seconds", "0.1", capsys=capsys)[2]


def completed(words: str) -> set[str]:
    """What bash would offer for the last of these words."""
    listed = words.split(" ")
    script = (
        f'eval "$({sys.executable} -m fastzip completion bash)"\n'
        f"COMP_WORDS=({' '.join(repr(w) for w in listed)}); COMP_CWORD={len(listed) - 1}\n"
        '_fastzip; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return set(done.stdout.split())


def test_completion_in_bash(files: Path) -> None:
    verbs = set(_verbs())
    assert completed("fastzip ") == verbs | {"-h", "--help", "--version"}
    assert completed("fastzip ex") == {"extract"}
    assert completed("fastzip ls --j") == {"--json"}
    assert "--overwrite" in completed("fastzip extract texts.zip -")
    assert completed("fastzip ls te") == {"texts.zip", "text.zip"}
    assert completed("fastzip completion ") == {"bash", "fish", "zsh"}
    assert completed("fastzip extract -d fo") == {"folder"}


def _verbs() -> list[str]:
    from fastzip._cli.completion import verbs_of

    return [verb.name for verb in verbs_of(make_parser())]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_parse(shell: str, capsys: Any) -> None:
    status, out, _ = run("completion", shell, capsys=capsys)
    assert status == 0
    for verb in _verbs():
        assert verb in out
    command = [shell, "--no-execute"] if shell == "fish" else [shell, "-n"]
    try:
        done = subprocess.run(command, input=out, text=True, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"no {shell}")
    assert (done.returncode, done.stderr) == (0, "")
