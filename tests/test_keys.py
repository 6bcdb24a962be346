"""Names and positions by one rule, and what is said of those that aren't there."""

from __future__ import annotations

import contextlib
import copy
import gc
import io
import pickle
import subprocess
import sys
import traceback
import weakref
import zipfile

import numpy as np
import pytest

import fastzip
from fastzip import errors

N = 6


@pytest.fixture
def npz(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"k{i}": np.full(3, i) for i in range(N)})
    with fastzip.load(tmp_path / "a.npz") as opened:
        yield opened


@pytest.fixture(params=["native", "listed", "standard"])
def archive(request, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        for i in range(N):
            file.writestr(f"k{i}", str(i) * 3)
    if request.param == "standard":
        with open(tmp_path / "a.zip", "rb") as source, fastzip.ZipFile(Other(source)) as opened:
            assert opened._reader is None
            yield opened
        return
    with fastzip.ZipFile(tmp_path / "a.zip") as opened:
        if request.param == "listed":
            opened.infolist()
        yield opened


class Other:
    """A file that the standard library reads."""

    def __init__(self, file):
        self.file = file

    def __getattr__(self, name):
        return getattr(self.file, name)


def several(npz):
    """Each call that takes keys, giving the numbers of the members that it read."""
    return {
        "fetch": lambda keys: npz.fetch(keys)[:, 0].tolist(),
        "fetch_padded": lambda keys: npz.fetch_padded(keys)[0][:, 0].tolist(),
        "fetch_ragged": lambda keys: npz.fetch_ragged(keys)[0][::3].tolist(),
        "lengths": lambda keys: [None] * len(npz.lengths(keys)),
        "Loader": lambda keys: next(iter(fastzip.Loader((npz, keys), batch_size=99)))[
            :, 0
        ].tolist(),
        "Padded": lambda keys: [None] * len(fastzip.Padded(npz, keys)),
        "Ragged": lambda keys: [None] * len(fastzip.Ragged(npz, keys)),
    }


GOOD = [
    (["k1", "k0"], [1, 0]),
    (("k1", np.str_("k2")), [1, 2]),
    ([-1, 0], [5, 0]),
    ([np.int8(2), 3, np.uint64(4)], [2, 3, 4]),
    (["k1", -1, np.int64(0)], [1, 5, 0]),
    (np.array([1, -2], np.int16), [1, 4]),
    (np.array(["k3", "k1"]), [3, 1]),
    (np.array(["k3", 1, np.int32(-1)], object), [3, 1, 5]),
    (np.array([2, 1], object), [2, 1]),
    (range(4, 1, -1), [4, 3, 2]),
    (slice(None, None, 3), [0, 3]),
    ([True, False, False, True, False, False], [0, 3]),
    ([np.True_, False, False, True, False, False], [0, 3]),
    (np.arange(N) > 3, [4, 5]),
    (memoryview(np.array([3, 2])), [3, 2]),
]
BAD = [
    (
        "k1",
        TypeError,
        "a list of .* is wanted, not str; for one: \\['k1'\\]|list of keys, not the one key 'k1'",
    ),
    (np.str_("k1"), TypeError, "for one: \\['k1'\\]|the one key 'k1'"),
    (b"k1", TypeError, "a list of .* is wanted, not bytes|list of keys, not the one key b'k1'"),
    (bytearray(b"\1"), TypeError, "not bytearray"),
    (3, TypeError, "not int; for one: \\[3\\]"),
    (np.array(3), TypeError, "a list of .* is wanted"),
    (None, TypeError, "not NoneType"),
    ({"k1", "k2"}, TypeError, "not set, whose order differs .* sorted"),
    (frozenset(["k1"]), TypeError, "not frozenset, whose order"),
    (set(), TypeError, "not set, whose order"),
    ({"k1": 1}.keys() | {"k2"}, TypeError, "not set"),
    ({"k1": 1}.items(), TypeError, "one-dimensional|name or a position|not tuple"),
    ([True, 2], TypeError, "a key must be a name or a position, not bool"),
    ([2, np.True_], TypeError, "a key must be a name or a position, not bool"),
    (["k1", True], TypeError, "a key must be a name or a position, not bool"),
    (np.array([1, True], object), TypeError, "not bool"),
    ([1.0], TypeError, "not float64"),
    ([1, 2.0], TypeError, "not float"),
    ([None], TypeError, "not NoneType"),
    ([b"k1"], TypeError, "not "),
    ([[1], [2]], TypeError, "one-dimensional"),
    ([N], IndexError, "position 6 is out of range for an archive of 6 members"),
    ([-N - 1, "k1"], IndexError, "position -7"),
    ([1 << 70], IndexError, "position 1180591620717411303424"),
    ([True], IndexError, "the boolean mask has 1 elements for 6 members"),
    (["k1", "k9"], KeyError, "k9"),
    ([0, "k9"], KeyError, "k9"),
]


@pytest.mark.parametrize("call", several(None))
def test_keys(npz, call):
    read = several(npz)[call]
    for keys, expected in GOOD:
        got = read(keys)
        assert got == (expected if got[0] is not None else [None] * len(expected)), keys
    for ordered in (
        lambda: (name for name in ("k2", "k1")),
        lambda: dict.fromkeys(["k2", "k1"]),
        lambda: dict.fromkeys(["k2", "k1"]).keys(),
        lambda: {1: "k2", 0: "k1"}.values(),
        lambda: iter([2, 1]),
    ):
        assert read(ordered()) in ([2, 1], [None, None])
    assert len(read(npz.keys())) == N
    for keys, kind, words in BAD:
        if keys is not None or call not in ("Loader", "Padded", "Ragged"):
            with pytest.raises(kind, match=words):
                read(keys)


def test_keys_of_read_many(archive):
    def read(names):
        return [int(bytes(data)[:1]) for data in archive.read_many(names)]

    for keys, expected in GOOD:
        assert read(keys) == expected, keys
    infos = [archive.getinfo("k4"), archive.getinfo("k2")]
    assert read(infos) == [4, 2]
    assert read([infos[0], "k1", -1, np.int8(0)]) == [4, 1, 5, 0]
    assert read(name for name in ("k2", "k1")) == [2, 1]
    for keys, kind, words in [*BAD, ("k*", TypeError, "a list of names is wanted, not str")]:
        with pytest.raises(kind, match=words):
            archive.read_many(keys)


def test_positions_are_those_of_the_list():
    """A list that its user has changed is the one that counts."""
    file = io.BytesIO()
    with fastzip.ZipFile(file, "w") as written:
        for i in range(3):
            written.writestr(f"k{i}", str(i))
    archive = fastzip.ZipFile(file)
    archive.filelist.reverse()
    assert [bytes(data) for data in archive.read_many([0, -1])] == [b"2", b"0"]
    archive.close()
    with pytest.raises(ValueError, match="closed"):
        archive.read_many([0])


def test_one_member(npz, tmp_path):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
        outer.write(tmp_path / "a.npz", "first.npz")
        outer.writestr("last.npz", (tmp_path / "a.npz").read_bytes())
    outer = fastzip.load((tmp_path / "outer.zip").read_bytes())
    for key in ("first.npz", 0, -2, np.int64(0), np.uint8(0), np.str_("first.npz")):
        inner = outer.nested(key)
        assert "first.npz" in repr(inner)
        assert pickle.loads(pickle.dumps(inner))["k1"].tolist() == [1, 1, 1]
        assert npz.spec("k0" if isinstance(key, str) else key).shape == (3,)
    for call in (npz.spec, outer.nested):
        for key, kind in (
            (True, TypeError), (np.False_, TypeError), (1.0, TypeError), (None, TypeError),
            (["k1"], TypeError), (b"k1", TypeError), (slice(1), TypeError), (99, IndexError),
            (-99, IndexError), (1 << 70, IndexError), ("nothing", KeyError),
        ):  # fmt: skip
            with pytest.raises(kind):
                call(key)


def test_indexing_stays_numpys(npz):
    """Positions aren't keys, and `read` and `open` take what zipfile's take."""
    for key in (0, np.int64(0), -1, True):
        assert key not in npz
        with pytest.raises(KeyError):
            npz[key]


# ---- notes ---------------------------------------------------------------------------------------


@pytest.fixture
def trained(tmp_path):
    np.savez(tmp_path / "t.npz", x_train=np.arange(3), y_train=np.arange(3))
    with fastzip.load(tmp_path / "t.npz") as opened:
        yield opened


def note(call, *args):
    with pytest.raises((KeyError, AttributeError)) as info:
        call(*args)
    assert "_notes" not in info.value.__dict__  # not made yet
    [made] = info.value.__notes__
    return made


def test_notes_on_keys(trained):
    where = trained.index.where
    for call in (
        trained.__getitem__,
        trained.spec,
        trained.nested,
        lambda key: trained.fetch([key]),
        lambda key: trained.lengths([0, key]),
        lambda key: trained.fetch_padded([key]),
        lambda key: trained.fetch_ragged((key, "y_train")),
        lambda key: fastzip.Loader((trained, [key]), batch_size=1),
        lambda key: getattr(trained.f, key),
    ):
        assert note(call, "x_trian") == f"{where}: did you mean 'x_train'?"
        assert note(call, "X_TRAIN") == f"{where}: did you mean 'x_train'?"
        assert note(call, "/x_train") == f"{where}: did you mean 'x_train'?"
        assert note(call, "wholly other") == f"{where} has the keys 'x_train', 'y_train'"
        assert note(call, "\udcff\n") == f"{where} has the keys 'x_train', 'y_train'"


def test_texts_stay_numpys(trained):
    with np.load(trained.index.where) as reference:
        for key in ("x_trian", 0, None, b"x_train", ("x_train", 3)):
            with pytest.raises(KeyError) as theirs:
                reference[key]
            with pytest.raises(KeyError) as ours:
                trained[key]
            assert ours.value.args == theirs.value.args
            assert str(ours.value) == str(theirs.value)
    assert trained.get("x_trian", 7) == 7


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (0, "members are read by position with fetch([0])"),
        (np.int64(-1), "members are read by position with fetch([-1])"),
        (slice(2), "several members are read with fetch(slice(None, 2, None))"),
        ([0, 1], "several members are read with fetch([0, 1])"),
        (("x_train", "y_train"), "several members are read with fetch(['x_train', 'y_train'])"),
        (np.arange(2), "several members are read with fetch(keys)"),
        (("x_train", 3), "an array is indexed when it has been read: npz['x_train'][3]"),
        (
            ("x_train", slice(None, 5), ..., np.int8(1), slice(0, None, 2)),
            "an array is indexed when it has been read: npz['x_train'][:5, ..., 1, 0::2]",
        ),
        (b"x_train", "names are text: 'x_train'"),
        (None, "names are text, not NoneType"),
        (True, "names are text, not bool"),
        (np.float64(1), "names are text, not float64"),
        ((), "several members are read with fetch([])"),
    ],
    ids=str,
)
def test_notes_on_what_is_no_name(trained, key, text):
    assert note(trained.__getitem__, key) == text


def test_notes_of_large_and_empty_archives(lab):
    many = fastzip.load(lab.npz(**{f"ix-{i:06}": np.zeros(1) for i in range(6000)}))
    where = many.index.where
    assert note(many.__getitem__, "nothing") == (
        f"{where} has 6,000 keys, such as 'ix-000000', 'ix-000001', 'ix-000002'"
    )
    assert note(many.__getitem__, "ix-000003.npz") == f"{where}: did you mean 'ix-000003'?"
    assert note(many.__getitem__, "ix_000003") == f"{where}: did you mean 'ix-000003'?"
    # beyond those that are compared
    assert note(many.__getitem__, ".\\ix-005999") == f"{where}: did you mean 'ix-005999'?"
    one = fastzip.load(lab.npz(a=np.zeros(1)))
    assert note(one.__getitem__, "nothing") == f"{one.index.where} has the key 'a'"
    none = fastzip.load(lab.Archive([]).build())
    assert note(none.__getitem__, "x") == f"{none.index.where} is empty"
    long = fastzip.load(lab.npz(**{"x" * 5000: np.zeros(1)}))
    assert len(note(long.__getitem__, "nothing")) < 200


def test_notes_on_members(archive, tmp_path):
    for call in (
        archive.getinfo,
        archive.read,
        archive.open,
        lambda name: archive.read_into(name, bytearray(9)),
        lambda name: archive.read_many([name]),
        lambda name: archive.read_many([0, name]),
        lambda name: archive.extract(name, tmp_path),
        lambda name: archive.extractall(tmp_path, [name]),
    ):
        assert note(call, "K3").endswith(": did you mean 'k3'?")
        assert note(call, "k3/").endswith(": did you mean 'k3'?")
        assert note(call, "nothing").endswith("s, such as 'k0', 'k1', 'k2'")
    assert str(tmp_path / "a.zip") in note(archive.getinfo, "K3") or archive._reader is None
    assert note(archive.read, 0) == "members are read by position with read_many([0])"


def test_texts_stay_zipfiles(archive):
    for name in ("x", "", "\ud800", 3, None, b"k1"):
        with pytest.raises(KeyError) as info:
            archive.getinfo(name)
        assert info.value.args == (f"There is no item named {name!r} in the archive",)


def test_notes_of_groups(lab):
    arrays = {f"{i}.{field}": np.zeros(1) for i in ("one", "two") for field in ("a", "b")}
    groups = fastzip.group(fastzip.load(lab.npz(**arrays)), "{sample}.{field}")
    assert note(groups.keys, ["one"], "A") == f"{groups.npz.index.where}: did you mean 'a'?"
    assert note(groups.rows, ["tow"]) == f"{groups.npz.index.where}: did you mean 'two'?"
    for call in (
        lambda: groups.rows({"one"}),
        lambda: groups.fetch({"one"}),
        lambda: groups.fetch(["one"], {"a"}),
        lambda: fastzip.group(groups.npz, "{sample}.{field}", fields={"a", "b"}),
    ):
        with pytest.raises(TypeError, match="whose order differs"):
            call()


def test_a_note_is_made_when_it_is_shown(trained, monkeypatch):
    looked = []
    monkeypatch.setattr(fastzip._zip.keys, "nearest", lambda *args: looked.append(args))
    for key in ("x_trian", 0, None):
        assert trained.get(key) is None
        assert key not in trained
        with contextlib.suppress(KeyError, TypeError):
            trained.fetch([key])
    assert getattr(trained.f, "x_trian", None) is None
    assert looked == []
    with pytest.raises(KeyError) as info:
        trained["x_trian"]
    for _ in range(2):
        assert "has the keys" in "".join(traceback.format_exception(info.value))
    assert len(looked) == 1


def test_an_exception_with_a_note(trained):
    for raised in (lambda: trained["x_trian"], lambda: trained.f.x_trian):
        with pytest.raises((KeyError, AttributeError)) as info:
            raised()
        exc = info.value
        made = [f"{trained.index.where}: did you mean 'x_train'?"]
        for other in (copy.copy(exc), pickle.loads(pickle.dumps(exc))):
            assert (type(other), other.args, other.__notes__) == (type(exc), exc.args, made)
            assert pickle.loads(pickle.dumps(other)).__notes__ == made
        exc.add_note("and mine")
        assert exc.__notes__ == [*made, "and mine"]
        exc.__notes__ = ["mine alone"]
        assert exc.__notes__ == ["mine alone"]
    own = errors.MissingKeyError("x")
    assert own.__notes__ == []
    own.add_note("one")
    assert own.__notes__ == pickle.loads(pickle.dumps(own)).__notes__ == ["one"]


def test_an_exception_keeps_no_archive(tmp_path):
    np.savez(tmp_path / "t.npz", x_train=np.arange(3))
    trained = fastzip.load(tmp_path / "t.npz")
    with pytest.raises(KeyError) as info:
        trained["x_trian"]
    exc = info.value.with_traceback(None)
    where, gone = trained.index.where, weakref.ref(trained.index)
    del info, trained
    gc.collect()
    assert gone() is None
    assert exc.__notes__ == [f"{where}: did you mean 'x_train'?"]


def test_what_the_interpreter_prints(trained):
    code = "import sys, fastzip\nfastzip.load(sys.argv[1])['x_trian']"
    run = subprocess.run(
        [sys.executable, "-c", code, trained.index.where], capture_output=True, text=True
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-2:] == [
        "fastzip.errors.MissingKeyError: 'x_trian is not a file in the archive'",
        f"{trained.index.where}: did you mean 'x_train'?",
    ]


# ---- what they are, in one line ------------------------------------------------------------------


def test_what_they_are(npz, tmp_path, monkeypatch):
    monkeypatch.setattr(fastzip._zip.index.Index, "names", None)  # not a name is made for it
    path = str(tmp_path / "a.npz")
    size = (tmp_path / "a.npz").stat().st_size
    keys = f"NpzFile {path!r} with keys: k0, k1, k2, k3, k4..."
    assert repr(npz) == keys  # NumPy's
    assert str(npz) == f"{keys} (6 members, {size:,} bytes)"
    assert repr(npz.index) == f"<Index of {path!r}: 6 members>"
    archive = fastzip.ZipFile(path)
    assert repr(archive) == f"<fastzip.ZipFile filename={path!r} mode='r' members=6>"
    assert "filelist" not in archive.__dict__
    archive.infolist()
    assert repr(archive).endswith(" mode='r' members=6>")
    archive.close()
    assert repr(archive) == "<fastzip.ZipFile [closed]>"
    with fastzip.ZipFile(io.BytesIO(), "w") as written:
        written.writestr("a", "b")
        assert repr(written).endswith(" mode='w' members=1>")
    npz.close()
    assert str(npz) == f"{keys} (6 members, {size:,} bytes, closed)"


def test_shown_by_ipython(npz):
    class Printer:
        def text(self, text):
            self.shown = text

    printer = Printer()
    npz._repr_pretty_(printer, False)
    assert printer.shown == str(npz)
