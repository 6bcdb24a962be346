"""What a local header or a locator leaves unsaid is read, whichever way a member is read; what says
something else is refused, and strict=True refuses both."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_methods import PWD, compress, zip_encrypt

import fastzip

U16, U32 = 0xFFFF, 0xFFFFFFFF
NONE = {"crc": 0, "size": 0, "compressed_size": 0}
SENTINELS = {"size": U32, "compressed_size": U32}
SHIFT_JIS = "テスト.npy".encode("shift_jis")  # as zipfile understands it, text of code page 437
MOJIBAKE = SHIFT_JIS.decode("cp437").encode()
COPIES = 20  # enough members for the interleaved engine


class Made:
    """One member of an archive that is made."""

    def __init__(self, lab: Any, i: int, method: int, n: int) -> None:
        self.lab = lab
        self.name = b"k%02d.npy" % i
        self.array = lab.sparse((n,), i, "<i4")
        self.data = lab.npy(self.array)
        self.method = method
        self.packed = (
            len(compress(self.data, method)) if method != 8 else len(lab.deflate(self.data))
        )

    def member(self, **options: Any) -> Any:
        options.setdefault("name", self.name)
        return self.lab.Member(data=self.data, method=self.method, **options)

    def zip64(self, *stale: tuple[int, ...], behind: tuple[tuple[int, ...], ...] = ()) -> bytes:
        """Zip64 fields, of which one is right."""
        extra = self.lab.zip64_extra
        fields = [extra(*values) for values in stale]
        fields.append(extra(len(self.data), self.packed))
        return b"".join(fields + [extra(*values) for values in behind])

    def descriptor(self, wrong: int = 0) -> bytes:
        crc = zlib.crc32(self.data) + wrong
        return struct.pack("<4sIII", b"PK\7\x08", crc & U32, self.packed, len(self.data))


def renamed(local: bytes, central: bytes, local_flags: int, flags: int) -> Callable[[Made], Any]:
    """A name in two encodings; the number of each member is put in front."""

    def make(m: Made) -> Any:
        fields = {"name": m.name[:3] + local, "flags": local_flags}
        return m.member(name=m.name[:3] + central, flags=flags, local=fields)

    return make


# What is left unsaid -> (the code that strict=True gives, what makes such a member).
UNSAID: dict[str, tuple[str, Callable[[Made], Any]]] = {
    "bit 3 in the directory alone": ("lfh_flags", lambda m: m.member(central={"flags": 8})),
    "the same, and a zip64 field of zeros, by camlzip": (
        "lfh_flags",
        lambda m: m.member(central={"flags": 8}, local={"extra": m.lab.zip64_extra(0, 0)}),
    ),
    "the same, and sizes in a zip64 field": (
        "lfh_flags",
        lambda m: m.member(central={"flags": 8}, local=SENTINELS | {"extra": m.zip64()}),
    ),
    "the same, and no sizes": (
        "lfh_flags",
        lambda m: m.member(central={"flags": 8}, local=NONE),
    ),
    "bit 3 in the local header alone": ("lfh_flags", lambda m: m.member(local={"flags": 8})),
    "the same, and no sizes ": (
        "lfh_flags",
        lambda m: m.member(local=NONE | {"flags": 8}),
    ),
    "the same, and sizes in a zip64 field ": (
        "lfh_flags",
        lambda m: m.member(local=SENTINELS | {"flags": 8, "extra": m.zip64()}),
    ),
    "the same, and nobody's bytes behind": (
        "lfh_flags",
        lambda m: m.member(local={"flags": 8}, behind=b"nobody's bytes, and more of them"),
    ),
    **{
        f"bit 3 in the {where} alone, with a descriptor, {kind}": (
            "lfh_flags",
            lambda m, fields=fields, kind=kind: m.member(descriptor=kind, **fields),
        )
        for where, fields in (
            ("directory", {"local": {"flags": 0}}),
            ("local header", {"central": {"flags": 0}}),
        )
        for kind in ("32", "64", "sig32", "sig64")
    },
    "bit 3 in the local header alone, other sizes, and a descriptor": (
        "lfh_flags",
        lambda m: m.member(descriptor="sig32", central={"flags": 0}, local={"size": 7}),
    ),
    "bit 3 in the local header alone, and a zip64 descriptor": (
        "lfh_flags",
        lambda m: m.member(
            descriptor="sig64",
            central={"flags": 0},
            local=SENTINELS | {"extra": m.lab.zip64_extra(0, 0)},
        ),
    ),
    "bit 3 in both, no descriptor": ("descriptor", lambda m: m.member(flags=8)),
    "the same, sizes in a zip64 field": (
        "descriptor",
        lambda m: m.member(flags=8, local=SENTINELS | {"extra": m.zip64()}),
    ),
    "the same, no CRC": ("descriptor", lambda m: m.member(flags=8, local={"crc": 0})),
    "the same, and nobody's bytes behind ": (
        "descriptor",
        lambda m: m.member(flags=8, behind=b"nobody's"),
    ),
    "no sizes and no CRC": ("lfh_sizes", lambda m: m.member(local=NONE)),
    "no CRC": ("lfh_sizes", lambda m: m.member(local={"crc": 0})),
    "no sizes": ("lfh_sizes", lambda m: m.member(local={"size": 0, "compressed_size": 0})),
    "no sizes in a zip64 field": (
        "lfh_sizes",
        lambda m: m.member(local=SENTINELS | {"crc": 0, "extra": m.lab.zip64_extra(0, 0)}),
    ),
    **{
        f"a stale zip64 field of {8 * n} bytes": (
            "zip64_extra_short" if n == 1 else "zip64_extra_duplicate",
            lambda m, n=n: m.member(local=SENTINELS | {"extra": m.zip64((0,) * n)}),
        )
        for n in (1, 2, 3)
    },
    "a stale zip64 field behind": (
        "zip64_extra_duplicate",
        lambda m: m.member(local=SENTINELS | {"extra": m.zip64(behind=((5, 6),))}),
    ),
    "two zip64 fields that nobody needs": (
        "zip64_extra_duplicate",
        lambda m: m.member(local={"extra": m.lab.zip64_extra(1, 2) * 2}),
    ),
    "a stale zip64 field, and bit 3 in the directory alone": (
        "lfh_flags",
        lambda m: m.member(central={"flags": 8}, local=SENTINELS | {"extra": m.zip64((0, 0))}),
    ),
    "a name in code page 437 that is UTF-8 in the directory": (
        "lfh_name",
        renamed(SHIFT_JIS, MOJIBAKE, 0, 0x800),
    ),
    "a name in UTF-8 that is in code page 437 in the directory": (
        "lfh_name",
        renamed(MOJIBAKE, SHIFT_JIS, 0x800, 0),
    ),
    "a name of characters that take three bytes": (
        "lfh_name",
        renamed(b"\xb0" * 60, ("░" * 60).encode(), 0, 0x800),
    ),
    "a name in another encoding, and bit 3 there alone": (
        "lfh_name",
        renamed(SHIFT_JIS, MOJIBAKE, 8, 0x800),
    ),
    "a name in another encoding, no sizes": (
        "lfh_name",
        lambda m: m.member(
            name=m.name[:3] + MOJIBAKE,
            flags=0x800,
            local=NONE | {"name": m.name[:3] + SHIFT_JIS, "flags": 0},
        ),
    ),
}  # fmt: skip

# What says something else -> (the code, what makes such a member).
OTHERWISE: dict[str, tuple[str, Callable[[Made], Any]]] = {
    "bit 3 in the directory alone, another size": (
        "lfh_sizes",
        lambda m: m.member(central={"flags": 8}, local={"size": 7}),
    ),
    "bit 3 in the directory alone, a descriptor of another CRC": (
        "descriptor",
        lambda m: m.member(central={"flags": 8}, behind=m.descriptor(wrong=1)),
    ),
    "bit 3 in the local header alone, another size": (
        "lfh_sizes",
        lambda m: m.member(local={"flags": 8, "size": 7}),
    ),
    "bit 3 in the local header alone, another CRC": (
        "lfh_sizes",
        lambda m: m.member(local=NONE | {"flags": 8, "crc": 7}),
    ),
    "bit 3 in the local header alone, other sizes in a zip64 field": (
        "lfh_sizes",
        lambda m: m.member(local=SENTINELS | {"flags": 8, "extra": m.lab.zip64_extra(1, 2)}),
    ),
    "bit 3 in the local header alone, a descriptor of another CRC": (
        "descriptor",
        lambda m: m.member(local={"flags": 8}, behind=m.descriptor(wrong=1)),
    ),
    "bit 3 in the local header alone, a descriptor that is cut": (
        "descriptor",
        lambda m: m.member(local={"flags": 8}, behind=m.descriptor()[:9]),
    ),
    "bit 3 in both, no descriptor, no sizes": (
        "descriptor",
        lambda m: m.member(flags=8, local=NONE),
    ),
    "bit 3 in both, no descriptor, one size": (
        "descriptor",
        lambda m: m.member(flags=8, local={"compressed_size": 0}),
    ),
    "bit 3 in both, no descriptor, another size": (
        "descriptor",
        lambda m: m.member(flags=8, local={"size": 7}),
    ),
    "bit 3 in both, no descriptor, another CRC": (
        "descriptor",
        lambda m: m.member(flags=8, local={"crc": 7}),
    ),
    "bit 3 in both, a descriptor of another CRC": (
        "descriptor",
        lambda m: m.member(flags=8, behind=m.descriptor(wrong=1)),
    ),
    "another size, no CRC": ("lfh_sizes", lambda m: m.member(local=NONE | {"size": 7})),
    "another CRC, no sizes": ("lfh_sizes", lambda m: m.member(local=NONE | {"crc": 7})),
    "two zip64 fields, none of them right": (
        "zip64_extra_duplicate",
        lambda m: m.member(local=SENTINELS | {"extra": m.lab.zip64_extra(1, 2) * 2}),
    ),
    "two zip64 fields of zeros": (
        "zip64_extra_duplicate",
        lambda m: m.member(local=SENTINELS | {"extra": m.lab.zip64_extra(0, 0) * 2}),
    ),
    "two zip64 fields, each right by half": (
        "zip64_extra_duplicate",
        lambda m: m.member(
            local=SENTINELS
            | {"extra": m.lab.zip64_extra(len(m.data), 0) + m.lab.zip64_extra(0, m.packed)}
        ),
    ),
    "two zip64 fields in the directory": (
        "zip64_extra_duplicate",
        lambda m: m.member(central=SENTINELS | {"extra": m.zip64((0, 0))}),
    ),
    "a name that reads otherwise": ("lfh_name", renamed(b"\x82", "è".encode(), 0, 0x800)),
    "a name that begins alike": ("lfh_name", renamed(b"\x82", "éé".encode(), 0, 0x800)),
    "a name that goes on": ("lfh_name", renamed(b"\x82\x82", "é".encode(), 0, 0x800)),
    "a name without the UTF-8 flag in either": (
        "lfh_name",
        renamed(b"\x82\x82", "é".encode(), 0, 0),
    ),
    "a name with the UTF-8 flag in both": (
        "lfh_name",
        renamed(b"\x82", "é".encode(), 0x800, 0x800),
    ),
    "a name in other letters": ("lfh_name", renamed(b"A.npy", b"a.npy", 0, 0x800)),
    "a local header of encrypted data": ("lfh_flags", lambda m: m.member(local={"flags": 9})),
}


def every(lab: Any, make: Callable[[Made], Any], method: int, n: int) -> tuple[bytes, list[Made]]:
    """An archive of such members between others, tightly packed, and what it holds."""
    made = [Made(lab, i, method, n) for i in range(COPIES)]
    members = [make(m) if 0 < i < COPIES - 1 else m.member() for i, m in enumerate(made)]
    return lab.Archive(members).build(), made


@pytest.mark.parametrize(("method", "n"), [(0, 40), (0, 5000), (8, 40), (8, 3000)])
@pytest.mark.parametrize("case", UNSAID)
def test_what_is_left_unsaid_is_read(lab, save, tmp_path, case, method, n):
    data, made = every(lab, UNSAID[case][1], method, n)
    batch = np.stack([m.array for m in made])
    contents = [m.data for m in made]
    with zipfile.ZipFile(io.BytesIO(data)) as theirs:
        names = theirs.namelist()
        assert [theirs.read(name) for name in names] == contents
    path = save(data)
    for source in (data, path):
        with fastzip.NpzFile(source) as npz:
            assert [m.tolist() for m in map(npz.__getitem__, npz.files)] == batch.tolist()
            for threads in (1, 3):
                assert np.array_equal(npz.fetch(npz.files, threads=threads), batch)
            backwards = list(range(COPIES))[::-1]
            assert np.array_equal(npz.fetch(backwards), batch[::-1])
            assert np.array_equal(npz.fetch_ragged(npz.files)[0], batch.ravel())
            assert np.array_equal(npz.fetch_padded(npz.files, length=n + 3)[0][:, :n], batch)
            assert npz.spec(npz.files[1]).shape == (n,)
            assert set(npz.lengths().tolist()) == {n}
            loaded = np.concatenate(list(fastzip.Loader(npz, batch_size=7)))
            assert np.array_equal(loaded, batch)
    if method == 0:
        with fastzip.NpzFile(path, mmap_mode="r") as npz:
            assert np.array_equal(npz[npz.files[1]], made[1].array)
    with fastzip.ZipFile(path) as archive:
        assert archive.namelist() == names
        assert [archive.read(name) for name in names] == contents
        assert [archive.open(name).read() for name in names] == contents
        assert [bytes(x) for x in archive.read_many(names)] == contents
        assert archive.testzip() is None
        buffer = bytearray(len(contents[1]))
        assert archive.read_into(names[1], buffer) == len(buffer)
        assert buffer == contents[1]
        archive.extractall(tmp_path / "out")
        extracted = [(tmp_path / "out" / name).read_bytes() for name in names]
        assert extracted == contents


def codes(npz: Any, key: str, names: list[str]) -> set[str]:
    """What each way to read the member gives."""
    found = set()
    calls: list[Callable[[], Any]] = [
        lambda: npz[key],
        lambda: npz.fetch([key, key]),
        lambda: npz.fetch(names, threads=2),
        lambda: npz.fetch_ragged([key, key]),
    ]
    for call in calls:
        with pytest.raises(fastzip.BadZipFile) as info:
            call()
        found.add(info.value.code)
    return found


@pytest.mark.parametrize(("method", "n"), [(0, 5000), (8, 3000)])
@pytest.mark.parametrize("case", UNSAID)
def test_strictly_what_is_left_unsaid_is_refused(lab, save, case, method, n):
    code, make = UNSAID[case]
    data, made = every(lab, make, method, n)
    for source in (data, save(data)):
        with fastzip.NpzFile(source, strict=True) as npz:
            assert codes(npz, npz.files[1], npz.files) == {code}
            assert np.array_equal(npz[npz.files[0]], made[0].array)
            assert npz._reader.directory.row(1)[1] == len(made[1].data)
            with pytest.raises(fastzip.BadZipFile) as info:
                npz._reader.locate(1)
            assert info.value.code == code


@pytest.mark.parametrize(("method", "n"), [(0, 5000), (8, 3000)])
@pytest.mark.parametrize("case", OTHERWISE)
def test_what_says_something_else_is_refused(lab, save, case, method, n):
    code, make = OTHERWISE[case]
    data, made = every(lab, make, method, n)
    for source in (data, save(data)):
        for strict in (False, True):
            with fastzip.NpzFile(source, strict=strict) as npz:
                found = codes(npz, npz.files[1], npz.files)
                assert strict or found == {code}
                with pytest.raises(fastzip.BadZipFile) as info:
                    npz._reader.locate(1)
                assert strict or info.value.code == code
                assert np.array_equal(npz[npz.files[0]], made[0].array)


@pytest.mark.parametrize("method", [9, 12, 14, 93, 95])
@pytest.mark.parametrize("case", UNSAID)
def test_by_other_methods(lab, case, method):
    if method == 9:
        pytest.importorskip("inflate64")
    made = [Made(lab, i, method, 700) for i in range(3)]
    code, make = UNSAID[case]
    members = [make(m) for m in made]
    for m, member in zip(made, members, strict=True):
        member.body = compress(m.data, method)
        for side in (member.local, member.central):
            if method == 14 and "flags" in side:
                side["flags"] |= 2  # a marker ends the stream
        member.flags |= 2 if method == 14 else 0
    data = lab.Archive(members).build()
    npz = fastzip.NpzFile(data)
    assert np.array_equal(npz.fetch([2, 0, 1]), np.stack([made[i].array for i in (2, 0, 1)]))
    assert npz[npz.files[0]].tolist() == made[0].array.tolist()
    with pytest.raises(fastzip.BadZipFile) as info:
        fastzip.NpzFile(data, strict=True).fetch([2, 0, 1])
    assert info.value.code == code


@pytest.mark.parametrize("check", ["crc", "time"])
@pytest.mark.parametrize("where", ["local", "central"])
@pytest.mark.parametrize("descriptor", [None, "sig32"])
def test_the_check_byte_of_a_password(lab, check, where, descriptor):
    """It is of the time where bit 3 is set: zipfile looks at the directory's, Info-ZIP's unzip at
    the local one, so where they differ either will do."""
    data = lab.npy(np.arange(100))
    byte = zlib.crc32(data) >> 24 if check == "crc" else 0x6C
    body = zip_encrypt(lab.deflate(data), PWD, byte)
    other = "central" if where == "local" else "local"
    sides: dict[str, Any] = {where: {"flags": 9}, other: {"flags": 1}}
    member = lab.Member(b"a.npy", data, flags=1, body=body, descriptor=descriptor, **sides)
    archive = lab.Archive([member, lab.Member(b"b", b"other")]).build()
    assert fastzip.load(archive, pwd=PWD)["a"].tolist() == list(range(100))
    for i in range(9):
        with pytest.raises((fastzip.PasswordError, fastzip.BadZipFile)):
            fastzip.load(archive, pwd=b"wrong%d" % i)["a"]
    with pytest.raises(fastzip.BadZipFile, match="lfh_flags"):
        fastzip.load(archive, pwd=PWD, strict=True)["a"]
    both = lab.Member(b"a.npy", data, flags=9 if check == "crc" else 1, body=body)
    with pytest.raises(fastzip.PasswordError):  # they agree, and the byte is of the other kind
        fastzip.load(lab.Archive([both]).build(), pwd=PWD)["a"]


def test_empty_members(lab):
    """They have no data for a header to be right about."""
    members = [
        lab.Member(b"a/", local={"flags": 8}),
        lab.Member(b"b/", central={"flags": 8}),
        lab.Member(b"c/", flags=8),
        lab.Member("é/".encode(), flags=0x800, local={"name": b"\x82/", "flags": 8}),
        lab.Member(b"d", b"d", method=0),
    ]
    reader = fastzip.NpzFile(lab.Archive(members).build())
    assert [reader[name] for name in reader.files] == [b"", b"", b"", b"", b"d"]


# ------------------------------------------------------------------------------------- the locator


@pytest.mark.parametrize("prefix", [b"", b"#!/bin/sh\n"])
@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("plain", [True, False])
def test_a_locator_of_no_disks(lab, save, prefix, counted, plain):
    """As OneDrive and SharePoint write it, be the numbers in the plain end record or not."""
    member = lab.Member(b"a.npy", lab.npy(np.arange(9)))
    archive = lab.Archive(
        [member], zip64=True, locator={"disks": 0}, prefix=prefix, counted=counted
    )
    if plain:
        data = archive.build()
        size = len(data) - 22 - 20 - 56
        start = data.index(b"PK\1\2")
        offset = start - (0 if counted else len(prefix))
        archive.end = {"count": 1, "count_here": 1, "size": size - start, "offset": offset}
    data = archive.build()
    for source in (data, save(data)):
        assert fastzip.NpzFile(source)["a"].tolist() == list(range(9))
        assert fastzip.ZipFile(io.BytesIO(data)).namelist() == ["a.npy"]
        with pytest.raises(fastzip.BadZipFile) as info:
            fastzip.NpzFile(source, strict=True)
        assert (info.value.code, info.value.member) == ("zip64_disks", None)
    archive.locator = {"disks": 2}
    with pytest.raises(fastzip.UnsupportedError) as other:
        fastzip.NpzFile(archive.build())
    assert other.value.code == "multi_disk"
    archive.locator = {"disks": 0, "disk": 1}
    with pytest.raises(fastzip.UnsupportedError) as other:
        fastzip.NpzFile(archive.build())
    assert other.value.code == "multi_disk"


# ------------------------------------------------------------------------------------------- names


def test_the_whole_code_page(lab):
    """Each character of code page 437, in either direction, as Python decodes it."""
    for at in range(1, 256, 15):
        narrow = bytes(range(at, min(at + 15, 256)))
        wide = narrow.decode("cp437").encode()
        text = lab.Member(wide, b"data", 0, flags=0x800, local={"name": narrow, "flags": 0})
        back = lab.Member(narrow, b"data", 0, local={"name": wide, "flags": 0x800})
        for member in (text, back):
            npz = fastzip.NpzFile(lab.Archive([member]).build())
            assert npz[npz.files[0]] == b"data"


def test_names_in_an_encoding_that_the_caller_knows(lab):
    """With metadata_encoding a local name without the flag isn't in code page 437."""
    member = lab.Member(MOJIBAKE, b"data", 0, flags=0x800, local={"name": SHIFT_JIS, "flags": 0})
    data = io.BytesIO(lab.Archive([member]).build())
    name = MOJIBAKE.decode()
    for encoding in (None, "cp437", "IBM437"):
        assert fastzip.ZipFile(data, metadata_encoding=encoding).read(name) == b"data"
        assert zipfile.ZipFile(data, metadata_encoding=encoding).read(name) == b"data"
    for module in (fastzip, zipfile):
        with pytest.raises(zipfile.BadZipFile):
            module.ZipFile(data, metadata_encoding="shift_jis").read(name)


def test_what_zipfile_appends_to(lab, tmp_path):
    path = tmp_path / "appended.npz"
    path.write_bytes(lab.Archive([lab.Member(SHIFT_JIS, lab.npy(np.arange(5)), 0)]).build())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("b.npy", lab.npy(np.arange(3)))
    with fastzip.load(path) as npz, np.load(path) as theirs:
        assert npz.files == theirs.files
        assert all(np.array_equal(npz[key], theirs[key]) for key in npz.files)


def test_what_zipfile_copies(lab, tmp_path):
    """It keeps the zip64 field of the ZipInfo that it is given, and adds its own behind."""
    path = tmp_path / "copied.npz"
    for n in (8, 16, 24, 28):
        with zipfile.ZipFile(path, "w") as archive:
            for i in range(3):
                info = zipfile.ZipInfo(f"a{i}.npy")
                info.extra = struct.pack("<HH", 1, n) + bytes(n)
                with archive.open(info, "w", force_zip64=True) as file:
                    file.write(lab.npy(np.arange(5) + i))
        with fastzip.load(path) as npz:
            assert npz.fetch([2, 0, 1])[:, 0].tolist() == [2, 0, 1]
