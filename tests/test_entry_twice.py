"""The same entry twice in the directory: both are read. In any other way members that share their
bytes are refused."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest
from test_unsaid import Made

import fastzip


@pytest.mark.parametrize("order", [[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 1, 0]])
@pytest.mark.parametrize(("method", "n"), [(0, 40), (0, 5000), (8, 3000)])
@pytest.mark.parametrize("descriptor", [None, "sig32"])
def test_an_entry_twice(lab, save, tmp_path, order, method, n, descriptor):
    made = [Made(lab, i, method, n) for i in range(2)]
    members = [m.member(descriptor=descriptor) for m in made]
    data = lab.Archive(members, order=order).build()
    batch = np.stack([made[i].array for i in order])
    for source in (data, save(data)):
        with fastzip.NpzFile(source) as npz:
            assert npz.files == [made[i].name[:-4].decode() for i in order]
            assert np.array_equal(npz.fetch(range(len(order))), batch)
            assert np.array_equal(npz.fetch(npz.files), batch)
            assert np.array_equal(npz.fetch_ragged(range(len(order)))[0], batch.ravel())
            assert npz.index.find("k00.npy") == len(order) - 1 - order[::-1].index(0)
        with pytest.raises(fastzip.BadZipFile) as info:
            fastzip.NpzFile(source, strict=True)
        assert info.value.code == "duplicate_name"
    with fastzip.ZipFile(io.BytesIO(data)) as archive:
        assert [archive.read(x) for x in archive.infolist()] == [made[i].data for i in order]
        assert archive.testzip() is None
        archive.extractall(tmp_path / "out")
        assert (tmp_path / "out" / "k00.npy").read_bytes() == made[0].data
    total = sum(len(made[i].data) for i in order)
    assert len(fastzip.NpzFile(data, max_total_size=total)) == len(order)
    with pytest.raises(fastzip.LimitError) as limit:  # both count
        fastzip.NpzFile(data, max_total_size=total - 1)
    assert limit.value.code == "max_total_size"


def refused(data: bytes, positions: Any) -> None:
    npz = fastzip.NpzFile(data)
    for i in positions:
        for call in (lambda i=i: npz.fetch([i, i]), lambda i=i: npz._reader.data(i)):
            with pytest.raises(fastzip.BadZipFile) as info:
                call()
            assert info.value.code == "overlap"


@pytest.mark.parametrize("many", [3, 4, 1000])
def test_an_entry_more_often(lab, many):
    """It would be a bomb: each entry of 46 bytes and its name stands for all of the member."""
    member = lab.Member(b"k", bytes(1000))
    refused(lab.Archive([member], order=[0] * many).build(), {0, 1, many - 1})


def test_an_entry_twice_but_for_a_byte(lab):
    """Each byte of it counts, also where it decides nothing of how the member is read."""
    member = lab.Member(b"k", bytes(1000), central={"comment": b"comment", "extra": b"UT\1\0x"})
    data = lab.Archive([member, lab.Member(b"z", b"end")], order=[0, 1, 0]).build()
    start = data.rindex(b"PK\1\2")
    same = fastzip.NpzFile(data)
    assert same._reader.data(0) == same._reader.data(2) == bytes(1000)
    harmless = [*range(4, 6), *range(12, 16), *range(36, 42), *range(52, 59)]
    for at in harmless:
        changed = bytearray(data)
        changed[start + at] ^= 1
        refused(bytes(changed), [0, 2])
        assert fastzip.NpzFile(bytes(changed))["z"] == b"end"
    longer = lab.Archive(
        [member, member], order=[0, 1]
    ).build()  # two members, alike but for the offset
    both = fastzip.NpzFile(longer)
    assert both._reader.data(0) == both._reader.data(1) == bytes(1000)


def test_entries_twice_and_others_that_overlap(lab):
    """A member that reaches into one that has two entries is refused, and neither of the two is."""
    inner = lab.Member(b"k", b"inner" * 9, method=0)
    body = inner.local_bytes()
    outer = lab.Member(b"o", body, method=0)
    again = lab.Member(b"k", b"inner" * 9, method=0)
    data = lab.Archive([outer, lab.Member(b"z", b"end")]).build()
    start, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    entry = again.central_bytes(data.index(body))
    directory = data[start:end] + entry * 2
    tail = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 4, 4, len(directory), start, 0)
    npz = fastzip.NpzFile(data[:start] + directory + tail)
    refused(data[:start] + directory + tail, [0])
    assert [npz._reader.data(i) for i in (1, 2, 3)] == [b"end", b"inner" * 9, b"inner" * 9]


def test_a_directory_that_has_changed_since(lab, save):
    """What makes two entries the same is looked at when a member is first read."""
    path = save(lab.Archive([lab.Member(b"k", bytes(1000))], order=[0, 0]).build())
    with fastzip.ZipFile(path) as archive:
        data = bytearray(path.read_bytes())
        data[data.rindex(b"PK\1\2") + 12] ^= 1
        path.write_bytes(data)
        with pytest.raises(fastzip.BadZipFile) as info:
            archive.read("k")
        assert info.value.code == "overlap"
    path.write_bytes(lab.Archive([lab.Member(b"k", bytes(1000))], order=[0, 0]).build())
    with fastzip.ZipFile(path) as archive, open(path, "r+b") as file:
        file.truncate(60)
        with pytest.raises(fastzip.TruncatedError):
            archive.read("k")
        with pytest.raises(fastzip.TruncatedError):
            archive.read_many(["k"])
