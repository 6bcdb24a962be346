"""`fastzip.Loader`: orders, ranks, resuming, failures, processes, and what it leaves behind."""

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
import zlib

import numpy as np
import pytest
from forking import forked
from interrupting import interrupted_epoch

import fastzip
from fastzip import Loader, _core
from fastzip._train import order as _order

leaves_nothing = pytest.mark.usefixtures("aftermath")

N = 53
LABELS = np.arange(N) * 10


@pytest.fixture
def samples(lab, save):
    """An archive of N samples, every third stored; sample i holds i."""
    arrays = {f"ix-{i:03}": np.full((3, 5), i, np.int32) for i in range(N)}
    with fastzip.load(save(lab.mixed(arrays))) as npz:
        yield npz


def seen(loader):
    """The samples that come, in their order, batch by batch; each must be itself."""
    batches = []
    for batch in loader:
        images = batch[0] if isinstance(batch, tuple) else batch
        assert images.shape[1:] == (3, 5)
        assert (images == images[:, :1, :1]).all()
        if isinstance(batch, tuple):
            assert np.array_equal(batch[1], LABELS[images[:, 0, 0]])
        batches.append(images[:, 0, 0].tolist())
    return batches


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


# ---- the order -------------------------------------------------------------------------------


def test_orders_by_value():
    """As they were when they were first written down."""
    assert _order.shuffled(10, 0, 0).tolist() == ORDERS[10, 0, 0]
    assert _order.shuffled(10, 0, 1).tolist() == ORDERS[10, 0, 1]
    assert _order.shuffled(10, 2**64 - 1, 5).tolist() == ORDERS[10, 2**64 - 1, 5]
    assert zlib.crc32(_order.shuffled(100_000, 7, 3).astype("<i8").tobytes()) == 146220802
    for n in (0, 1, 2, 3, 4, 5, 64, 65, 1000):
        order = _order.shuffled(n, 1, 2)
        assert sorted(order.tolist()) == list(range(n))
        assert order.dtype == np.int64


ORDERS = {
    (10, 0, 0): [0, 2, 9, 1, 8, 5, 4, 3, 6, 7],
    (10, 0, 1): [5, 3, 7, 8, 2, 4, 1, 0, 6, 9],
    (10, 2**64 - 1, 5): [0, 9, 2, 1, 5, 7, 6, 4, 8, 3],
}


def philox(counter, key):
    """Four numbers of Philox4x64-10, as its paper has it (Salmon et al., 2011)."""
    bits, a, b = (1 << 64) - 1, 0xD2E7470EE14C6C93, 0xCA5A826395121157
    c, k = [counter, 0, 0, 0], list(key)
    for _ in range(10):
        x, y = a * c[0], b * c[2]
        c = [(y >> 64) ^ c[1] ^ k[0], y & bits, (x >> 64) ^ c[3] ^ k[1], x & bits]
        k = [(k[0] + 0x9E3779B97F4A7C15) & bits, (k[1] + 0xBB67AE8584CAA73B) & bits]
    return c


@pytest.mark.parametrize(("n", "seed", "epoch"), [(100, 3, 9), (33, 2**64 - 1, 2**63), (64, 0, 0)])
def test_orders_by_the_book(n, seed, epoch):
    drawn = flat(philox(i, (seed, epoch)) for i in range(1, n // 4 + 2))
    low = (1 << (n - 1).bit_length()) - 1
    order = sorted(range(n), key=lambda i: (drawn[i] & ~low, i))
    assert _order.shuffled(n, seed, epoch).tolist() == order


def test_orders_are_even():
    """Each sample comes at each place about equally often, and after each other one."""
    n, epochs = 8, 4000
    orders = np.array([_order.shuffled(n, 11, epoch) for epoch in range(epochs)])
    for place in range(n):
        counts = np.bincount(orders[:, place], minlength=n)
        assert abs(counts - epochs / n).max() < 6 * np.sqrt(epochs / n)
    pairs = np.bincount((orders[:, :-1] * n + orders[:, 1:]).ravel(), minlength=n * n)
    pairs = pairs[~np.eye(n, dtype=bool).ravel()]
    assert abs(pairs - pairs.mean()).max() < 6 * np.sqrt(pairs.mean())


@pytest.mark.parametrize("prefetch", [0, 1, 2, 9])
@pytest.mark.parametrize("shuffle", [False, True])
def test_every_sample_once(samples, engine, shuffle, prefetch):
    loader = Loader(samples, LABELS, batch_size=8, shuffle=shuffle, seed=3, prefetch=prefetch)
    epochs = [seen(loader) for _ in range(3)]
    for epoch, batches in enumerate(epochs):
        assert [len(batch) for batch in batches] == [8] * 6 + [5]
        order = _order.shuffled(N, 3, epoch).tolist() if shuffle else list(range(N))
        assert flat(batches) == order
    assert loader.epoch == 3
    assert len(loader) == 7
    loader.set_epoch(1)
    assert seen(loader) == epochs[1]
    assert (epochs[0] != epochs[1]) == shuffle


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 60])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 53, 99])
def test_ranks(samples, batch_size, world_size, drop_last):
    """Each sample comes once over all ranks, which differ by a sample at most."""
    options = {"batch_size": batch_size, "shuffle": True, "seed": 4, "world_size": world_size}
    loaders = [
        Loader(samples, **options, rank=rank, drop_last=drop_last) for rank in range(world_size)
    ]
    ranks = [seen(loader) for loader in loaders]
    assert [len(loader) for loader in loaders] == [len(batches) for batches in ranks]
    counts = [len(flat(batches)) for batches in ranks]
    order = _order.shuffled(N, 4, 0).tolist()
    if drop_last:
        unit = batch_size * world_size
        assert {len(batches) for batches in ranks} == {N // unit}
        assert all(len(batch) == batch_size for batch in flat(ranks))
        assert sorted(flat(flat(ranks))) == sorted(order[: N // unit * unit])
    else:
        assert sorted(flat(flat(ranks))) == list(range(N))
        assert max(counts) - min(counts) <= 1
        assert max(map(len, ranks)) - min(map(len, ranks)) <= 1
    # A step's samples are the same for all numbers of ranks that make steps of one size.
    for step, start in enumerate(range(0, N, batch_size * world_size)):
        got = flat(batches[step] for batches in ranks if step < len(batches))
        if got:
            assert sorted(got) == sorted(order[start : start + batch_size * world_size])


# ---- sources ---------------------------------------------------------------------------------


def test_some_keys(samples):
    names = [f"ix-{i:03}" for i in range(0, N, 4)]
    expected = [[0, 4, 8, 12], [16, 20, 24, 28], [32, 36, 40, 44], [48, 52]]
    mask = np.arange(N) % 4 == 0
    for keys in (names, slice(0, None, 4), mask, range(0, N, 4), np.arange(0, N, 4) - N):
        loader = Loader(
            (samples, keys), (LABELS, keys if keys is not names else mask), batch_size=4
        )
        assert seen(loader) == expected
        assert len(loader) == 4
    twice = Loader((samples, names), (samples, names[::-1]), batch_size=99)
    for one, other in twice:
        assert np.array_equal(one, other[::-1])


def test_archives_together(lab, samples):
    labels = fastzip.load(lab.npz(**{f"y{i}": np.array(10 * i) for i in range(N)}))
    loader = Loader(samples, labels, LABELS, batch_size=9, shuffle=True)
    for image, label, same in loader:
        assert np.array_equal(label, same)
        assert np.array_equal(image[:, 0, 0] * 10, label)
    labels.close()


def test_arrays():
    """Whatever is indexed along its first axis."""
    rows = np.arange(20)[:, None] * [1, 2]
    fortran, swapped, strings = np.asfortranarray(rows), rows.astype(">i8"), rows.astype("U3")
    readonly = rows.copy()
    readonly.flags.writeable = False
    objects = np.array([str(i) for i in range(20)], object)
    structured = np.zeros(20, [("a", "i2"), ("b", "f8", 3)])
    structured["a"] = range(20)

    class Rows:
        def __len__(self):
            return 20

        def __getitem__(self, index):
            assert index.dtype == np.int64
            return index * 2

    loader = Loader(
        rows, fortran, swapped, strings, readonly, objects, structured, Rows(),
        rows[::-1], np.ma.masked_array(rows[:, 0], rows[:, 0] > 5), batch_size=6, shuffle=True,
    )  # fmt: skip
    for batch in loader:
        index = batch[0][:, 0]
        assert all(np.array_equal(part, rows[index]) for part in (batch[1], batch[2], batch[4]))
        assert np.array_equal(batch[3], strings[index])
        assert batch[5].tolist() == list(map(str, index))
        assert np.array_equal(batch[6], structured[index])
        assert np.array_equal(batch[7], index * 2)
        assert np.array_equal(batch[8], rows[::-1][index])
        assert batch[9].mask.tolist() == (index > 5).tolist()
        assert batch[0].flags.writeable
        assert not np.shares_memory(batch[0], rows)
        assert batch[0].ctypes.data % 64 == 0


def test_mapped_array(tmp_path):
    np.save(tmp_path / "x.npy", rows := np.arange(300).reshape(100, 3))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    loader = Loader(mapped, batch_size=30)
    batches = list(loader)
    assert all(type(batch) is np.ndarray for batch in batches)
    assert np.array_equal(np.concatenate(batches), rows)
    del mapped, loader


def test_no_samples(samples):
    for keys in ([], slice(0, 0)):
        loader = Loader((samples, keys), batch_size=4, shuffle=True)
        assert len(loader) == 0
        assert list(loader) == []
        assert loader.epoch == 1


def test_foreign_members(lab):
    """What a fetch can read, all mixed: the same batches."""
    import bz2

    rng = np.random.default_rng(0)
    members, arrays = [], []
    for i in range(40):
        array = rng.integers(0, 99, (4, 6)).astype("<i4")
        arrays.append(array)
        kind = (i // 9 + i * 7) % 5
        written = [array, np.asfortranarray(array), array.astype(">i4"), array, array][kind]
        data = lab.npy(written)
        if kind == 3:  # other bytes in the header
            header = lab.header_text("<i4", (4, 6)).ljust(200) + "\n"
            data = lab.raw_npy(header, array.tobytes())
        extra = {"method": 12, "body": bz2.compress(data)} if kind == 4 else {}
        members.append(lab.Member(f"k{i}.npy".encode(), data, **extra))
    with fastzip.load(lab.Archive(members).build()) as npz:
        for prefetch, batch_size in itertools.product((0, 1, 3), (1, 7, 40)):
            loader = Loader(npz, batch_size=batch_size, prefetch=prefetch, shuffle=True)
            order = _order.shuffled(40, 0, 0)
            for i, batch in enumerate(loader):
                index = order[i * batch_size : (i + 1) * batch_size]
                assert np.array_equal(batch, npz.fetch(index))
                assert np.array_equal(batch, [arrays[j] for j in index])
                assert batch.dtype == np.int32


def test_bad_arguments(lab, samples, path):
    for what, error in {
        "batch_size": 0, "prefetch": -1, "seed": -1, "rank": 1, "world_size": 0, "threads": 0,
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=what):
            Loader(samples, **{"batch_size": 4, what: error})
    for wrong in (2.0, True, "4", None):
        with pytest.raises(ValueError, match="batch_size must be an integer from 1 on"):
            Loader(samples, batch_size=wrong)
    with pytest.raises(ValueError, match=r"seed must be .* below 18,446,744,073,709,551,616"):
        Loader(samples, batch_size=4, seed=2**64)
    with pytest.raises(
        ValueError, match="first source has 53 samples, and the third source has 52"
    ):
        Loader(samples, LABELS, LABELS[1:], batch_size=4)
    with pytest.raises(TypeError, match="collate must be callable"):
        Loader(samples, batch_size=4, collate=3)
    with pytest.raises(TypeError):
        Loader(samples)
    numpys = np.load(path)
    for wrong, text in [
        ("x.npz", "open it with fastzip.load"),
        (path, "open it with fastzip.load"),
        (numpys, "open it with fastzip.load"),
        (3, "it takes an NpzFile, an array"),
        ({"a": 1}, "a dict; it takes"),
        ((samples, [0], 3), "a tuple of 3"),
        ((samples, "ix-000"), "list of keys"),
        ((LABELS, 3), "must be one-dimensional"),
        ((LABELS, [[3]]), "must be one-dimensional"),
    ]:
        with pytest.raises(TypeError, match=text):
            Loader(wrong, batch_size=4)
        with pytest.raises(TypeError, match=text):
            Loader(samples, wrong, batch_size=4)
    numpys.close()
    with pytest.raises(TypeError, match="the first source is a list; it takes an NpzFile, an arr"):
        Loader([1, 2], batch_size=4)
    with pytest.raises(ValueError, match="the second source has 2"):
        Loader(samples, [1, 2], batch_size=4)
    with pytest.raises(KeyError, match="nope is not a file"):
        Loader((samples, ["nope"]), batch_size=4)
    with pytest.raises(IndexError):
        Loader((samples, [N]), batch_size=4)
    with pytest.raises(ValueError, match="epoch"):
        Loader(samples, batch_size=4).set_epoch(-1)


def test_repr(samples):
    where = repr(samples.index.where)
    loader = Loader(samples, LABELS, (samples, slice(N)), batch_size=4, shuffle=True, collate=len)
    again = Loader(samples, LABELS, (samples, slice(N)), batch_size=4, shuffle=True, collate=len)
    assert repr(loader) == repr(again) == repr(pickle.loads(pickle.dumps(loader)))
    assert repr(loader) == (
        f"Loader({where}, 53 of int64[53], 53 of {where}, batch_size=4, shuffle=True, seed=0, "
        "drop_last=False, prefetch=2, threads=None, rank=0, world_size=1, collate=len)"
    )


def test_collate(samples):
    thread = threading.get_ident()

    def collate(batch):
        assert threading.get_ident() == thread
        return {"image": batch[0], "label": batch[1]}

    for batch in Loader(samples, LABELS, batch_size=10, collate=collate):
        assert np.array_equal(batch["image"][:, 0, 0] * 10, batch["label"])


# ---- resuming --------------------------------------------------------------------------------


@pytest.mark.parametrize("prefetch", [0, 1, 5])
@pytest.mark.parametrize("shuffle", [False, True])
def test_resume(samples, shuffle, prefetch):
    """After each batch: what was handed out counts, and not what was read ahead."""
    options = {"batch_size": 8, "shuffle": shuffle, "seed": 5, "prefetch": prefetch}
    whole = Loader(samples, LABELS, **options)
    right = [seen(whole) for _ in range(4)]
    loader, states = Loader(samples, LABELS, **options), []
    states.append((0, 0, loader.state_dict()))
    for epoch in range(2):
        for i, _ in enumerate(loader):
            states.append((epoch, i + 1, loader.state_dict()))
        states.append((epoch + 1, 0, loader.state_dict()))
    for epoch, done, state in states:
        again = Loader(samples, LABELS, **options)
        again.load_state_dict(json.loads(json.dumps(state)))
        assert again.state_dict() == state
        assert again.epoch == epoch
        again.set_epoch(epoch)  # the current one: nothing changes
        assert seen(again) == right[epoch][done:]
        assert again.epoch == epoch + 1
        assert seen(again) == right[epoch + 1]


def test_resume_with_other_ranks(samples):
    """From two ranks to three with batches of another size: each sample once."""
    options = {"shuffle": True, "seed": 6}
    old = [Loader(samples, **options, batch_size=4, rank=r, world_size=2) for r in range(2)]
    got = []
    for loader in old:
        got += flat(seen(itertools.islice(loader, 3)))
    state = old[0].state_dict()
    assert state == old[1].state_dict()
    assert state["position"] == len(got) == 24
    for rank in range(3):
        loader = Loader(samples, **options, batch_size=5, rank=rank, world_size=3)
        loader.load_state_dict(state)
        got += flat(seen(loader))
    assert sorted(got) == list(range(N))


def test_states_that_do_not_fit(samples):
    loader = Loader(samples, batch_size=4, shuffle=True, seed=1)
    next(iter(loader))
    state = loader.state_dict()
    assert state == {
        "version": 1, "length": N, "shuffle": True, "seed": 1, "epoch": 0, "position": 4,
    }  # fmt: skip
    others = {
        "length": Loader((samples, slice(9)), batch_size=4, shuffle=True, seed=1),
        "shuffle": Loader(samples, batch_size=4, seed=1),
        "seed": Loader(samples, batch_size=4, shuffle=True),
    }
    for name, other in others.items():
        before = other.state_dict()
        with pytest.raises(ValueError, match=f"state is of a Loader of {name}"):
            other.load_state_dict(state)
        assert other.state_dict() == before
    for wrong in ({"version": 2}, {"position": N + 1}, {"position": -1}, {"epoch": "x"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            loader.load_state_dict(state | wrong)
    with pytest.raises(ValueError, match=r"it lacks version, .*position"):
        loader.load_state_dict({})
    assert loader.state_dict() == state


def test_iterators_of_one_loader(samples):
    """Each goes its own way; the loader tells of the one made last."""
    loader = Loader(samples, batch_size=10, shuffle=True)
    right = seen(loader)
    loader.set_epoch(0)
    one = iter(loader)
    first = [next(one) for _ in range(2)]
    other = iter(loader)
    assert loader.state_dict()["position"] == 0
    next(other)
    assert loader.state_dict()["position"] == 10
    assert flat(seen(first + list(one))) == flat(right)
    assert loader.epoch == 0
    list(other)
    assert loader.epoch == 1
    assert next(one, None) is next(other, None) is None
    assert loader.epoch == 1
    for a, b in zip(loader, loader, strict=True):
        assert np.array_equal(a, b)


def test_break(samples):
    """The state stays, and the next loop begins the epoch anew."""
    loader = Loader(samples, batch_size=10, shuffle=True)
    for _ in loader:
        break
    state = loader.state_dict()
    assert state["position"] == 10
    again = [seen(loader)]
    loader.load_state_dict(state)
    rest = seen(loader)
    assert again[0][1:] == rest
    assert loader.epoch == 1


def test_tqdm(samples, capsys):
    tqdm = pytest.importorskip("tqdm").tqdm
    tqdm.monitor_interval = 0  # no thread that stays
    loader = Loader(samples, batch_size=10)
    assert sum(len(batch) for batch in tqdm(loader)) == N
    assert "6/6" in capsys.readouterr().err


# ---- failures --------------------------------------------------------------------------------


@pytest.fixture
def damaged(lab):
    """Sample 13 and 14 are damaged, and 30 is of another dtype, which its size doesn't tell."""
    members = [lab.Member(b"%03d.npy" % i, lab.npy(np.full(9, i))) for i in range(40)]
    members[13].crc = members[14].crc = 1
    members[30] = lab.Member(b"030.npy", lab.npy(np.full(9, 30.0)))
    with fastzip.load(lab.Archive(members).build()) as npz:
        yield npz


@leaves_nothing
@pytest.mark.parametrize("prefetch", [0, 1, 8])
def test_failures_come_in_their_turn(damaged, prefetch):
    """At their batch, with the member's name; then the next one comes."""
    loader = Loader(damaged, np.arange(40), batch_size=4, prefetch=prefetch)
    it, got = iter(loader), {}
    for i in range(10):
        try:
            batch = next(it)
        except fastzip.BadZipFile as exc:
            got[i] = exc.code, exc.member, exc.failed
        except ValueError as exc:
            got[i] = exc.code, exc.member, exc.failed
        else:
            assert np.array_equal(batch[0][:, 0], batch[1])
            assert batch[1].tolist() == list(range(4 * i, 4 * i + 4))
        assert loader.state_dict()["position"] == 4 * i + 4
    assert got == {
        3: ("crc", "013.npy", [("013", "crc"), ("014", "crc")]),
        7: ("unlike", "030.npy", [("030", "unlike")]),
    }
    assert next(it, "end") == "end"
    assert loader.epoch == 1


@leaves_nothing
def test_collate_fails(samples):
    """That batch is through."""
    calls = itertools.count()

    def collate(batch):
        call = next(calls)
        if call == 1:
            raise KeyError("mine")
        if call == 3:
            raise StopIteration
        return batch

    loader = Loader(samples, batch_size=10, collate=collate)
    it = iter(loader)
    assert next(it)[0, 0, 0] == 0
    with pytest.raises(KeyError, match="mine"):
        next(it)
    assert next(it)[0, 0, 0] == 20
    with pytest.raises(RuntimeError, match="collate raised StopIteration"):
        next(it)
    assert [batch[0, 0, 0] for batch in it] == [40, 50]


@leaves_nothing
def test_closed(lab, save):
    npz = fastzip.load(save(lab.npz(**{f"k{i}": np.arange(4) for i in range(30)})))
    loader = Loader(npz, batch_size=5)
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
    assert outcomes == sorted(outcomes, reverse=True)  # what was begun before is still read
    assert next(it, None) is None


@leaves_nothing
def test_no_memory(samples):
    """MemoryError at the batch whose memory is lacking, or the right batch; then all is well."""
    right = seen(Loader(samples, LABELS, batch_size=20, threads=2))
    outcomes = set()
    for nth in range(1, 30):
        loader = Loader(samples, LABELS, batch_size=20, threads=2)
        fastzip.trim()
        it, got, failed = iter(loader), [], 0
        _core.fail_allocation(nth)
        while True:
            try:
                batch = next(it, None)
            except MemoryError:
                failed += 1
                continue
            if batch is None:
                break
            got.append(batch[0][:, 0, 0].tolist())
        _core.fail_allocation(0)
        outcomes.add(failed)
        assert failed <= 1
        assert len(got) >= len(right) - failed
        assert all(batch in right for batch in got)
    assert outcomes <= {0, 1}
    assert 0 in outcomes


# ---- reading ahead ---------------------------------------------------------------------------


def heavy_loader(heavy, times=20, **options):
    npz, batch = heavy
    keys = np.tile(np.arange(len(npz)), times)
    return Loader((npz, keys), batch_size=24, **options), batch


def begun(it):
    """What the iterator has in work."""
    return [part._begun[0].begun[0].ahead for batch in it._begun for part in batch.parts]


@leaves_nothing
def test_ahead_while_python_runs(heavy):
    """No other thread of Python's gets a turn, and the next batches are read."""
    loader, right = heavy_loader(heavy, prefetch=3, threads=2)
    it = iter(loader)
    assert np.array_equal(next(it), right)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        until = time.monotonic() + 100
        while not all(ahead.finished for ahead in begun(it)):
            assert time.monotonic() < until
    finally:
        sys.setswitchinterval(before)
    assert len(begun(it)) == 3
    assert all(np.array_equal(batch, right) for batch in it)


def test_nothing_ahead(heavy):
    loader, right = heavy_loader(heavy, prefetch=0)
    it = iter(loader)
    for batch in it:
        assert np.array_equal(batch, right)
        assert not it._begun


@leaves_nothing
@pytest.mark.parametrize("end", ["break", "close", "error", "del", "cycle"])
def test_the_end_of_a_loop(heavy, end):
    """Nothing is at work any more, and nothing is held."""
    loader, _ = heavy_loader(heavy, prefetch=4)
    it = iter(loader)
    kept = next(it)
    ahead = begun(it)
    assert len(ahead) == 4
    gone = weakref.ref(it)
    if end == "break":
        for batch in it:
            del batch
            break
        del it
    elif end == "close":
        it.close()
        assert next(it, None) is None
        it.close()
        del it
    elif end == "error":
        with contextlib.suppress(ZeroDivisionError):
            for batch in it:
                del batch
                1 / 0  # noqa: B018
        del it
    elif end == "cycle":
        it.cycle = it
        del it
        gc.collect()
    else:
        del it
    assert gone() is None
    for one in ahead:  # only we hold them
        assert sys.getrefcount(one) <= 3
        assert one.finished or not one.wait()
    assert kept.any()
    assert loader.state_dict()["position"] == (48 if end in ("break", "error") else 24)


def test_memory(heavy):
    """prefetch + 1 batches besides those that somebody holds; the same ones over and over."""
    loader, right = heavy_loader(heavy, times=60, prefetch=2)
    addresses = set()
    for batch in loader:
        addresses.add(batch.ctypes.data)
        assert np.array_equal(batch, right)
        del batch
    assert len(addresses) <= 5
    batches = list(itertools.islice(loader, 8))
    assert len({batch.ctypes.data for batch in batches}) == 8  # all of these are held
    assert all(np.array_equal(batch, right) for batch in batches)
    view = next(iter(loader))[3:5]
    for batch in loader:
        assert not np.shares_memory(batch, view)
    assert np.array_equal(view, right[3:5])


def test_in_use(samples):
    """An iterator isn't for two at a time."""
    it = None

    def collate(batch):
        with pytest.raises(ValueError, match="in use already"):
            next(it)
        with pytest.raises(ValueError, match="in use already"):
            it.close()
        return batch

    it = iter(Loader(samples, batch_size=10, collate=collate))
    assert flat(seen(it)) == list(range(N))
    it.close()


@leaves_nothing
def test_threads(samples):
    """An iterator for each; the loader is theirs together."""
    loader = Loader(samples, LABELS, batch_size=6, shuffle=True, threads=2)
    right, wrong = seen(loader), []

    def work():
        for _ in range(5):
            it = iter(loader)
            loader_epoch = it._progress.at[0]
            batches = seen(it)
            if loader_epoch == 0 and batches != right:
                wrong.append(batches)
            if sorted(flat(batches)) != list(range(N)):
                wrong.append(batches)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def interrupted(faults, kind):
    """A signal's handler raises while batches are waited for: nothing is lost, nothing works on."""
    made = faults.material()
    keys = made.keys("large") * 100
    right = np.tile(made.batch("large"), (5, 1))

    def check(batch, at):
        assert batch[1].tolist() == list(range(at, at + 10))
        assert np.array_equal(batch[0], right)

    with fastzip.load(made.path) as npz:
        loader = Loader((npz, keys), np.arange(len(keys)), batch_size=10, prefetch=2)
        return interrupted_epoch(loader, 10, check, kind)


@pytest.mark.parametrize("kind", ["own", "ctrl-c"])
def test_interrupted(faultlab, kind):
    stopped, lost = faultlab.run(interrupted, kind)
    assert stopped > lost


# ---- processes -------------------------------------------------------------------------------


@leaves_nothing
def test_fork(faultlab, heavy):
    """Iterators go on in the child as in the parent, whatever was ahead."""
    loader, right = heavy_loader(heavy, times=9, prefetch=3)
    for turn in range(faultlab.times(20)):
        it = iter(loader)
        for _ in range(turn % 4):
            next(it)

        def child(it=it, turn=turn):
            batches = list(it)
            if len(batches) != 9 - turn % 4:
                return False
            return all(np.array_equal(batch, right) for batch in [*batches, *loader])

        assert forked(child) == 0
        assert all(np.array_equal(batch, right) for batch in it)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_worker_processes(samples, method):
    loaders = []
    for rank in range(2):
        options = {"batch_size": 6, "shuffle": True, "rank": rank, "world_size": 2}
        loaders.append(Loader(samples, LABELS, (samples, range(N)), **options))
    it = iter(loaders[1])
    next(it)  # its state goes along, and the iterator doesn't
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with multiprocessing.get_context(method).Pool(2) as pool:
            results = pool.map(list, loaders)  # a function of this file isn't found in a worker
            pool.close()
            pool.join()
    for batches, left in zip(results, [iter(loaders[0]), it], strict=True):
        for got, right in zip(batches, left, strict=True):
            assert all(map(np.array_equal, got, right))


def test_pickle(samples):
    loader = Loader(samples, LABELS, batch_size=8, shuffle=True)
    it = iter(loader)
    first = [next(it) for _ in range(2)]
    data = pickle.dumps(loader)
    assert len(data) < 4096
    copy = pickle.loads(data)
    assert copy.state_dict() == loader.state_dict()
    rest = seen(copy)
    assert rest == seen(it)
    loader.set_epoch(0)
    assert [images[:, 0, 0].tolist() for images, _ in first] + rest == seen(loader)
    with pytest.raises(TypeError, match="its Loader can"):
        pickle.dumps(iter(loader))
