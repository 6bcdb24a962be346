"""`fastzip.group`: samples of several members, by a pattern of their names."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest

import fastzip


def archive(lab, *names):
    """Each member holds its position."""
    members = [
        lab.Member(name.encode(), lab.npy(np.array([i])), flags=0x800)
        for i, name in enumerate(names)
    ]
    return fastzip.load(lab.Archive(members).build())


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("{sample}.{field}", ["7.x.npy", "7.y.npy", "a.b.x.npy", "a.b.y.npy"]),
        ("{field}/{sample}", ["x/7.npy", "x/a.b.npy", "y/7.npy", "y/a.b.npy"]),
        ("{sample}/{field}", ["7/x", "7/y", "a.b/x", "a.b/y"]),
        ("{sample}_{field}", ["7_x.npy", "a.b_x.npy", "a.b_y.npy", "7_y.npy"]),
        ("t+/{field}/{sample}.gz", ["t+/x/7.gz", "t+/y/a.b.gz", "t+/x/a.b.gz", "t+/y/7.gz"]),
        (re.compile(r"(?P<field>.)-(?P<sample>.*)"), ["x-7", "y-7", "x-a.b", "y-a.b"]),
        ("{sample}.{field}", ["grün/7.x", "grün/7.y", "\n.x", "\n.y"]),
    ],
    ids=str,
)
def test_patterns(lab, pattern, names):
    npz = archive(lab, *names)
    groups = fastzip.group(npz, pattern)
    samples = ["grün/7", "\n"] if "\n.x" in names else ["7", "a.b"]
    assert groups.samples == samples
    assert groups.fields == ["x", "y"]
    assert len(groups) == 2
    assert groups.others.tolist() == []
    assert groups.positions.dtype == np.int64
    for sample, row in zip(samples, groups.positions, strict=True):
        for field, position in zip("xy", row, strict=True):
            key = npz.files[position]
            assert field in key
            assert sample in key
    assert not groups.positions.flags.writeable


def test_order_and_others(lab):
    """Samples in the archive's order of their first members; what doesn't match is left out."""
    names = ["readme", "img/", "img/9", "lab/9", "img/1", "deep/img/5", "lab/5", "img/5", "lab/1"]
    npz = archive(lab, *names[:5], "deep.img/5", *names[6:])
    groups = fastzip.group(npz, "{field}/{sample}")
    assert groups.samples == ["9", "1", "5"]
    assert groups.fields == ["img", "lab"]
    assert groups.positions.tolist() == [[2, 3], [4, 8], [7, 6]]
    assert groups.others.tolist() == [0, 1, 5]
    assert repr(groups) == f"<3 samples of img, lab in {npz.index.where}>"
    swapped = fastzip.group(npz, "{field}/{sample}", fields=["lab", "img"])
    assert swapped.fields == ["lab", "img"]
    assert swapped.positions.tolist() == [[3, 2], [8, 4], [6, 7]]
    alone = fastzip.group(npz, "{field}/{sample}", fields=["lab"])
    assert (alone.samples, alone.others.tolist()) == (["9", "5", "1"], [0, 1, 2, 4, 5, 7])


def test_missing(lab):
    npz = archive(lab, "1.x", "2.x", "2.y", "3.y", "4.y", "4.x", "4.z")
    with pytest.raises(ValueError) as info:
        fastzip.group(npz, "{sample}.{field}", fields=["x", "y"])
    exc = info.value
    assert (exc.code, exc.member) == ("incomplete", "1.x")
    assert "sample '1' has '1.x', and no 'y'" in str(exc)
    with pytest.raises(ValueError, match="and no 'y' and no 'z'"):
        fastzip.group(npz, "{sample}.{field}")
    groups = fastzip.group(npz, "{sample}.{field}", fields=["x", "y"], missing="skip")
    assert groups.samples == ["2", "4"]
    assert groups.positions.tolist() == [[1, 2], [5, 4]]
    assert groups.others.tolist() == [0, 3, 6]
    none = fastzip.group(npz, "{sample}.{field}", fields=["x", "w"], missing="skip")
    assert (len(none), none.positions.shape) == (0, (0, 2))


@pytest.mark.parametrize("names", [["1.x", "1.y", "1.x"], ["1.x", "1.x.npy", "1.y"]])
def test_doubled(lab, names):
    with pytest.raises(ValueError) as info:
        fastzip.group(archive(lab, *names), "{sample}.{field}", missing="skip")
    assert info.value.code == "doubled"
    assert info.value.member == "1.x"


def test_bad_patterns(lab):
    npz = archive(lab, "1.x", "1.y")
    for bad in ("", "{sample}", "{field}", "{sample}{sample}{field}", re.compile("(?P<sample>.)"),
                "{sample}.{field}.z"):  # fmt: skip
        with pytest.raises(ValueError):
            fastzip.group(npz, bad)
    with pytest.raises(ValueError, match=r"no name matches .* such as '1\.x'"):
        fastzip.group(npz, "{field}/{sample}")
    with pytest.raises(ValueError, match="no name matches"):
        fastzip.group(archive(lab), "{field}/{sample}")
    with pytest.raises(ValueError, match="missing"):
        fastzip.group(npz, "{sample}.{field}", missing="ignore")
    with pytest.raises(TypeError, match="list of fields"):
        fastzip.group(npz, "{sample}.{field}", fields="x")


@pytest.fixture
def pairs(lab, save):
    arrays = {}
    for i in range(30):
        arrays[f"{i:02}.image"] = lab.sparse((4, 5), i)
        arrays[f"{i:02}.label"] = np.array(i)
    with fastzip.load(save(lab.npz(**arrays))) as npz:
        yield arrays, fastzip.group(npz, "{sample}.{field}")


@pytest.mark.parametrize(
    ("samples", "rows"),
    [
        (["07", "03", "07"], [7, 3, 7]),
        ([7, -1], [7, 29]),
        (np.array([3, 5], np.int8), [3, 5]),
        (slice(1, 20, 7), [1, 8, 15]),
        (range(3), [0, 1, 2]),
        (np.arange(30) > 27, [28, 29]),
        (np.array(["01", "02"]), [1, 2]),
        (np.array(["01", "02"], object), [1, 2]),
        ((name for name in ("05", "04")), [5, 4]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_fetch(pairs, samples, rows):
    arrays, groups = pairs
    samples = list(samples) if hasattr(samples, "__next__") else samples
    assert groups.rows(samples).tolist() == rows
    batch = groups.fetch(samples, threads=2)
    assert list(batch) == ["image", "label"]
    assert np.array_equal(batch["image"], np.stack([arrays[f"{row:02}.image"] for row in rows]))
    assert batch["label"].tolist() == rows
    assert list(groups.fetch(samples, ["label"])) == ["label"]
    assert groups.keys(samples, "label").tolist() == [2 * row + 1 for row in rows]


def test_no_samples(pairs):
    _, groups = pairs
    for none in ([], slice(0), np.zeros(30, bool), np.array([], int)):
        batch = groups.fetch(none)
        assert batch["image"].shape == (0, 4, 5)


def test_bad_samples(pairs):
    _, groups = pairs
    for bad, kind in (
        (["none"], KeyError), ([30], IndexError), ([-31], IndexError), ("07", TypeError),
        (np.ones(29, bool), IndexError), ([[1, 2]], TypeError), ([1.5], IndexError), (7, TypeError),
    ):  # fmt: skip
        with pytest.raises(kind):
            groups.fetch(bad)
    with pytest.raises(KeyError, match="there are image, label"):
        groups.fetch([1], ["mask"])
    with pytest.raises(TypeError, match="list of fields"):
        groups.fetch([1], "image")


def test_unequal_fields(lab):
    arrays = {f"{i}.text": np.arange(i) for i in range(5)}
    npz = fastzip.load(lab.npz(**arrays))
    groups = fastzip.group(npz, "{sample}.{field}")
    batch, lengths = npz.fetch_padded(groups.keys(["4", "2"], "text"), -1)
    assert batch.tolist() == [[0, 1, 2, 3], [0, 1, -1, -1]]
    assert lengths.tolist() == [4, 2]
    with pytest.raises(ValueError) as info:
        groups.fetch(["4", "2"])
    assert info.value.code == "unlike"


def test_damaged_member_is_named(lab):
    members = [
        lab.Member(f"{i}.{field}".encode(), lab.npy(np.arange(9)), crc=3 if i == 2 else None)
        for i in range(4)
        for field in "ab"
    ]
    groups = fastzip.group(fastzip.load(lab.Archive(members).build()), "{sample}.{field}")
    with pytest.raises(fastzip.CRCError) as info:
        groups.fetch(slice(None), ["b"])
    assert info.value.member == "2.b"
    assert groups.fetch(["0", "3"])["a"].shape == (2, 9)


def test_pickled(pairs):
    _, groups = pairs
    data = pickle.dumps(groups)
    assert len(data) < 1000
    again = pickle.loads(data)
    assert (again.samples, again.fields) == (groups.samples, groups.fields)
    assert np.array_equal(again.positions, groups.positions)
    assert np.array_equal(again.fetch([3])["image"], groups.fetch([3])["image"])
    again.npz.close()


def test_many_names(lab):
    npz = fastzip.load(lab.many(100_000))
    groups = fastzip.group(npz, re.compile(r"(?P<sample>\d{7})(?P<field>\d)"))
    assert len(groups) == 10_000
    assert groups.fields == list("0123456789")
    assert np.array_equal(groups.positions, np.arange(100_000).reshape(10_000, 10))
