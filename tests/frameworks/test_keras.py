"""fastzip.keras: batches for model.fit, with the backend that KERAS_BACKEND names."""

from __future__ import annotations

import numpy as np
import pytest

keras = pytest.importorskip("keras", reason="Keras, or its backend, isn't installed")

import fastzip  # noqa: E402
from fastzip.keras import ArchiveDataset  # noqa: E402

N = 50


@pytest.fixture
def archives(made):
    with fastzip.load(made[0] / "x.npz") as images, fastzip.load(made[0] / "y.npz") as labels:
        yield images, labels


def epoch(data):
    return [data[i] for i in range(len(data))]


def test_batches(archives, made):
    data = ArchiveDataset(*archives, batch_size=8, shuffle=False)
    assert len(data) == 7
    assert [len(labels) for _, labels in epoch(data)] == [8] * 6 + [2]
    images, labels = map(np.concatenate, zip(*epoch(data), strict=True))
    assert np.array_equal(images, made[1])
    assert np.array_equal(labels, made[2])
    for wrong in -1, 7:
        with pytest.raises(IndexError, match="7 batches"):
            data[wrong]
    (images,) = ArchiveDataset(archives[0], batch_size=8, shuffle=False)[6]
    assert np.array_equal(images, made[1][48:])
    for wrong in 0, -1:
        with pytest.raises(ValueError, match="batch_size"):
            ArchiveDataset(*archives, batch_size=wrong)


def test_order(archives, made):
    data, again = (ArchiveDataset(*archives, np.arange(N), batch_size=8, seed=4) for _ in range(2))
    orders = []
    for _ in range(3):
        images, labels, indices = map(np.concatenate, zip(*epoch(data), strict=True))
        assert sorted(indices) == list(range(N))
        assert np.array_equal(images, made[1][indices])
        assert np.array_equal(labels, made[2][indices])
        assert np.array_equal(indices, np.concatenate([part for *_, part in epoch(again)]))
        orders.append(indices.tolist())
        data.on_epoch_end()
        again.on_epoch_end()
    assert orders[0] != orders[1] != orders[2] != list(range(N))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras's own
@pytest.mark.parametrize("workers", [1, 2])
def test_fit(archives, made, workers):
    """What reaches the model, and in which order, is seen by its sums."""
    model = keras.Sequential([keras.Input((5, 7)), keras.layers.Flatten(), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    data = ArchiveDataset(*archives, batch_size=8, workers=workers)
    history = model.fit(data, epochs=2, verbose=0)
    assert len(history.history["loss"]) == 2

    model.layers[-1].set_weights([np.ones((35, 1)), np.zeros(1)])
    ordered = ArchiveDataset(archives[0], batch_size=8, shuffle=False, workers=workers)
    sums = model.predict(ordered, verbose=0)
    assert np.allclose(sums[:, 0], made[1].sum((1, 2)))
