"""fastzip.torch: every way to load gives the batches that np.load gives."""

from __future__ import annotations

import copy
import errno
import gc
import os
import pickle
import signal
import subprocess
import types
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from forking import SOON, forked, forks

torch = pytest.importorskip("torch", reason="PyTorch isn't installed")

from torch.utils.data import (  # noqa: E402
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    Subset,
    default_collate,
    get_worker_info,
    random_split,
)

import fastzip  # noqa: E402
import fastzip.torch  # noqa: E402
from fastzip.torch import ArchiveDataset, collate  # noqa: E402
from fastzip.torch import lent as _lent  # noqa: E402

WORKER_INFO = "fastzip.torch.dataset.get_worker_info"

N = 50
METHODS = ["fork", "spawn", "forkserver"]


@pytest.fixture(scope="module", autouse=True)
def preload():
    """Workers of a fork server needn't import torch again."""
    torch.multiprocessing.get_context("forkserver").set_forkserver_preload(["fastzip.torch"])


class Reference(Dataset):
    """The same samples by np.load, one by one."""

    def __init__(self, x, y):
        with np.load(x) as xs, np.load(y) as ys:
            self.samples = [
                (torch.from_numpy(xs[name]), torch.from_numpy(np.array(ys[name])))
                for name in xs.files
            ]

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        if isinstance(index, list):
            return default_collate([self.samples[i] for i in index])
        return self.samples[index]


@pytest.fixture
def pair(made):
    """Our dataset and the reference."""
    folder, _, _ = made
    paths = folder / "x.npz", folder / "y.npz"
    with fastzip.load(paths[0]) as images, fastzip.load(paths[1]) as labels:
        yield ArchiveDataset(images, labels), Reference(*paths)


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)
    assert type(a) is type(b)
    return len(a) == len(b) and all(map(equal, a, b))


def same_epochs(ours, theirs, epochs):
    for epoch in range(epochs):
        batches = 0
        for loader in ours, theirs:
            if isinstance(loader.sampler, DistributedSampler):
                loader.sampler.set_epoch(epoch)
        for mine, right in zip(ours, theirs, strict=True):
            assert equal(mine, right)
            batches += 1
        assert batches == len(ours) > 2


def shuffled(data):
    """Not the loader's own shuffling, whose order depends on what else draws from its generator."""
    return RandomSampler(data, generator=torch.Generator().manual_seed(2))


def plain(data):
    return data, {"batch_size": 8, "sampler": shuffled(data)}


def subset(data):
    part = Subset(data, list(range(40, 3, -1)))
    return part, {"batch_size": 8, "sampler": shuffled(part)}


def split(data):
    part, _ = random_split(data, [30, 20], torch.Generator().manual_seed(1))
    return part, {"batch_size": 8, "sampler": shuffled(part), "drop_last": True}


def distributed(rank):
    def make(data):
        return data, {"batch_size": 8, "sampler": DistributedSampler(data, 2, rank, seed=3)}

    return make


def batches(data):
    sampler = BatchSampler(shuffled(data), 8, drop_last=False)
    return data, {"sampler": sampler, "batch_size": None}


WAYS = {
    "plain": plain,
    "subset": subset,
    "split": split,
    "rank0": distributed(0),
    "rank1": distributed(1),
    "batches": batches,
}


def loaders(pair, way, collate_fn=None, **options):
    """Ours with these options, and the reference's in this process, with the same order."""
    both = []
    for data in pair:
        dataset, chosen = WAYS[way](data)
        ours = data is pair[0]
        if ours and way != "batches":
            chosen["collate_fn"] = collate_fn
        both.append(DataLoader(dataset, **chosen, **(options if ours else {})))
    return both


@pytest.mark.parametrize("collate_fn", [default_collate, collate])
@pytest.mark.parametrize("way", WAYS)
def test_without_workers(pair, way, collate_fn):
    same_epochs(*loaders(pair, way, collate_fn), epochs=2)


# Spawned workers take seconds to start: there one rank is enough.
@pytest.mark.parametrize("persistent", [False, True])
@pytest.mark.parametrize(
    ("method", "way"),
    [(m, way) for m in METHODS for way in WAYS if (m, way) != ("spawn", "rank1")],
)
def test_workers(pair, method, way, persistent):
    for collate_fn in [default_collate, collate] if method == "fork" else [collate]:
        options = {
            "num_workers": 2,
            "multiprocessing_context": method,
            "persistent_workers": persistent,
        }
        epochs = 2 if persistent or method != "spawn" else 1
        same_epochs(*loaders(pair, way, collate_fn, **options), epochs=epochs)


def test_default_collate_in_a_spawned_worker(pair):
    options = {"num_workers": 1, "multiprocessing_context": "spawn"}
    same_epochs(*loaders(pair, "plain", default_collate, **options), epochs=1)


def test_ranks_cover_everything(made):
    data = ArchiveDataset(made[0] / "x.npz", np.arange(N))
    seen = []
    for rank in 0, 1:
        sampler = DistributedSampler(data, 2, rank, seed=5)
        loader = DataLoader(data, 8, sampler=sampler, collate_fn=collate)
        seen += [i for _, indices in loader for i in indices.tolist()]
    assert sorted(seen) == list(range(N))


# ---- resuming --------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:.*(pin_memory|is deprecated).*")
def test_resumed_in_mid_epoch(pair, workers):
    stateful = pytest.importorskip(
        "torchdata.stateful_dataloader", reason="torchdata isn't installed"
    )

    def loader():
        return stateful.StatefulDataLoader(
            pair[0],
            batch_size=8,
            shuffle=True,
            num_workers=workers,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(11),
        )

    whole = loader()
    began, batches = iter(whole), []
    for _ in range(3):
        batches.append(next(began))
    state = whole.state_dict()
    rest = list(began)
    assert [len(y) for _, y in batches + rest] == [8] * 6 + [2]

    again = loader()
    again.load_state_dict(pickle.loads(pickle.dumps(state)))
    assert equal(list(again), rest)


def test_state(pair, made):
    data, _ = pair
    state = data.state_dict()
    assert state["samples"] == N
    data.load_state_dict(pickle.loads(pickle.dumps(state)))
    other = ArchiveDataset((made[0] / "x.npz", range(N - 1, -1, -1)), made[2])
    assert other.state_dict()["samples"] == N
    with pytest.raises(ValueError, match="another dataset"):
        other.load_state_dict(state)


# ---- memory ----------------------------------------------------------------------------------


def test_collate_makes_no_copy(pair):
    batch = pair[0].__getitems__([4, 2])
    x, y = collate(batch)
    assert x.data_ptr() == batch[0][0].data_ptr()
    assert y.data_ptr() == batch[0][1].data_ptr()
    assert x.data_ptr() % 64 == 0
    assert batch[1][0].data_ptr() == x[1].data_ptr()
    assert equal(default_collate(batch), [x, y])


@pytest.mark.parametrize("strategy", ["file_descriptor", "file_system"])
def test_shared_memory_in_a_worker(pair, made, monkeypatch, strategy):
    folder, x, y = made
    before = torch.multiprocessing.get_sharing_strategy()
    torch.multiprocessing.set_sharing_strategy(strategy)
    monkeypatch.setattr(
        "fastzip.torch.dataset.get_worker_info", lambda: types.SimpleNamespace(id=0)
    )
    try:
        several = ArchiveDataset([folder / "x-a.npz", folder / "x-b.npz"], y.astype(">i8"))
        for data in pair[0], several:
            for indices in [3, 1], [30, 1, 2, 40], [4]:
                images, labels = collate(data.__getitems__(indices))
                assert images.is_shared()
                assert labels.is_shared()
                assert torch.equal(images, torch.tensor(x[indices]))
                assert torch.equal(labels, torch.tensor(y[indices]))
    finally:
        torch.multiprocessing.set_sharing_strategy(before)


class Addresses(ArchiveDataset):
    """Tells, with a batch, in which memory the worker had it."""

    def __getitems__(self, indices):
        batch = super().__getitems__(indices)
        told = (batch.stacked.is_shared(), get_worker_info() is not None)
        batch.stacked = [batch.stacked, torch.tensor(told)]
        return batch


def test_what_a_worker_sends(made):
    data = Addresses(made[0] / "x.npz")
    loader = DataLoader(data, 10, num_workers=1, collate_fn=collate, multiprocessing_context="fork")
    for k, (images, told) in enumerate(loader):
        assert told.tolist() == [True, True]
        assert torch.equal(images, torch.tensor(made[1][10 * k : 10 * k + 10]))


# ---- memory that comes back --------------------------------------------------------------------


def by_worker(data, **options):
    return DataLoader(data, 2, num_workers=1, collate_fn=collate, **options)


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_fills_the_same_memory_again(made, method):
    data = ArchiveDataset(made[0] / "x.npz", np.arange(N))
    loader = by_worker(data, multiprocessing_context=method, persistent_workers=method == "fork")
    for _ in range(3 if method == "fork" else 1):
        places = set()
        for k, (images, indices) in enumerate(loader):
            assert indices.tolist() == [2 * k, 2 * k + 1]
            assert torch.equal(images, torch.tensor(made[1][2 * k : 2 * k + 2]))
            assert images.untyped_storage().nbytes() == images.nbytes
            assert images.data_ptr() % 64 == 0
            places |= {images.data_ptr(), indices.data_ptr()}
            images.zero_()  # it is the loop's
        assert len(places) < 16 < N // 2


@pytest.mark.parametrize("keep", [lambda x: x, lambda x: x[1:].numpy()[:, 1], torch.from_dlpack])
def test_batches_that_are_kept_stay_as_they_are(made, keep):
    loader = by_worker(ArchiveDataset(made[0] / "x.npz"), persistent_workers=True)
    kept = [keep(images) for _ in range(2) for images in loader]
    right = [keep(images) for _ in range(2) for images in torch.tensor(made[1]).split(2)]
    assert len(kept) == N
    for one, other in zip(kept, right, strict=True):
        assert np.array_equal(one, other)


class Keeps(ArchiveDataset):
    """Its worker keeps every batch, and sends what all of them are now."""

    kept = ()

    def __getitems__(self, indices):
        batch = super().__getitems__(indices)
        self.kept += (batch.stacked,)
        batch.stacked = [batch.stacked, torch.stack(self.kept)]
        return batch


def test_batches_that_the_worker_keeps_stay_as_they_are(made):
    right = torch.tensor(made[1]).unflatten(0, (-1, 2))
    for k, (images, kept) in enumerate(by_worker(Keeps(made[0] / "x.npz"))):
        assert torch.equal(images, right[k])
        assert torch.equal(kept, right[: k + 1])


def test_a_batch_stays_for_a_forked_child(made):
    batches = iter(by_worker(ArchiveDataset(made[0] / "x.npz")))
    first = next(batches)
    told, go_on = os.pipe(), os.pipe()
    with forks():
        pid = os.fork()
    if pid == 0:
        signal.alarm(SOON)
        try:
            os.close(go_on[1])
            os.read(go_on[0], 1)
            os.write(told[1], b"y" if torch.equal(first, torch.tensor(made[1][:2])) else b"n")
        finally:
            os._exit(0)
    os.close(told[1])
    del first
    rest = list(batches)
    os.write(go_on[1], b"x")
    assert os.read(told[0], 1) == b"y"
    os.waitpid(pid, 0)
    for fd in (*go_on, told[0]):
        os.close(fd)
    assert len(rest) == N // 2 - 1


def test_what_a_forked_child_lets_go_is_not_given_back(made):
    batches = iter(by_worker(ArchiveDataset(made[0] / "x.npz")))
    held = [next(batches)]

    def let_go():  # its parent goes on reading
        held.clear()
        gc.collect()
        return True

    assert forked(let_go) == 0
    rest = list(batches)
    assert torch.equal(held[0], torch.tensor(made[1][:2]))
    assert torch.equal(torch.cat(rest), torch.tensor(made[1][2:]))


def test_what_another_thread_gets_at_a_fork_is_not_given_back(made, here, monkeypatch):
    """Between the hook that forks begin with and the fork itself."""
    batch = there(here[[3, 1]])
    (memory,) = _lent._mapped.values()
    monkeypatch.setattr(_lent, "_era", (os.getpid() + 1, _lent._era[1]))  # as in the child
    del batch
    assert memory[0] == _lent._LOST
    assert not _lent._mapped
    images = here[[4, 5]]
    assert [piece.memory[0] for piece in _lent._pieces] == [_lent._FREE]
    assert torch.equal(images, torch.tensor(made[1][[4, 5]]))


def test_a_piece_that_a_workers_child_may_read_is_given_up(made, here):
    batch = here[[3, 1]]
    (memory,) = (piece.memory for piece in _lent._pieces)
    assert forked(lambda: True) == 0
    assert there(batch) is not None
    del batch
    here[[4, 5]]
    assert memory[1] == 1
    assert all(piece.memory is not memory for piece in _lent._pieces)


def is_lent(images):
    return not images.is_shared()  # as torch sees it, which shares what it sends itself


def test_forks_use_nothing_up(made):
    """A loader whose process forks with a batch in hand, as one for validation does each epoch."""
    before = set(_lent._mapped)
    loader, lent = by_worker(ArchiveDataset(made[0] / "x.npz"), persistent_workers=True), 0
    for _ in range(2 * _lent._PIECES):
        for images in loader:
            lent += is_lent(images)
        assert forked(lambda: True) == 0
        assert len(set(_lent._mapped) - before) <= _lent._PIECES
    assert lent == 2 * _lent._PIECES * N // 2


class Forks(ArchiveDataset):
    def __getitems__(self, indices):
        batch = super().__getitems__(indices)
        subprocess.run(["true"], preexec_fn=int, check=True)
        return batch


def test_forks_in_a_worker_use_nothing_up(made):
    before = set(_lent._mapped)
    for images in by_worker(Forks(made[0] / "x.npz")):
        assert is_lent(images)
        assert len(set(_lent._mapped) - before) <= _lent._PIECES


def test_memory_goes_with_the_workers(made):
    before = set(_lent._mapped)
    for _ in range(3):
        for _batch in by_worker(ArchiveDataset(made[0] / "x.npz")):
            assert 0 < len(set(_lent._mapped) - before) < 8
    del _batch
    assert not set(_lent._mapped) - before


@pytest.fixture
def here(made, monkeypatch):
    """A dataset that takes this process for a worker."""
    monkeypatch.setattr(
        "fastzip.torch.dataset.get_worker_info", lambda: types.SimpleNamespace(id=0)
    )
    _lent._pieces.clear()
    with fastzip.load(made[0] / "x.npz") as npz:
        yield ArchiveDataset(npz)
    _lent._pieces.clear()
    _lent._mapped.clear()


def there(tensor):
    """As it is sent to another process."""
    return pickle.loads(ForkingPickler.dumps(tensor))


def test_a_batch_that_is_sent_twice(made, here):
    batch = here[[3, 1]]
    copies = there([batch, batch[1:]]), there(batch)
    assert copies[0][0].untyped_storage().data_ptr() == copies[0][1].untyped_storage().data_ptr()
    del batch
    for _ in range(3):
        here[[4, 5]]
    right = torch.tensor(made[1][[3, 1]])
    assert equal(copies, ([right, right[1:]], right))
    assert sum(piece.memory[0] == _lent._LENT for piece in _lent._pieces) == 1
    del copies
    assert not any(piece.memory[0] for piece in _lent._pieces)


def test_a_piece_goes_to_another_process_later(made, here):
    there(here[[3, 1]])  # into one that keeps the descriptor for itself
    _lent._mapped.clear()
    copy_ = there(here[[4, 5]])
    assert len(_lent._pieces) == 1
    assert torch.equal(copy_, torch.tensor(made[1][[4, 5]]))
    del copy_
    sent = ForkingPickler.dumps(here[[6, 7]])
    _lent._mapped.clear()
    fd = _lent._pieces[0].fd
    with open(os.devnull) as other:
        os.dup2(other.fileno(), fd)  # as after its end, when other files get its number
        with pytest.raises(OSError, match="went with the worker"):
            pickle.loads(sent)


def test_what_torch_makes_of_a_batch(made, here):
    right = torch.tensor(made[1][[3, 1]])
    for make in (
        copy.deepcopy,
        lambda batch: pickle.loads(pickle.dumps(batch)),
        lambda batch: batch.clone(),
        lambda batch: batch.share_memory_(),
        lambda batch: batch[:, 1:],
        lambda batch: batch.float(),
    ):
        made_of_it = make(here[[3, 1]])
        again = there(made_of_it)
        here[[4, 5]]
        assert equal(again, make(right))
        assert equal(made_of_it, make(right))


@pytest.mark.parametrize("why", ["no memory", "no space", "an old libc", "chosen"])
def test_without_memory_to_lend(made, here, monkeypatch, why):
    def fail(*args):
        raise OSError(errno.ENOSPC, "no space")

    if why == "chosen":
        monkeypatch.setattr(_lent, "get_sharing_strategy", lambda: "file_system")
    elif why == "an old libc":  # what some builds of Python are made for
        monkeypatch.delattr(os, "memfd_create")
    else:
        name = "memfd_create" if why == "no memory" else "posix_fallocate"
        monkeypatch.setattr(os, name, fail)
    batch = here[[3, 1]]
    assert batch.is_shared()
    assert torch.equal(there(batch), torch.tensor(made[1][[3, 1]]))
    assert not _lent._pieces


def test_memory_to_lend_is_limited(made, here, monkeypatch):
    batches = [here[[i, i + 1]] for i in range(20)]
    assert len(_lent._pieces) == _lent._PIECES
    for i, batch in enumerate(batches):
        assert torch.equal(there(batch), torch.tensor(made[1][i : i + 2]))
    _lent._pieces.clear()
    monkeypatch.setattr(_lent, "_BYTES", 3 * batches[0].nbytes)
    batches = [here[[i, i + 1]] for i in range(20)]
    assert len(_lent._pieces) == 3


def test_pieces_that_fit_no_more_make_way(made, here):
    few = [here[[i]] for i in range(_lent._PIECES)]
    small = [piece.memory for piece in _lent._pieces]
    assert len(small) == _lent._PIECES
    del few
    many = [here[range(5 * i, 5 * i + 5)] for i in range(8)]
    right = torch.tensor(made[1][:40]).split(5)
    assert all(map(torch.equal, many, right))
    assert len(_lent._pieces) == _lent._PIECES
    assert [memory[1] for memory in small].count(1) == len(many)


def test_memory_is_not_reused_while_a_tensor_lives(tmp_path):
    arrays = {f"ix-{i}": np.full(65536, i, np.uint8) for i in range(8)}
    np.savez_compressed(tmp_path / "big.npz", **arrays)
    data = ArchiveDataset(tmp_path / "big.npz")
    views = [data[i] for i in range(8)] + [collate(data.__getitems__([i, 7 - i])) for i in range(8)]
    views = [view[..., ::1000].detach() for view in views]  # nothing else refers to the batches
    gc.collect()
    for i in range(50):
        data.__getitems__([i % 8] * 2)
        data[i % 8]
    for i in range(8):
        assert (views[i] == i).all()
        assert (views[8 + i][0] == i).all()
        assert (views[8 + i][1] == 7 - i).all()


def test_pinned_memory(pair, monkeypatch):
    asked, make = [], torch.empty

    def empty(*args, pin_memory=False, **options):
        asked.append(pin_memory)
        return make(*args, **options)

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    data, reference = pair
    data.pin_memory = True
    assert equal(collate(data.__getitems__([5, 6])), reference[[5, 6]])
    assert asked == [True, True]
    monkeypatch.setattr(
        "fastzip.torch.dataset.get_worker_info", lambda: types.SimpleNamespace(id=0)
    )
    assert collate(data.__getitems__([5, 6]))[0].is_shared()
    assert asked[2:] == [False, False]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
def test_truly_pinned_memory(made):
    x = collate(ArchiveDataset(made[0] / "x.npz", pin_memory=True).__getitems__([5, 6]))
    assert x.is_pinned()
    assert torch.equal(x.cuda().cpu(), torch.tensor(made[1][[5, 6]]))


# ---- what a dataset is made of ---------------------------------------------------------------


def test_several_archives(made):
    folder, x, y = made
    data = ArchiveDataset(
        [folder / "x-a.npz", fastzip.load(folder / "x-b.npz")],
        [folder / "y-a.npz", folder / "y-b.npz"],
    )
    assert len(data) == N
    for indices in [0, 49], [19, 20, 19], [5, 6], [45, 2, -1, -50, 30, 3], range(N):
        images, labels = data[indices]
        assert torch.equal(images, torch.tensor(x[list(indices)]))
        assert torch.equal(labels, torch.tensor(y[list(indices)]))
    loader = DataLoader(data, 16, num_workers=2, collate_fn=collate, multiprocessing_context="fork")
    images, labels = map(torch.cat, zip(*loader, strict=True))
    assert torch.equal(images, torch.tensor(x))
    assert torch.equal(labels, torch.tensor(y))


def test_keys(made):
    folder, x, y = made
    names = ["ix-007", "ix-003", "ix-007"]
    for keys in names, [7, 3, 7], np.array([7, 3, -43]):
        images, labels = ArchiveDataset((folder / "x.npz", keys), (folder / "y.npz", names))[:]
        assert torch.equal(images, torch.tensor(x[[7, 3, 7]]))
        assert labels.tolist() == y[[7, 3, 7]].tolist()
    even = np.arange(N) % 2 == 0
    data = ArchiveDataset((folder / "x.npz", even), y[even])
    assert len(data) == 25
    assert data[3][1] == y[6]
    parts = [(folder / "x-a.npz", slice(0, 2)), folder / "x-b.npz", (folder / "x-a.npz", [])]
    data = ArchiveDataset(parts)
    assert len(data) == 32
    assert torch.equal(data[[31, 0, 2]], torch.tensor(x[[49, 0, 20]]))
    with pytest.raises(KeyError, match="nope"):
        ArchiveDataset((folder / "x.npz", ["nope"]))


def test_wrong_lengths(made):
    folder, _, y = made
    with pytest.raises(
        ValueError, match="first source has 50 samples, and the second source has 20"
    ):
        ArchiveDataset(folder / "x.npz", folder / "y-a.npz")
    with pytest.raises(ValueError, match="the third source has 49"):
        ArchiveDataset(folder / "x.npz", y, y[1:])
    with pytest.raises(ValueError, match="the first source is an empty list"):
        ArchiveDataset([])
    with pytest.raises(TypeError, match="the second source is an int; it takes"):
        ArchiveDataset(folder / "x.npz", 3)
    with pytest.raises(TypeError, match=r"the second source is a list; .*NoneType"):
        ArchiveDataset(folder / "x.npz", [None] * N)
    with np.load(folder / "x.npz") as numpys, pytest.raises(TypeError, match=r"numpy\.load"):
        ArchiveDataset(numpys)
    with pytest.raises(FileNotFoundError):
        ArchiveDataset(folder / "nope.npz")


def test_indices(pair):
    data, reference = pair
    assert equal(data[-1], reference[N - 1])
    assert equal(data[np.int64(3)], reference[3])
    assert equal(data[torch.tensor([3, -1])], reference[[3, N - 1]])
    assert equal(data[10:40:9], reference[[10, 19, 28, 37]])
    assert equal([*data], [*reference.samples])
    assert [len(part) for part in data[[]]] == [0, 0]
    assert len(data.__getitems__([])) == 0
    for wrong in N, -N - 1, [0, N]:
        with pytest.raises(IndexError, match="50 samples"):
            data[wrong]
    for wrong in "ix-001", 1.0, [1.0], [[1]], None, [True]:
        with pytest.raises(TypeError):
            data[wrong]


def archive(tmp_path, arrays):
    np.savez_compressed(tmp_path / "some.npz", **arrays)
    return ArchiveDataset(tmp_path / "some.npz")


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u1", "<i2", ">i4", ">f4", "<f2", ">f8", "c8", ">c16", "u2", ">u4", "u8"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3)])
def test_dtypes(tmp_path, dtype, shape):
    arrays = [np.full(shape, i, dtype) for i in range(4)]
    data = archive(tmp_path, {f"ix-{i}": array for i, array in enumerate(arrays)})
    native = np.stack(arrays).astype(np.dtype(dtype).newbyteorder("="))
    assert equal(data[:], torch.from_numpy(native))
    assert equal(default_collate(data.__getitems__([3, 1])), torch.from_numpy(native[[3, 1]]))
    labelled = ArchiveDataset(tmp_path / "some.npz", np.stack(arrays))
    assert equal(labelled[2], (torch.from_numpy(native)[2],) * 2)
    labelled[2][1].fill_(0)  # a copy
    assert equal(labelled[2], (torch.from_numpy(native)[2],) * 2)


def test_fortran_order(tmp_path):
    arrays = {f"ix-{i}": np.asfortranarray(np.arange(6).reshape(2, 3) + i) for i in range(3)}
    assert equal(archive(tmp_path, arrays)[:], torch.from_numpy(np.stack(list(arrays.values()))))


@pytest.mark.parametrize("dtype", ["U3", "S3", "M8[s]", "V4", "g", "i4,f4"])
def test_dtypes_that_torch_lacks(tmp_path, monkeypatch, dtype):
    data = archive(tmp_path, {f"ix-{i}": np.zeros(2, dtype) for i in range(3)})
    for _ in range(2):
        with pytest.raises(TypeError, match=r"some\.npz: ix-2\.npy: torch has no dtype for"):
            data[2]
        # the same in a worker
        monkeypatch.setattr(
            "fastzip.torch.dataset.get_worker_info", lambda: types.SimpleNamespace(id=0)
        )
    labelled = ArchiveDataset(tmp_path / "some.npz", np.zeros(3, dtype))
    monkeypatch.undo()
    with pytest.raises(TypeError, match="torch has no dtype for"):
        labelled[0]


def test_labels_in_a_mapped_file_and_in_a_tensor(made, tmp_path):
    np.save(tmp_path / "y.npy", made[2])
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    data = ArchiveDataset(made[0] / "x.npz", mapped, torch.tensor(made[2]))
    _, one, other = data[[3, 1]]
    assert one.tolist() == other.tolist() == made[2][[3, 1]].tolist()
    one += 1  # a copy: the file can't be written


# ---- transforms ------------------------------------------------------------------------------


def test_transform(made):
    folder, x, y = made
    data = ArchiveDataset(folder / "x.npz", transform=torch.neg)
    assert torch.equal(data[3], torch.tensor(-x[3]))
    assert torch.equal(data[[3, 4]], torch.tensor(-x[[3, 4]]))
    data = ArchiveDataset(folder / "x.npz", y, transform=lambda image, label: (image[0], label + 1))
    image, label = data[3]
    assert torch.equal(image, torch.tensor(x[3, 0]))
    assert label == y[3] + 1
    images, labels = data[[3, 4]]
    assert torch.equal(images, torch.tensor(x[[3, 4], 0]))
    assert labels.tolist() == (y[[3, 4]] + 1).tolist()


def named(images, labels):
    return {"image": images.mul_(2), "label": labels}


@pytest.mark.parametrize("collate_fn", [default_collate, collate])
def test_batch_transform(made, collate_fn):
    folder, x, y = made
    data = ArchiveDataset(folder / "x.npz", y, batch_transform=named)
    assert torch.equal(data[3]["image"], torch.tensor(2 * x[3]))
    (batch,) = DataLoader(data, N, collate_fn=collate_fn)
    assert torch.equal(batch["image"], torch.tensor(2 * x))
    assert batch["label"].tolist() == y.tolist()
    data.transform = lambda sample: sample["label"]
    assert data[[3, 4]].tolist() == y[[3, 4]].tolist()
    data = ArchiveDataset(folder / "x.npz", batch_transform=torch.neg)
    assert torch.equal(data[[3, 4]], torch.tensor(-x[[3, 4]]))


def test_members_of_other_shapes(made, tmp_path):
    """One by one; somebody has to make them equal."""
    arrays = {f"ix-{i}": np.full((i // 2 + 1, 2), i) for i in range(6)}
    data = archive(tmp_path, arrays)
    assert [len(sample) for sample in data.__getitems__([0, 5, 2])] == [1, 3, 2]
    assert torch.equal(data[[2, 3]][1], torch.tensor(arrays["ix-3"]))  # alike, after others
    with pytest.raises(RuntimeError, match="equal size"):
        collate(data.__getitems__([0, 5]))
    data.transform = lambda sample: sample[0]
    assert data[[0, 5]].tolist() == [[0, 0], [5, 5]]
    several = ArchiveDataset([made[0] / "x.npz", tmp_path / "some.npz"])
    assert [sample.shape for sample in several.__getitems__([N + 5, 1])] == [(3, 2), (5, 7)]


def test_concat_dataset(made):
    """Correct, if not in batches."""
    parts = [ArchiveDataset(made[0] / f"x-{part}.npz") for part in "ab"]
    (batch,) = DataLoader(ConcatDataset(parts), N, collate_fn=collate)
    assert torch.equal(batch, torch.tensor(made[1]))


# ---- processes and damage --------------------------------------------------------------------


def test_pickling(made):
    data = ArchiveDataset(made[0] / "x.npz", made[0] / "y.npz")
    pickled = pickle.dumps(data)
    assert len(pickled) < 4096
    assert equal(pickle.loads(pickled)[[3, 4]], data[[3, 4]])
    assert repr(data) == "ArchiveDataset(x.npz, y.npz; 50 samples)"


def damaged(path):
    """Change one byte of the third member's data."""
    with fastzip.ZipFile(path) as zipped:
        info = zipped.infolist()[2]
    content = bytearray(path.read_bytes())
    content[info.header_offset + 30 + len(info.filename) + 60] ^= 0x55
    path.write_bytes(content)


@pytest.mark.parametrize("method", [None, "fork", "spawn"])
def test_a_damaged_member(tmp_path, method):
    rng = np.random.default_rng(0)
    arrays = {f"ix-{i}": rng.integers(0, 99, 500) for i in range(4)}
    np.savez_compressed(tmp_path / "bad.npz", **arrays)
    damaged(tmp_path / "bad.npz")
    data = ArchiveDataset(tmp_path / "bad.npz")
    options = {"num_workers": 1, "multiprocessing_context": method} if method else {}
    batches = iter(DataLoader(data, 2, collate_fn=collate, **options))
    assert torch.equal(next(batches)[1], torch.tensor(arrays["ix-1"]))
    with pytest.raises(fastzip.BadZipFile, match=r"bad\.npz: ix-2\.npy: "):
        next(batches)


@pytest.mark.parametrize("method", METHODS)
def test_a_replaced_file(made, tmp_path, method):
    path = tmp_path / "x.npz"
    path.write_bytes((made[0] / "x.npz").read_bytes())
    data = ArchiveDataset(path)
    os.utime(path, ns=(1, 1))
    loader = DataLoader(data, 8, num_workers=1, multiprocessing_context=method)
    with pytest.raises(fastzip.BadZipFile, match="has changed"):
        next(iter(loader))
