"""`fastzip.Loader` with members of different lengths: `Padded`, `Ragged`, `bucket_by_length`."""

from __future__ import annotations

import contextlib
import gc
import itertools
import json
import multiprocessing
import pickle
import sys
import threading
import time
import warnings
import weakref

import numpy as np
import pytest
from forking import forked
from hypothesis import given
from hypothesis import strategies as st
from interrupting import interrupted_epoch
from unequal import MEMBERS, SETTINGS, N, archive_of, unequal

import fastzip
from fastzip import Loader, Padded, Ragged, _core
from fastzip._batch import unequal as _parts
from fastzip._train import order as _order

leaves_nothing = pytest.mark.usefixtures("aftermath")
OPTIONS = {"batch_size": 4, "shuffle": True, "seed": 3}
CUT = {"fill_value": 7, "length": 900, "truncate": True}


@pytest.fixture
def texts(lab, save):
    """An archive of N members of lengths up to 3,000, and these."""
    arrays = unequal(lab, 3000)
    with fastzip.load(save(lab.mixed(arrays))) as npz:
        yield npz, list(arrays.values())


def assert_ragged(part, members):
    values, offsets = part
    assert offsets.tolist() == [0, *np.cumsum([len(m) for m in members]).tolist()]
    assert np.array_equal(values, np.concatenate(members))


def assert_padded(part, members, fill_value=0, length=None, truncate=False):
    batch, lengths = part
    width = max(map(len, members)) if length is None else length
    right = np.full((len(members), width, *members[0].shape[1:]), fill_value, members[0].dtype)
    for row, member in zip(right, members, strict=True):
        row[: len(member)] = member[:width]
    assert np.array_equal(batch, right)
    assert lengths.tolist() == [min(len(m), width) for m in members]


def chosen(loader):
    """Which samples come, batch by batch, of a loader whose last source numbers them."""
    return [batch[-1].tolist() for batch in loader]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


# ---- sources -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_batches(texts, engine, prefetch, threads):
    npz, arrays = texts
    loader = Loader(
        Padded(npz, fill_value=9), Ragged(npz), Padded(npz, **CUT), np.arange(N),
        **OPTIONS, prefetch=prefetch, threads=threads,
    )  # fmt: skip
    for epoch in range(2):
        samples = []
        for padded, ragged, cut, numbers in loader:
            members = [arrays[i] for i in numbers]
            assert_padded(padded, members, fill_value=9)
            assert_ragged(ragged, members)
            assert_padded(cut, members, **CUT)
            assert padded[0].ctypes.data % 64 == ragged[0].ctypes.data % 64 == 0
            samples += numbers.tolist()
        assert samples == _order.shuffled(N, 3, epoch).tolist()


def test_one_source(texts):
    npz, arrays = texts
    for batch, lengths in Loader(Padded(npz), batch_size=N):
        assert_padded((batch, lengths), arrays)
    for values, offsets in Loader(Ragged(npz), batch_size=N):
        assert_ragged((values, offsets), arrays)


def test_some_keys(texts):
    npz, arrays = texts
    for keys in (["k3", "k9", "k3"], [3, 9, -N + 3], np.array([3, 9, 3])):
        for ragged in Loader(Ragged(npz, keys), batch_size=5):
            assert_ragged(ragged, [arrays[3], arrays[9], arrays[3]])
    mask = np.arange(N) % 4 == 1
    for padded, numbers in Loader(Padded(npz, mask), np.flatnonzero(mask), **OPTIONS):
        assert_padded(padded, [arrays[i] for i in numbers])
    assert list(Loader(Padded(npz, []), **OPTIONS, bucket_by_length=3)) == []


@SETTINGS
@given(
    st.sampled_from([np.dtype("<i2"), np.dtype("<f8"), np.dtype("<c8"), np.dtype("S3")]),
    st.sampled_from([(), (3,), (2, 2)]),
    MEMBERS,
    st.integers(0, 3),
    st.integers(1, 4),
    st.one_of(st.none(), st.integers(0, 100)),
)
def test_whatever_there_is(lab, dtype, trail, members, prefetch, batch_size, length):
    """Other orders, byte orders and methods, all mixed: what the archive's own methods give."""
    data, _ = archive_of(lab, dtype, trail, members)
    with fastzip.load(data) as npz:
        loader = Loader(
            Padded(npz, length=length, truncate=True), Ragged(npz), np.arange(len(npz)),
            batch_size=batch_size, shuffle=True, prefetch=prefetch,
            bucket_by_length=2 if length else None,
        )  # fmt: skip
        count = 0
        for padded, ragged, numbers in loader:
            right = npz.fetch_padded(numbers, length=length, truncate=True)
            for got, wanted in zip(
                (*padded, *ragged), (*right, *npz.fetch_ragged(numbers)), strict=True
            ):
                assert got.dtype == wanted.dtype
                assert got.tobytes() == wanted.tobytes()
            count += len(numbers)
        assert count == len(members)


def test_long_pieces(lab, save, monkeypatch):
    """What goes by way of memory takes several pieces, of which the first is read ahead."""
    monkeypatch.setattr(_parts, "_PIECE", 5000)
    arrays = [lab.sparse(300 * (i % 11), i, ">u2").reshape(-1, 3) for i in range(N)]
    path = save(lab.mixed({f"k{i}": array for i, array in enumerate(arrays)}))
    with fastzip.load(path) as npz:
        for ragged, cut, numbers in Loader(
            Ragged(npz), Padded(npz, length=600, truncate=True), np.arange(N), batch_size=16
        ):
            members = [arrays[i].astype("<u2") for i in numbers]
            assert_ragged(ragged, members)
            assert_padded(cut, members, length=600)


def test_bad_arguments(texts, path):
    npz, _ = texts
    for kind in (Padded, Ragged):
        with np.load(path) as numpys:
            for wrong in ("x.npz", path, np.arange(3), numpys, (npz, [0])):
                with pytest.raises(TypeError, match=f"{kind.__name__} takes an NpzFile"):
                    kind(wrong)
        with pytest.raises(KeyError, match="nope is not a file"):
            kind(npz, ["nope"])
        with pytest.raises(IndexError):
            kind(npz, [N])
        with pytest.raises(TypeError, match="it takes them itself"):
            Loader((kind(npz), [0]), batch_size=4)
    with pytest.raises(ValueError, match="length must be 0 or more"):
        Padded(npz, length=-1)
    with pytest.raises(TypeError):
        Padded(npz, length=2.5)
    with pytest.raises(
        ValueError, match="the first source has 40 samples, and the second source has 39"
    ):
        Loader(Padded(npz), Ragged(npz, slice(39)), batch_size=4)
    with pytest.raises(ValueError, match="needs a source with lengths: Padded or Ragged"):
        Loader(np.arange(N), batch_size=4, bucket_by_length=4)
    for wrong in (0, -1, True, 2.0, "4"):
        with pytest.raises(ValueError, match="bucket_by_length must be an integer from 1 on"):
            Loader(Padded(npz), batch_size=4, bucket_by_length=wrong)


def test_repr(texts):
    npz, _ = texts
    where = repr(npz.index.where)
    loader = Loader(
        Padded(npz), Padded(npz, [1] * N, **CUT), Ragged(npz), batch_size=4, bucket_by_length=5
    )
    assert repr(loader) == repr(pickle.loads(pickle.dumps(loader)))
    assert repr(loader) == (
        f"Loader(Padded({where}), Padded(40 of {where}, fill_value=7, length=900, truncate=True), "
        f"Ragged({where}), batch_size=4, shuffle=False, seed=0, drop_last=False, prefetch=2, "
        "threads=None, rank=0, world_size=1, bucket_by_length=5)"
    )


# ---- buckets -----------------------------------------------------------------------------------


@SETTINGS
@given(
    st.lists(st.integers(0, 9), max_size=70), st.integers(1, 9), st.integers(1, 12),
    st.one_of(st.none(), st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))),
)  # fmt: skip
def test_bucketed(lengths, step, steps, key):
    """As it is described in the documentation, word for word."""
    n, lengths = len(lengths), np.array(lengths, np.int64)
    order = np.arange(n) if key is None else _order.shuffled(n, *key)
    got = order.copy()
    _order.bucket(got, lengths, step, steps, key)
    whole = n // step * step
    right = []
    for start in range(0, whole, step * steps):
        window = order[start : min(start + step * steps, whole)].tolist()
        window.sort(key=lambda i: lengths[i])
        right += [window[i : i + step] for i in range(0, len(window), step)]
    if key is not None:
        right = [right[i] for i in _order.shuffled(len(right), *key, stream=1)]
    assert got.tolist() == flat(right) + order[whole:].tolist()


def test_large_orders(monkeypatch):
    """Those that are made in several pieces."""
    lengths = np.random.default_rng(0).integers(0, 99, 5003)
    orders = []
    for piece in (1 << 16, 1000, 7):
        monkeypatch.setattr(_order, "_PIECE", piece)
        order = _order.shuffled(5003, 1, 2)
        _order.bucket(order, lengths, 8, 3, (1, 2))
        orders.append(order.tolist())
    assert orders[0] == orders[1] == orders[2]
    assert sorted(orders[0]) == list(range(5003))


def test_orders_by_value():
    """As they were when they were first written down."""
    lengths = np.array([5, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
    order = _order.shuffled(11, 7, 2)
    _order.bucket(order, lengths, 2, 3, (7, 2))
    assert order.tolist() == BUCKETED
    assert _order.shuffled(9, 7, 2, stream=1).tolist() == STREAM


BUCKETED = [8, 4, 3, 9, 1, 6, 10, 5, 0, 7, 2]
STREAM = [1, 3, 8, 0, 6, 4, 7, 5, 2]


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3, 11])
def test_ranks(texts, world_size, drop_last):
    """Each sample once over all ranks, whose batches of a step are of about one length."""
    npz, arrays = texts
    options = OPTIONS | {"world_size": world_size, "drop_last": drop_last, "bucket_by_length": 99}
    ranks, lengths = [], np.array([len(array) for array in arrays])
    for rank in range(world_size):
        loader = Loader(Padded(npz), np.arange(N), **options, rank=rank)
        ranks.append(chosen(loader))
        assert len(ranks[-1]) == len(loader)
    step = 4 * world_size
    if drop_last:
        assert len(flat(flat(ranks))) == len(set(flat(flat(ranks)))) == N // step * step
    else:
        assert sorted(flat(flat(ranks))) == list(range(N))
    steps = [flat(rank[i] for rank in ranks) for i in range(N // step)]
    lows = sorted((lengths[each].min(), lengths[each].max()) for each in steps)
    assert all(high <= low for (_, high), (low, _) in itertools.pairwise(lows))


def test_less_filling(texts):
    npz, _ = texts
    filled = []
    for buckets in (None, 1, 5, 10):
        loader = Loader(Padded(npz), **OPTIONS, bucket_by_length=buckets)
        filled.append(sum(batch.size - lengths.sum() for batch, lengths in loader))
    assert filled[0] == filled[1]  # a batch holds the same, in another order
    assert filled[3] < filled[2] < filled[1] / 2


def test_buckets_of_several_sources(texts):
    """The first source with lengths counts."""
    npz, arrays = texts
    turned = Ragged(npz, np.arange(N)[::-1])
    loader = Loader(np.arange(N), turned, Padded(npz), batch_size=4, bucket_by_length=99)
    lengths = [len(arrays[N - 1 - i]) for numbers, *_ in loader for i in numbers]
    assert lengths == sorted(lengths)


@pytest.mark.parametrize("shuffle", [False, True])
def test_resume(texts, shuffle):
    npz, _ = texts
    options = OPTIONS | {"shuffle": shuffle, "bucket_by_length": 3}

    def make(**others):
        return Loader(Padded(npz), np.arange(N), **(options | others))

    whole = make()
    right = [chosen(whole) for _ in range(2)]
    assert (right[0] != right[1]) == shuffle
    loader = make()
    for done, _ in enumerate(loader, 1):
        state = json.loads(json.dumps(loader.state_dict()))
        again = make()
        again.load_state_dict(state)
        assert chosen(again) == right[0][done:]
        assert chosen(again) == right[1]
        assert chosen(pickle.loads(pickle.dumps(loader))) == right[0][done:]
        ranks = []
        for rank in range(4):  # steps of one size
            other = make(batch_size=1, rank=rank, world_size=4)
            other.load_state_dict(state)
            ranks.append(chosen(other))
        dealt = [flat(batch) for batch in itertools.zip_longest(*ranks, fillvalue=[])]
        assert dealt == right[0][done:]


def test_states_that_do_not_fit(texts):
    npz, _ = texts
    loader = Loader(Padded(npz), **OPTIONS, bucket_by_length=3)
    next(iter(loader))
    state = loader.state_dict()
    crc = state.pop("lengths")
    assert 0 <= crc < 1 << 32
    assert state == {
        "version": 1, "length": N, "shuffle": True, "seed": 3, "bucket_by_length": 3, "step": 4,
        "epoch": 0, "position": 4,
    }  # fmt: skip
    state["lengths"] = crc
    others = {
        "bucket_by_length": [{"bucket_by_length": 4}, {"bucket_by_length": None}],
        "step": [{"batch_size": 5}, {"world_size": 2}],
    }
    for name, several in others.items():
        for changed in several:
            other = Loader(Padded(npz), **(OPTIONS | {"bucket_by_length": 3} | changed))
            with pytest.raises(ValueError, match=f"state is of a Loader of {name}"):
                other.load_state_dict(state)
            with pytest.raises(ValueError, match=f"state is of a Loader of {name}"):
                loader.load_state_dict(other.state_dict())
    turned = Loader(Padded(npz, np.arange(N)[::-1]), **OPTIONS, bucket_by_length=3)
    with pytest.raises(ValueError, match="state is of a Loader of lengths"):
        turned.load_state_dict(state)
    assert loader.state_dict() == state
    Loader(Ragged(npz), **OPTIONS, bucket_by_length=3).load_state_dict(state)


# ---- failures ----------------------------------------------------------------------------------


@pytest.fixture
def damaged(lab):
    """Of 40 samples 13, 14 and 30 are damaged, and 22 has a header that nobody understands."""
    members = [lab.Member(b"%03d.npy" % i, lab.npy(np.full(i, i))) for i in range(40)]
    members[13].crc = members[14].crc = members[30].crc = 1
    members[22] = lab.Member(b"022.npy", lab.raw_npy("words\n", bytes(176)))
    with fastzip.load(lab.Archive(members).build()) as npz:
        yield npz


@leaves_nothing
@pytest.mark.parametrize("prefetch", [0, 1, 8])
@pytest.mark.parametrize("kind", [Padded, Ragged])
def test_failures_come_in_their_turn(damaged, kind, prefetch):
    loader = Loader(kind(damaged), np.arange(40), batch_size=4, prefetch=prefetch)
    it, got = iter(loader), {}
    for i in range(10):
        try:
            part, numbers = next(it)
        except (fastzip.BadZipFile, ValueError) as exc:
            got[i] = exc.code, exc.member, exc.failed
        else:
            right = [np.full(j, j) for j in numbers]
            (assert_padded if kind is Padded else assert_ragged)(part, right)
        assert loader.state_dict()["position"] == 4 * i + 4
    assert got == {
        3: ("crc", "013.npy", [("013", "crc"), ("014", "crc")]),
        5: ("npy_header", "022.npy", [("022", "npy_header")]),
        7: ("crc", "030.npy", [("030", "crc")]),
    }
    assert next(it, "end") == "end"


@leaves_nothing
def test_failures_in_buckets(damaged):
    """Members without a length come first among their window's, and fail there."""
    loader = Loader(Padded(damaged), np.arange(40), batch_size=8, bucket_by_length=9)
    it, good, failed = iter(loader), [], []
    while True:
        try:
            batch = next(it, None)
        except (fastzip.BadZipFile, ValueError) as exc:
            failed += exc.failed
            continue
        if batch is None:
            break
        good += batch[1].tolist()
    assert sorted(failed) == [
        ("013", "crc"), ("014", "crc"), ("022", "npy_header"), ("030", "crc"),
    ]  # fmt: skip
    assert len(good) == 40 - 8 * len({"30", "13 and 14", "22"})


@leaves_nothing
def test_options_that_do_not_fit(lab):
    """At the batch, which is through then."""
    arrays = {f"k{i}": np.full(i, i, "u1") for i in range(12)}
    with fastzip.load(lab.npz(**arrays)) as npz:
        for wrong, code, right in (
            ({"fill_value": -1}, "fill_value", set()), ({"length": 4}, "length", {"right"}),
        ):  # fmt: skip
            loader = Loader(Padded(npz, **wrong), batch_size=2)
            it, got = iter(loader), []
            for i in range(6):
                try:
                    next(it)
                    got.append("right")
                except ValueError as exc:
                    got.append(exc.code)
                assert loader.state_dict()["position"] == 2 * i + 2
            assert set(got) == {code, *right}
            assert got == sorted(got, key="right".__eq__, reverse=True)


@leaves_nothing
@pytest.mark.parametrize("kind", [Padded, Ragged])
def test_closed(lab, save, kind):
    npz = fastzip.load(save(lab.npz(**{f"k{i}": np.arange(i) for i in range(30)})))
    loader = Loader(kind(npz), batch_size=5)
    it = iter(loader)
    next(it)
    npz.close()
    outcomes = []
    for _ in range(5):
        try:
            next(it)
            outcomes.append("right")
        except ValueError as exc:
            outcomes.append(exc.code)
    assert outcomes[-1] == "closed"
    assert outcomes == sorted(outcomes, reverse=True)
    assert next(it, None) is None
    with pytest.raises(ValueError, match="closed"):
        Loader(kind(npz), batch_size=5, bucket_by_length=2)


@leaves_nothing
@pytest.mark.parametrize("known", [False, True])
def test_no_memory(texts, known):
    """MemoryError at the batch whose memory is lacking, or the right batch; then all is well."""
    npz, arrays = texts
    outcomes = set()
    for nth in range(1, 50):
        with fastzip.load(npz.index.where) as fresh:
            if known:
                fresh.lengths()
            loader = Loader(Padded(fresh, **CUT), np.arange(N), batch_size=20, threads=2)
            fastzip.trim()
            it, failed = iter(loader), 0
            _core.fail_allocation(nth)
            try:
                while True:
                    try:
                        batch = next(it, None)
                    except MemoryError:
                        failed += 1
                        continue
                    if batch is None:
                        break
                    assert_padded(batch[0], [arrays[i] for i in batch[1]], **CUT)
            finally:
                _core.fail_allocation(0)
            outcomes.add(failed)
    assert outcomes <= {0, 1}
    assert 0 in outcomes


# ---- reading ahead -----------------------------------------------------------------------------


@pytest.fixture
def long(lab, save):
    """Members that are worth several threads."""
    arrays = {f"k{i}": lab.sparse(60_000 - 500 * i, i) for i in range(24)}
    with fastzip.load(save(lab.mixed(arrays))) as npz:
        npz.lengths()
        yield npz, list(arrays.values())


KINDS = {
    "padded": (Padded, {}, 1),
    "ragged": (Ragged, {}, 1),
    "cut": (Padded, {"length": 55_000, "truncate": True}, 2),
}


def long_loader(long, kind="padded", times=20, **options):
    npz, arrays = long
    make, how, _ = KINDS[kind]
    assert_it = assert_ragged if make is Ragged else assert_padded
    keys = np.tile(np.arange(len(npz)), times)
    loader = Loader(make(npz, keys, **how), batch_size=24, **options)
    return loader, lambda part: assert_it(part, arrays, **how)


def begun(it):
    """What the iterator has in work."""
    return [b.ahead for batch in it._begun for part in batch.parts for b in part._begun[0].begun]


@leaves_nothing
@pytest.mark.parametrize("kind", KINDS)
def test_ahead_while_python_runs(long, kind):
    """No other thread of Python's gets a turn, and the next batches are read."""
    loader, check = long_loader(long, kind, prefetch=3, threads=2)
    it = iter(loader)
    check(next(it))
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        until = time.monotonic() + 100
        while not all(ahead.finished for ahead in begun(it)):
            assert time.monotonic() < until
    finally:
        sys.setswitchinterval(before)
    assert len(begun(it)) == 3 * KINDS[kind][2]
    for part in it:
        check(part)


@leaves_nothing
@pytest.mark.parametrize("order", ["F", ">"])
def test_other_orders_ahead(lab, order):
    """Members that `fetch` converts are read ahead, as they are."""
    arrays = [lab.sparse((30, 40), i, ">u2" if order == ">" else "<u2") for i in range(20)]
    written = {f"k{i}": np.asfortranarray(a) if order == "F" else a for i, a in enumerate(arrays)}
    with fastzip.load(lab.npz(**written)) as npz:
        it = iter(Loader(npz, batch_size=4))
        for i, batch in enumerate(it):
            assert np.array_equal(batch, arrays[4 * i : 4 * i + 4])
            assert len(begun(it)) == min(2, 4 - i)


@leaves_nothing
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["break", "close", "error", "del", "cycle"])
def test_the_end_of_a_loop(long, kind, end):
    """Nothing is at work any more, and nothing is held."""
    loader, check = long_loader(long, kind, prefetch=4)
    it = iter(loader)
    kept = next(it)
    ahead = begun(it)
    assert len(ahead) == 4 * KINDS[kind][2]
    gone = weakref.ref(it)
    if end == "break":
        for part in it:
            del part
            break
    elif end == "close":
        it.close()
        assert next(it, None) is None
    elif end == "error":
        with contextlib.suppress(ZeroDivisionError):
            for part in it:
                del part
                1 / 0  # noqa: B018
    elif end == "cycle":
        it.cycle = it
    del it
    gc.collect()
    assert gone() is None
    for one in ahead:  # only we hold them
        assert sys.getrefcount(one) <= 3
        assert one.finished or not one.wait()
    check(kept)


@pytest.mark.parametrize("kind", KINDS)
def test_memory(long, kind):
    """prefetch + 1 batches besides those that somebody holds; the same ones over and over."""
    loader, check = long_loader(long, kind, times=60, prefetch=2)
    addresses = set()
    for part in loader:
        addresses.add(part[0].ctypes.data)
        check(part)
        del part
    assert len(addresses) <= 5 * KINDS[kind][2]
    parts = list(itertools.islice(loader, 8))
    assert len({part[0].ctypes.data for part in parts}) == 8
    for part in parts:  # all of these are held
        check(part)


@leaves_nothing
def test_threads(texts):
    """An iterator for each; what is learnt of the members is theirs together."""
    npz, arrays = texts
    wrong = []

    def work():
        try:
            for part, cut, numbers in loader:
                assert_ragged(part, [arrays[i] for i in numbers])
                assert_padded(cut, [arrays[i] for i in numbers], **CUT)
        except BaseException as exc:
            wrong.append(exc)

    for _ in range(4):
        with fastzip.load(npz.index.where) as fresh:
            loader = Loader(Ragged(fresh), Padded(fresh, **CUT), np.arange(N), **OPTIONS, threads=2)
            threads = [threading.Thread(target=work) for _ in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert wrong == []


def interrupted(faults, kind):
    """A signal's handler raises while batches are waited for: nothing is lost, nothing works on."""
    made = faults.material()
    keys = made.keys("large") * 40
    right = np.concatenate([made.arrays[key] for key in keys[:10]])

    def check(batch, at):
        assert batch[2].tolist() == list(range(at, at + 10))
        assert np.array_equal(batch[0][0], right)
        assert np.array_equal(batch[1][0].reshape(right.shape), right)

    with fastzip.load(made.path) as npz:
        options = {"batch_size": 10, "prefetch": 2}
        loader = Loader(Ragged(npz, keys), Padded(npz, keys), np.arange(len(keys)), **options)
        return interrupted_epoch(loader, 10, check, kind)


@pytest.mark.parametrize("kind", ["own", "ctrl-c"])
def test_interrupted(faultlab, kind):
    stopped, lost = faultlab.run(interrupted, kind)
    assert stopped > lost


# ---- processes ---------------------------------------------------------------------------------


@leaves_nothing
@pytest.mark.parametrize("kind", KINDS)
def test_fork(faultlab, long, kind):
    """Iterators go on in the child as in the parent, whatever was ahead."""
    loader, check = long_loader(long, kind, times=7, prefetch=3)
    for turn in range(faultlab.times(10)):
        it = iter(loader)
        for _ in range(turn % 4):
            next(it)

        def child(it=it, turn=turn):
            parts = [*it, *loader]
            for part in parts:
                check(part)
            return len(parts) == 7 - turn % 4 + 7

        assert forked(child) == 0
        for part in it:
            check(part)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes(texts, method):
    npz, _ = texts
    sources = Padded(npz, **CUT), Ragged(npz, range(N)), np.arange(N)
    options = OPTIONS | {"world_size": 2, "bucket_by_length": 3}
    loaders = [Loader(*sources, **options, rank=rank) for rank in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context(method).Pool(2) as pool:
            results = pool.map(list, loaders)
            pool.close()
            pool.join()
    for batches, loader in zip(results, loaders, strict=True):
        for got, right in zip(batches, loader, strict=True):
            assert all(map(np.array_equal, (*got[0], *got[1]), (*right[0], *right[1])))
            assert np.array_equal(got[2], right[2])
