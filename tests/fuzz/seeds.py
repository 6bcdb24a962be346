"""Named small archives and .npy files to begin with. Usage: seeds.py FOLDER

They are made with the builder that the tests use; nothing is taken from elsewhere."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
from parts import builder

Archive, Member = builder.Archive, builder.Member
TEXT = b"".join(b"%d, %d; " % (i * i % 251, i % 7) for i in range(80))


def archives() -> dict[str, bytes]:
    """Every kind of archive that is read, and some that are not."""
    plain = [Member(b"a.npy", builder.npy(np.arange(5))), Member(b"b.txt", TEXT)]
    stored = [Member(b"a", TEXT, method=0), Member(b"b", TEXT[:99], method=0)]
    extra = builder.zip64_extra
    numpys = {"size": 0xFFFFFFFF, "compressed_size": 0xFFFFFFFF}
    large = bytes(range(256)) * 20
    inner = Archive(stored).build()
    out = {
        "empty": Archive([]),
        "plain": Archive(plain),
        "stored": Archive(stored),
        "comment": Archive(plain, comment=b"a comment with PK\5\6 in it"),
        "behind": Archive(stored, trailing=b"\n" * 9),
        "prefix-counted": Archive(plain, prefix=b"#!/bin/sh\n"),
        "prefix": Archive(plain, prefix=b"#!/bin/sh\n", counted=False),
        "zip64": Archive(plain, zip64=True),
        "zip64-prefix": Archive(stored, zip64=True, prefix=b"MZ......", counted=False),
        "zip64-sector": Archive(
            stored, zip64=True, record={"record_size": 50, "sector": b"sector"}
        ),
        "signature": Archive(plain, directory_tail=b"PK\5\5\4\0abcd"),
        "gap": Archive([Member(b"a", TEXT, behind=b"nobody's"), stored[1]]),
        "order": Archive([*plain, *stored], order=[2, 0, 3, 1]),
        "twins": Archive([Member(b"a", b"1"), Member(b"a", b"2"), Member(b"a.npy", b"3")]),
        "nested": Archive([Member(b"inner.zip", inner, method=0)]),
        "empties": Archive([Member(b"d/", method=0), Member(b"e"), Member(b"f", method=0)]),
        "java-empty": Archive([Member(b"d/", body=b"\3\0"), stored[0]]),
        "names": Archive(
            [Member("é.npy".encode(), TEXT, flags=0x800), Member(b"\x82", TEXT), Member(b"", b"x")]
        ),
        "levels": Archive(
            [Member(b"l%d" % n, large, body=builder.deflate(large, n)) for n in (0, 1, 9)]
            + [Member(b"s%d" % n, TEXT, body=builder.deflate(TEXT, 6, n)) for n in (1, 2, 3, 4)]
        ),
        "direct": Archive([Member(b"%d" % n, large, method=0) for n in range(3)]),
        "many": Archive([Member(b"m%02d" % n, b"%4d" % n, method=0) for n in range(40)]),
        "alike": Archive([Member(b"m%02d" % n, b"%9d" % n * 30) for n in range(12)]),
        "bomb": Archive([Member(b"zeros", bytes(200_000))]),
        "npz": builder.npz(x=np.arange(6).reshape(2, 3), y=np.ones(3, ">f4")),
        "npz-stored": builder.npz(False, x=np.arange(6), y=np.arange(6) * 2),
        "padding": Archive([Member(b"p", TEXT, local={"extra": b"\0" * 3})]),
        "local-zip64": Archive(
            [
                Member(b"n", b"abc", method=0, local={**numpys, "extra": extra(3, 3)}),
                Member(b"o", b"abc", method=0, central={**numpys, "extra": extra(3, 3)}),
            ]
        ),
        "encrypted": Archive([Member(b"a", TEXT, flags=1), stored[0]]),
        "method": Archive([Member(b"a", TEXT, local={"method": 9}, central={"method": 9})]),
    }
    none = {"size": 0, "compressed_size": 0, "crc": 0}
    stale = extra(0, 0) + extra(len(TEXT), len(TEXT))
    unsaid = [
        Member(b"a", TEXT, central={"flags": 8}, local={"extra": extra(0, 0)}),
        Member(b"b", TEXT, local=none | {"flags": 8}),
        Member(b"c", TEXT, flags=8),
        Member(b"d", TEXT, local=none),
        Member(b"e", TEXT, method=0, local=numpys | {"extra": stale}),
        Member("é".encode(), TEXT, flags=0x800, local={"name": b"\x82", "flags": 0}),
        Member(b"\x82", TEXT, local={"name": "é".encode(), "flags": 0x800}),
    ]
    out["unsaid"] = Archive(unsaid)
    out["unsaid-descriptors"] = Archive(
        [
            Member(b"%d" % i, TEXT, 8 * (i % 2), descriptor="sig32", **{side: {"flags": 0}})
            for i, side in enumerate(("local", "central", "local", "central"))
        ]
    )
    out["no-disks"] = Archive(plain, zip64=True, locator={"disks": 0})
    out["entry-twice"] = Archive(plain, order=[0, 1, 0])
    out["entry-often"] = Archive(plain, order=[0, 0, 1, 0])
    for kind in ("32", "64", "sig32", "sig64"):
        members = [Member(b"a", TEXT, descriptor=kind), Member(b"b", large, 0, descriptor=kind)]
        out[f"descriptor-{kind}"] = Archive(members)
    return {k: v if isinstance(v, bytes) else v.build() for k, v in out.items()}


def arrays() -> dict[str, bytes]:
    """.npy files: dtypes, orders, versions, spellings."""
    fields = np.array([(1, 2.0)], [("x", "<i4"), ("y", ">f8", (2,))])
    made: dict[str, Any] = {
        **{f"dtype-{c}": np.zeros(3, c) for c in "?bBhHiIlLqQefdgFDGSUVmM"},
        "scalar": np.array(7),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(4, dtype=">i2"),
        "none": np.zeros((0, 5)),
        "unit": np.array(["2020-01-01"], "M8[D]"),
        "text": np.array(["ab", "cde"]),
        "fields": fields,
        "deep": np.zeros((1,) * 20, "i1"),
    }
    out = {name: builder.npy(array) for name, array in made.items()}
    for version in ((2, 0), (3, 0)):
        file = io.BytesIO()
        np.lib.format.write_array(file, np.arange(3), version=version)
        out[f"version-{version[0]}"] = file.getvalue()
    text, raw = builder.header_text, builder.raw_npy
    out["long"] = raw(text("<i4", (3,)).replace("3", "3L"), bytes(12))
    out["object"] = raw(text("|O", (1,)), b"\x80\4N.")
    out["sub-array"] = raw(text("(2,)<f4", (3,)), bytes(24))
    out["behind"] = raw(text("<i4", (1,)), bytes(9))
    out["short"] = raw(text("<i4", (9, 9)), bytes(9))
    out["huge"] = raw(text("<i4", (1 << 40, 1 << 40)))
    return out


def unequal() -> dict[str, bytes]:
    """Archives of arrays that differ in the length of axis 0, and of some that don't belong."""
    rng = np.random.default_rng(7)

    def sparse(n: int, trail: tuple[int, ...] = (), dtype: str = "<f4") -> Any:
        return builder.sparse((n, *trail), n + 1, dtype)

    def archive(arrays: list[Any], stored: int = 99) -> bytes:
        contents = [a if isinstance(a, bytes) else builder.npy(a) for a in arrays]
        members = [
            Member(b"k%02d.npy" % i, c, 8 if i % stored else 0) for i, c in enumerate(contents)
        ]
        return Archive(members).build()

    small, large = [0, 1, 9, 10, 3, 120, 99, 0, 7], [3000, 0, 2500, 4000, 1, 2, 3100, 5000]
    zeros = [np.zeros(n, "u1") for n in (9000, 30_000, 128, 65_000, 12_000)]
    text, raw = builder.header_text, builder.raw_npy
    second = io.BytesIO()
    np.lib.format.write_array(second, sparse(5), version=(2, 0))
    odd = [sparse(4), second.getvalue(), np.float32(3), raw(text("<f4", (2,)), bytes(9))]
    return {
        "small": archive([sparse(n) for n in small]),
        "half-stored": archive([sparse(n) for n in small], 2),
        "large": archive([sparse(n) for n in large[:5]]),
        "zeros": archive(zeros),
        "zeros-stored": archive(zeros[:1] + zeros[2:3] * 4, 3),
        "rows": archive([sparse(n, (2, 3), "<i2") for n in (1, 300, 0, 77, 9)]),
        "narrow": archive([rng.integers(0, 2, n, bool) for n in small]),
        "swapped": archive([sparse(n, (), ">f8") for n in small[:5]] + [sparse(3, (), "<f8")]),
        "fortran": archive([np.asfortranarray(sparse(n, (3,))) for n in (2, 5, 9)]),
        "unlike": archive([sparse(4), sparse(4, (2,)), sparse(4, (), "<i4")]),
        "no-bytes": archive([np.zeros((n, 0), "<f4") for n in (3, 0, 99)]),
        "odd": archive([sparse(3), *odd]),
    }


def write(folder: Path) -> None:
    """One folder for each target."""
    kinds = {"npy": arrays(), "unequal": unequal()} | dict.fromkeys(
        ("directory", "members", "differential"), archives()
    )
    for target, files in kinds.items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / target / name).write_bytes(data)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
