"""`NpzFile.fetch`: members that are no rows, and damaged ones."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fastzip

N = 40


def test_members_that_are_no_rows(lab, made):
    members = [
        lab.Member(b"a.npy", lab.npy(np.arange(3))),
        lab.Member(b"note.txt", b"text"),
        lab.Member(b"o.npy", lab.npy(np.array([None, 1, 2]))),
        lab.Member(b"w.npy", lab.npy(np.arange(4))),
        lab.Member(b"f.npy", lab.npy(np.arange(3.0))),
        lab.Member(b"empty", b""),
        lab.Member(b"z.npy", lab.npy(np.arange(3))),
    ]
    npz = made(lab.Archive(members).build())
    for key, code, words in (
        ("note.txt", "no_array", ["not an array"]),
        ("empty", "no_array", ["not an array"]),
        ("o", "object_dtype", ["objects"]),
        ("w", "unlike", ["(4,)", "(3,)", "a.npy"]),
        ("f", "unlike", ["float64", "int64", "a.npy"]),
    ):
        for keys in (["a", key, "z"], ["a", "z", key], ["a", "a", "z", key, "note.txt"]):
            for threads in (1, 2):
                with pytest.raises(ValueError) as info:
                    npz.fetch(keys, threads=threads)
                exc = info.value
                name = key if "." in key or key == "empty" else f"{key}.npy"
                assert exc.member == name
                assert exc.code == code
                assert exc.failed[0] == (key, code)
                for word in [name, *words]:
                    assert word in str(exc)
    for key, code in (("note.txt", "no_array"), ("empty", "no_array"), ("o", "object_dtype")):
        with pytest.raises(ValueError) as info:
            npz.fetch([key])
        assert info.value.code == code
    npz.allow_pickle = True
    with pytest.raises(ValueError, match="objects"):
        npz.fetch(["o"])


@pytest.mark.parametrize("n", [10, 20_000])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_first_failure_in_the_order_of_keys(lab, made, n, threads):
    bad = {3: "crc", 4: "password", 20: "lfh_magic", 30: "crc", 38: "stream", 39: "method"}
    members = []
    for i in range(N):
        member = lab.Member(b"k%d.npy" % i, lab.npy(lab.sparse(n, i)), method=8 if i % 3 else 0)
        if bad.get(i) == "crc":
            member.crc = 7
        elif bad.get(i) == "password":
            member.flags, member.method = 1, 8
        elif bad.get(i) == "stream":
            member.method, member.body = 12, b"whatever" * 9
        elif bad.get(i) == "lfh_magic":
            member.local = {"magic": b"none"}
        elif bad.get(i) == "method":
            member.method, member.body = 97, b"whatever"
        members.append(member)
    npz = made(lab.Archive(members).build())
    rng = np.random.default_rng(n)
    for _ in range(12):
        keys = rng.permutation(N).tolist()
        first = next(key for key in keys if key in bad)
        with pytest.raises(
            (fastzip.BadZipFile, fastzip.UnsupportedError, fastzip.PasswordError)
        ) as info:
            npz.fetch(keys, threads=threads)
        exc = info.value
        assert exc.member == f"k{first}.npy"
        assert exc.code == bad[first]
        assert exc.failed[0] == (f"k{first}", bad[first])
        assert set(exc.failed) <= {(f"k{i}", code) for i, code in bad.items()}
        copy = pickle.loads(pickle.dumps(exc))
        assert (copy.code, copy.failed) == (exc.code, exc.failed)
    good = [i for i in range(N) if i not in bad]
    got = npz.fetch(good, threads=threads)
    assert np.array_equal(got, np.stack([lab.sparse(n, i) for i in good]))


def test_rows_that_did_not_fail_are_written(lab, made):
    members = [
        lab.Member(b"%d" % i, lab.npy(lab.sparse(9000, i)), crc=5 if i == 7 else None)
        for i in range(20)
    ]
    npz = made(lab.Archive(members).build())
    out = np.zeros((20, 9000), "u1")
    with pytest.raises(fastzip.CRCError) as info:
        npz.fetch(slice(None), out=out)
    assert info.value.failed == [("7", "crc")]
    for i in set(range(20)) - {7}:
        assert np.array_equal(out[i], lab.sparse(9000, i))
