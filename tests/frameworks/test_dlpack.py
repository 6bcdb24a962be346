"""Batches handed on without a copy: no memory serves again while anybody refers to it."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import fastzip


@pytest.fixture
def big(tmp_path):
    arrays = {f"ix-{i}": np.full((4, 65536), i, np.uint8) for i in range(8)}
    np.savez_compressed(tmp_path / "big.npz", **arrays)
    with fastzip.load(tmp_path / "big.npz") as npz:
        yield npz


def hammer(npz):
    """Reads that take whatever memory is free."""
    gc.collect()
    for i in range(30):
        npz.fetch([i % 8] * 2)
        npz[f"ix-{i % 8}"]


def test_dlpack_keeps_memory(big):
    batch = big.fetch([3, 5])
    address = batch.ctypes.data
    capsule = batch.__dlpack__()
    del batch
    hammer(big)

    class Holder:
        def __dlpack__(self, **options):
            return capsule

        def __dlpack_device__(self):
            return (1, 0)

    view = np.from_dlpack(Holder())
    assert view.ctypes.data == address
    hammer(big)
    assert (view[0] == 3).all()
    assert (view[1] == 5).all()


def test_torch_keeps_memory(big):
    torch = pytest.importorskip("torch", reason="PyTorch isn't installed")
    for take in torch.from_numpy, torch.from_dlpack:
        batch = big.fetch([3, 5])
        address = batch.ctypes.data
        tensor = take(batch)
        del batch
        assert tensor.data_ptr() == address
        row = tensor[1, :, ::100]
        del tensor
        hammer(big)
        assert (row == 5).all()


def test_jax_keeps_memory(big):
    jax = pytest.importorskip("jax", reason="JAX isn't installed")
    cpu = jax.devices("cpu")[0]
    for take in jax.dlpack.from_dlpack, lambda batch: jax.device_put(batch, cpu, may_alias=True):
        batch = big.fetch([3, 5])
        address = batch.ctypes.data
        array = take(batch)
        del batch
        assert array.unsafe_buffer_pointer() == address
        hammer(big)
        assert np.asarray(array)[:, 0, 0].tolist() == [3, 5]
        assert int(np.asarray(array).astype(np.int64).sum()) == 8 * 4 * 65536
