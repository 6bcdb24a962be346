"""fastzip.grain: through Grain's datasets and loaders."""

from __future__ import annotations

import pickle
import threading

import numpy as np
import pytest

import fastzip
from fastzip.grain import Source

N = 50


@pytest.fixture
def source(made):
    with fastzip.load(made[0] / "x.npz") as images, fastzip.load(made[0] / "y.npz") as labels:
        yield Source(images, labels)


@pytest.fixture(scope="module")
def grain():
    return pytest.importorskip("grain", reason="Grain isn't installed")


def test_random_access(source, made):
    _, x, y = made
    assert len(source) == N
    for index in 0, 49, -1, np.int64(7):
        image, label = source[index]
        assert np.array_equal(image, x[index])
        assert label == y[index]
    images, labels = source.fetch([3, 1, 3])
    assert np.array_equal(images, x[[3, 1, 3]])
    assert np.array_equal(labels, y[[3, 1, 3]])
    for wrong in N, -N - 1:
        with pytest.raises(IndexError):
            source[wrong]
    assert np.array_equal(Source(made[0] / "x.npz")[4], x[4])
    assert Source(made[0] / "x.npz").fetch(slice(2, 5)).shape == (3, 5, 7)


def test_repr(source, made, tmp_path):
    """The same for the same content, elsewhere and in another process; else another one."""
    for name in "x.npz", "y.npz":
        (tmp_path / name).write_bytes((made[0] / name).read_bytes())
    elsewhere = Source(tmp_path / "x.npz", tmp_path / "y.npz")
    again = pickle.loads(pickle.dumps(source))
    assert repr(source) == repr(elsewhere) == repr(again)
    assert repr(source).startswith("Source(x.npz, y.npz; 50 samples, content ")
    arrays = {f"ix-{i:03}": np.zeros((5, 7), np.float32) for i in range(N)}
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    others = [
        Source(tmp_path / "x.npz", tmp_path / "y.npz"),
        Source(made[0] / "x.npz", made[2]),
        Source((made[0] / "x.npz", range(N - 1, -1, -1)), made[0] / "y.npz"),
        Source((made[0] / "x.npz", range(40)), (made[0] / "y.npz", range(40))),
    ]
    assert len({repr(source), *map(repr, others)}) == 5


def test_pickling(source, made):
    pickled = pickle.dumps(source)
    assert len(pickled) < 4096
    again = pickle.loads(pickle.dumps(pickle.loads(pickled)))  # before anything was read, too
    assert np.array_equal(again[3][0], made[1][3])


def test_threads(source, made):
    wrong = []

    def work(seed):
        for i in np.random.default_rng(seed).integers(0, N, 200):
            image, label = source[i]
            if label != made[2][i] or not np.array_equal(image, made[1][i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def check_epoch(batches, made, ordered=False):
    labels = np.concatenate([labels for _, labels in batches])
    images = np.concatenate([images for images, _ in batches])
    assert sorted(labels) == sorted(made[2])
    assert (labels.tolist() == made[2].tolist()) == ordered
    first = {label: image for image, label in zip(made[1], made[2], strict=True)}
    assert all(np.array_equal(first[y], x) for x, y in zip(images, labels, strict=True))


def test_map_dataset(grain, source, made):
    data = grain.MapDataset.source(source)
    assert len(data) == N
    assert np.array_equal(data[4][0], made[1][4])
    check_epoch(list(data.shuffle(seed=3).batch(8)), made)
    check_epoch(list(grain.MapDataset.range(N).batch(8).map(source.fetch)), made, ordered=True)
    batched = grain.MapDataset.range(N).shuffle(seed=3).batch(8).map(source.fetch)
    singles = data.shuffle(seed=3).batch(8)
    for one, other in zip(batched, singles, strict=True):
        assert all(map(np.array_equal, one, other))


def test_checkpoint(grain, source):
    def make():
        return iter(grain.MapDataset.source(source).shuffle(seed=3).to_iter_dataset().batch(8))

    iterator = make()
    next(iterator)
    state = iterator.get_state()
    rest = [labels.tolist() for _, labels in iterator]
    again = make()
    again.set_state(state)
    assert [labels.tolist() for _, labels in again] == rest


@pytest.mark.parametrize("workers", [0, 2])
def test_data_loader(grain, source, made, workers):
    from absl import flags

    flags.FLAGS.mark_as_parsed()  # Grain's, which a program's main parses
    loader = grain.DataLoader(
        data_source=source,
        sampler=grain.samplers.IndexSampler(N, shuffle=True, seed=1, num_epochs=1),
        operations=[grain.transforms.Batch(8)],
        worker_count=workers,
    )
    check_epoch(list(loader), made)
