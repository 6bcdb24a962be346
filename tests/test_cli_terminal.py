"""The command line as a process: on a real terminal, in pipes, interrupted, with many members."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forking import forks

COMMAND = [sys.executable, "-m", "fastzip"]
COLOUR = re.compile(r"\x1b\[(?:0|[\d;]+)m")


class Terminal:
    """A command with a terminal of its own, which is its controlling one."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TQDM_DISABLE")}
        environment |= {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)} | variables
        with forks():
            self.pid, self.master = pty.fork()
        if self.pid == 0:  # pragma: no cover
            try:
                fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
                signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's "&" may have ignored it
                os.execve(sys.executable, [*COMMAND, *arguments], environment)
            finally:
                os._exit(127)
        self.seen = ""

    def read(self, until: str | None = None, seconds: float = 60) -> str:
        """All that it shows, or what it shows until then."""
        end = time.monotonic() + seconds
        while until is None or until not in self.seen:
            left = end - time.monotonic()
            if left < 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"nothing more after: {self.seen[-500:]!r}")
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # EIO: the other side is closed
                piece = b""
            if not piece:
                break
            self.seen += piece.decode("utf-8", "replace")
        return self.seen

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def terminal() -> Any:
    """terminal(arguments…) -> Terminal; closed, and its process ended, afterwards."""
    started: list[Terminal] = []

    def start(*arguments: str, **variables: str) -> Terminal:
        started.append(Terminal(*arguments, **variables))
        return started[-1]

    yield start
    for one in started:
        os.close(one.master)
        try:
            os.kill(one.pid, signal.SIGKILL)
            os.waitpid(one.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


Start = Callable[..., Terminal]


@pytest.fixture
def archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("small.zip", "w") as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/file", "content")
        archive.writestr("evil\x1b]0;title\x07\x1b[31m", "!")
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {f"a{i}": rng.integers(0, 9, 500) for i in range(300)}
    np.savez_compressed("arrays.npz", **arrays)
    return tmp_path


def test_colours_on_a_terminal(archives: Path, terminal: Start) -> None:
    shown = terminal("ls", "-1", "small.zip").read()
    assert "\x1b[1;34mfolder/\x1b[0m\r\n" in shown
    assert "\r\nfolder/file\r\n" in shown
    assert r"evil\x1b]0;title\x07\x1b[31m" in shown
    shown = terminal("test", "small.zip").read()
    assert "\x1b[32mok\x1b[0m" in shown


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.parametrize(
    "arguments", [("ls", "-l", "small.zip"), ("info", "small.zip"), ("doctor",)]
)
def test_no_colours(
    arguments: tuple[str, ...], variables: dict[str, str], archives: Path, terminal: Start
) -> None:
    running = terminal(*arguments, **variables)
    assert "\x1b" not in running.read()
    assert running.status() == 0
    assert "\x1b" in terminal(*arguments, NO_COLOR="").read()


def test_bars(archives: Path, terminal: Start) -> None:
    pytest.importorskip("tqdm")
    arguments = ("test", "arrays.npz")
    assert "testing arrays.npz" in terminal(*arguments).read()
    for others in ({"TQDM_DISABLE": "1"}, {"TERM": "dumb"}):
        shown = terminal(*arguments, **others).read()
        assert "testing" not in shown
        assert "ok" in shown
    assert terminal("test", "-q", "arrays.npz").read() == ""
    shown = terminal("extract", "arrays.npz", "-d", "new").read()
    assert "extracting" in shown
    assert "300 files extracted" in shown


def test_no_bars_and_colours_in_pipes(archives: Path) -> None:
    for arguments in (["test", "arrays.npz"], ["ls", "-1", "small.zip"], ["doctor"]):
        done = subprocess.run([*COMMAND, *arguments], capture_output=True, check=True)
        assert b"\x1b" not in done.stdout
        assert done.stderr == b""


def test_bad_members_beside_a_bar(archives: Path, lab: Any, terminal: Start) -> None:
    members = [lab.Member(b"m%d" % i, b"x" * 999, crc=None if i % 3 else 1) for i in range(9)]
    Path("bad.zip").write_bytes(lab.Archive(members).build())
    running = terminal("test", "bad.zip", NO_COLOR="1")
    lines = re.split(r"[\r\n]+", running.read())
    assert [line for line in lines if line.endswith("]") and "[crc" in line] == [
        line for line in lines if "[crc" in line
    ], "each on a line of its own"
    assert sum("[crc" in line for line in lines) == 3
    assert running.status() == 1


def test_the_password_is_asked_for_and_not_shown(
    archives: Path, terminal: Start, faultlab: Any
) -> None:
    if faultlab.SANITIZED:
        pytest.skip("pycryptodomex opens its libraries with RTLD_DEEPBIND, which ASan forbids")
    pyzipper = pytest.importorskip("pyzipper")
    with pyzipper.AESZipFile("secret.zip", "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"sesame")
        archive.writestr("x", b"treasure")
    running = terminal("cat", "-p", "secret.zip", "x")
    running.read(until="password of secret.zip: ")
    running.type("sesame\n")
    shown = running.read()
    assert shown.endswith("treasure")
    assert "sesame" not in shown
    assert running.status() == 0


@pytest.mark.parametrize("arguments", [
    ("bench", "arrays.npz", "--seconds", "100"),
    ("cat", "-p", "small.zip", "folder/file"),
])  # fmt: skip
def test_ctrl_c(arguments: tuple[str, ...], archives: Path, terminal: Start) -> None:
    pytest.importorskip("tqdm")
    running = terminal(*arguments)
    running.read(until="measuring" if arguments[0] == "bench" else "password")
    running.type("\x03")
    shown = running.read()
    assert "Traceback" not in shown
    assert running.status() == 130


def test_ctrl_c_while_listing(archives: Path, many: Path) -> None:
    """The pipe is full, so it waits."""
    child = subprocess.Popen(
        [*COMMAND, "ls", str(many)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    with child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.read(10)
        child.send_signal(signal.SIGINT)
        while child.stdout.read(1 << 20):
            pass
        assert child.stderr.read() == b""
    assert child.returncode == 130


# ---- pipes -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(lab: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An archive of a million members."""
    path = tmp_path_factory.mktemp("many") / "many.zip"
    path.write_bytes(lab.many(1_000_000, zip64=True))
    yield path
    path.unlink()


def peak(pid: int) -> int:
    """The most memory that a process had, in KiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", text)[1])  # type: ignore[index]


def test_a_million_members_stream(many: Path, faultlab: Any) -> None:
    """The first lines are there before the others are made, and memory doesn't grow with them."""
    with subprocess.Popen([*COMMAND, "ls", "-l", str(many)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        before = peak(child.pid)
        assert first.split()[-1] == b"00000000"
        lines, last = 1, b""
        grown = before
        while piece := child.stdout.read(1 << 20):
            lines += piece.count(b"\n")
            last = piece
            if child.poll() is None and len(piece) == 1 << 20:
                grown = max(grown, peak(child.pid))
    assert child.returncode == 0
    assert lines == 1_000_000
    assert last.endswith(b"  00999999\n")
    assert grown - before < 20_000 or faultlab.SANITIZED


@pytest.mark.parametrize("arguments", [
    ["ls"], ["ls", "--json"], ["ls", "-0"], ["ls", "-1"],
])  # fmt: skip
def test_closed_pipe(arguments: list[str], many: Path) -> None:
    command = [*COMMAND, *arguments, str(many)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as child:  # type: ignore[call-overload]
        assert child.stdout.read(5)
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 141


@pytest.mark.parametrize("arguments", [
    ["cat", "small.zip", "folder/file"], ["info", "small.zip"], ["doctor", "--json"], ["-h"],
    ["test", "small.zip"], ["completion", "bash"],
])  # fmt: skip
def test_output_that_nobody_takes(arguments: list[str], archives: Path) -> None:
    """A pipe that is closed from the start; a disk that is full; no standard output at all."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == (0 if arguments == ["-h"] else 141)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE)
    if arguments != ["-h"]:
        assert done.returncode == 1
        assert done.stderr == b"fastzip: [Errno 28] No space left on device [ENOSPC]\n"


def test_no_standard_output(archives: Path) -> None:
    for arguments in ("test small.zip", "ls small.zip", "cat small.zip folder/file"):
        script = f"exec {sys.executable} -m fastzip {arguments} >&-"
        done = subprocess.run(["bash", "-c", script], stderr=subprocess.PIPE, check=False)
        assert done.returncode == 1
        assert done.stderr == b"fastzip: standard output: Bad file descriptor [EBADF]\n"


def test_bytes_go_through_as_they_are(archives: Path) -> None:
    data = np.random.default_rng(0).bytes(3 << 20) + b"\r\n\x1a"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", data)
    Path("x.zip").write_bytes(file.getvalue())
    done = subprocess.run([*COMMAND, "cat", "x.zip", "x"], capture_output=True, check=True)
    assert done.stdout == data
