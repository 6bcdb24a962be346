"""The pairs around `ZipFile`: A is the standard library's, B is ours."""

import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import data
from work import DRAWS, Pair, positions

import fastzip

MANY = 256


def names(name: str, count: int) -> list[list[str]]:
    return [[data.NAME.format(i) + ".txt" for i in draw] for draw in positions(name, count)]


@contextmanager
def opened(name: str) -> Iterator[tuple[zipfile.ZipFile, fastzip.ZipFile]]:
    path = data.path(name)
    with zipfile.ZipFile(path) as theirs, fastzip.ZipFile(path) as ours:
        yield theirs, ours


@contextmanager
def opening(name: str) -> Iterator[Pair]:
    """Open an archive."""
    path = data.path(name)
    if zipfile.ZipFile(path).namelist() != fastzip.ZipFile(path).namelist():
        raise AssertionError("A and B list different members")

    def side(kind: Any) -> Callable[[Any], object]:
        def call(_: Any) -> None:
            kind(path).close()

        return call

    yield Pair("zipfile", "fastzip", side(zipfile.ZipFile), side(fastzip.ZipFile), [None])


@contextmanager
def reading(name: str, count: int) -> Iterator[Pair]:
    """`read`, one member after the other, in random order."""
    with opened(name) as (theirs, ours):
        drawn = names(name, count)
        if [theirs.read(n) for n in drawn[0]] != [ours.read(n) for n in drawn[0]]:
            raise AssertionError("A and B differ")

        def side(archive: zipfile.ZipFile) -> Callable[[list[str]], object]:
            def call(draw: list[str]) -> None:
                for member in draw:
                    archive.read(member)

            return call

        size = theirs.getinfo(drawn[0][0]).file_size
        yield Pair("zipfile", "fastzip", side(theirs), side(ours), drawn, count, size)


@contextmanager
def reading_many(name: str, threads: int) -> Iterator[Pair]:
    """256 members: `read` for each, and `read_many`."""
    with opened(name) as (theirs, ours):
        drawn = names(name, MANY)
        if [theirs.read(n) for n in drawn[0]] != list(map(bytes, ours.read_many(drawn[0]))):
            raise AssertionError("A and B differ")
        yield Pair(
            *("zipfile", "fastzip"),
            lambda draw: [theirs.read(member) for member in draw],
            lambda draw: ours.read_many(draw, threads=threads),
            drawn,
            MANY,
            theirs.getinfo(drawn[0][0]).file_size,
        )


@contextmanager
def testing(name: str, threads: int) -> Iterator[Pair]:
    """`testzip` of the whole archive."""
    with opened(name) as (theirs, ours):
        if theirs.testzip() is not None or ours.testzip() is not None:
            raise AssertionError("a member is damaged")
        yield Pair(
            *("zipfile", "fastzip"),
            lambda _: theirs.testzip(),
            lambda _: ours.testzip(threads=threads),
            [None],
            data.SETS[name].members,
        )


def _same_files(one: str, other: str) -> None:
    if subprocess.run(["diff", "-rq", one, other], check=False).returncode:
        raise AssertionError("A and B extract different files")


@contextmanager
def extracting(name: str, threads: int, against: str = "zipfile") -> Iterator[Pair]:
    """`extractall` of the whole archive, each time into a new folder.

    In memory where there is /dev/shm: ext4 looks through the inodes that were freed lately before
    it makes a file, which costs up to a millisecond each after the last round's were deleted.
    """
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="fastzip-bench-", dir=base)
    made: list[str] = []

    def new() -> str:
        made.append(tempfile.mkdtemp(dir=folder))
        return made[-1]

    def reset() -> None:
        while made:
            shutil.rmtree(made.pop())

    path = data.path(name)
    try:
        with opened(name) as (theirs, ours):

            def usual(_: Any) -> None:
                if against == "unzip":
                    subprocess.run(["unzip", "-q", path, "-d", new()], check=True)
                else:
                    theirs.extractall(new())

            def native(_: Any) -> None:
                ours.extractall(new(), threads=threads)

            usual(None)
            native(None)
            _same_files(*made)
            members = data.SETS[name].members
            yield Pair(against, "fastzip", usual, native, [None] * DRAWS, members, reset=reset)
    finally:
        shutil.rmtree(folder)
