"""fastzip.tf: datasets of known length and shape, equal to what np.load gives."""

from __future__ import annotations

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow", reason="TensorFlow isn't installed")

import fastzip  # noqa: E402
from fastzip.tf import dataset  # noqa: E402

N = 50


@pytest.fixture
def archives(made):
    with fastzip.load(made[0] / "x.npz") as images, fastzip.load(made[0] / "y.npz") as labels:
        yield images, labels


def read(data):
    return [np.concatenate(parts) for parts in zip(*data.as_numpy_iterator(), strict=True)]


@pytest.mark.parametrize(("drop", "count", "size"), [(False, 7, None), (True, 6, 8)])
def test_batches(archives, made, drop, count, size):
    data = dataset(*archives, batch_size=8, drop_remainder=drop)
    assert int(data.cardinality()) == count
    images, labels = data.element_spec
    assert (images.shape, images.dtype) == ((size, 5, 7), tf.float32)
    assert (labels.shape, labels.dtype) == ((size,), tf.int64)
    images, labels = read(data)
    n = 48 if drop else N
    assert np.array_equal(images, made[1][:n])
    assert np.array_equal(labels, made[2][:n])


def test_order(archives, made):
    def make(seed=4):
        return dataset(*archives, np.arange(N), batch_size=8, shuffle=True, seed=seed)

    data, orders = make(), []
    for _ in range(2):
        images, labels, indices = read(data)
        assert sorted(indices) == list(range(N))
        assert np.array_equal(images, made[1][indices])
        assert np.array_equal(labels, made[2][indices])
        orders.append(indices.tolist())
    assert orders[0] != orders[1]
    assert read(make())[2].tolist() == orders[0] != read(make(5))[2].tolist()


def test_one_archive(archives, made):
    batches = list(dataset(archives[0], batch_size=30).as_numpy_iterator())
    assert np.array_equal(np.concatenate(batches), made[1])
    with pytest.raises(ValueError, match="no sample"):
        dataset((archives[0], []), batch_size=3)


def test_a_damaged_member(tmp_path):
    rng = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "bad.npz", **{f"ix-{i}": rng.random(500) for i in range(4)})
    content = bytearray((tmp_path / "bad.npz").read_bytes())
    with fastzip.ZipFile(tmp_path / "bad.npz") as zipped:
        content[zipped.infolist()[2].header_offset + 100] ^= 0x55
    (tmp_path / "bad.npz").write_bytes(content)
    with fastzip.load(tmp_path / "bad.npz") as npz:
        batches = iter(dataset(npz, batch_size=2))
        assert next(batches).shape == (2, 500)
        with pytest.raises(tf.errors.OpError, match=r"bad\.npz: ix-2\.npy: "):
            next(batches)


def test_fit(archives):
    model = tf.keras.Sequential([tf.keras.layers.Flatten(), tf.keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    model.fit(dataset(*archives, batch_size=8, shuffle=True), epochs=2, shuffle=False, verbose=0)
