"""`NpzFile.fetch`: the memory that it is given."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest

import fastzip

N = 40


@pytest.fixture(params=[5, 20_000], ids=["small", "large"])
def rows(request, lab, made):
    """An archive, and its members as one array."""
    arrays = {f"k{i}": lab.sparse((2, request.param), i, "<u2") for i in range(N)}
    return made(lab.mixed(arrays)), np.stack(list(arrays.values()))


@pytest.mark.parametrize("threads", [1, 3])
def test_out(rows, threads):
    npz, batch = rows
    keys = np.random.default_rng(0).permutation(N)
    n, shape = N, batch.shape[1:]
    plain = np.empty((n, *shape), "<u2")
    assert npz.fetch(keys, out=plain, threads=threads) is plain
    assert np.array_equal(plain, batch[keys])
    for step in (1, 2, 3, -1, -2):
        base = np.full((n * abs(step) + 2, *shape), 0x7777, "<u2")
        view = base[1:-1][::step]
        assert npz.fetch(keys, out=view, threads=threads) is view
        assert np.array_equal(view, batch[keys])
        view[...] = 0x7777
        assert (base == 0x7777).all()
    wide = np.full((n, 3, *shape), 0x7777, "<u2")
    npz.fetch(keys, out=wide[:, 1], threads=threads)
    assert np.array_equal(wide[:, 1], batch[keys])
    assert (wide[:, ::2] == 0x7777).all()


def test_out_of_other_kinds(rows, tmp_path):
    npz, batch = rows
    shape = (3, *batch.shape[1:])
    mapped = np.memmap(tmp_path / "m", "<u2", "w+", shape=shape)
    assert npz.fetch([3, 2, 1], out=mapped) is mapped
    assert np.array_equal(mapped, batch[[3, 2, 1]])
    mapped._mmap.close()
    buffer = bytearray(int(np.prod(shape)) * 2)
    view = memoryview(buffer).cast("H", shape)
    assert npz.fetch([3, 2, 1], out=view) is view
    assert bytes(buffer) == batch[[3, 2, 1]].tobytes()
    offset = np.frombuffer(bytearray(int(np.prod(shape)) * 2 + 1), np.uint8)[1:].view("<u2")
    offset = offset.reshape(shape)
    npz.fetch([3, 2, 1], out=offset)
    assert np.array_equal(offset, batch[[3, 2, 1]])


class Tensor:
    """What of a torch tensor on the CPU matters here."""

    def __init__(self, array, pointer=None, fail=None):
        self.array, self.pointer, self.fail = array, pointer, fail

    def __array__(self, dtype=None, copy=None):
        if self.fail:
            raise self.fail
        return self.array

    def data_ptr(self):
        return self.array.ctypes.data if self.pointer is None else self.pointer


class Copying(Tensor):
    def __array__(self, dtype=None, copy=None):
        return self.array.copy()


def test_out_is_a_tensor(rows):
    npz, batch = rows
    array = np.full((2, *batch.shape[1:]), 9, "<u2")
    tensor = Tensor(array)
    assert npz.fetch([1, 2], out=tensor) is tensor
    assert np.array_equal(array, batch[[1, 2]])
    array[...] = 9
    for bad in (Copying(array), Tensor(array, pointer=64),
                Tensor(array, fail=TypeError("can't convert cuda:0 device type tensor to numpy")),
                Tensor(array, fail=RuntimeError("Can't call numpy() on Tensor that requires grad"))
                ):  # fmt: skip
        with pytest.raises(TypeError, match="out "):
            npz.fetch([1, 2], out=bad)
        assert (array == 9).all()


def test_out_is_a_real_tensor(rows):
    torch = pytest.importorskip("torch", reason="torch isn't installed")
    npz, batch = rows
    shape = batch.shape[1:]
    tensor = torch.zeros((4, *shape), dtype=torch.uint16)
    pointer = tensor.data_ptr()
    assert npz.fetch([1, 2], out=tensor[::2])[0].data_ptr() == pointer
    assert np.array_equal(tensor.numpy()[::2], batch[[1, 2]])
    assert not tensor.numpy()[1::2].any()
    assert np.array_equal(npz.fetch(torch.tensor([3, -1])), batch[[3, -1]])
    for bad in (
        torch.zeros((2, *shape), dtype=torch.uint16, device="meta"),
        torch.zeros((2, *shape), requires_grad=True),
    ):
        with pytest.raises(TypeError, match="out "):
            npz.fetch([1, 2], out=bad)


def test_torch_is_not_imported(rows, tmp_path):
    """Who has torch installed and doesn't use it doesn't wait for it."""
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    code = (
        "import sys, fastzip\n"
        "assert fastzip.load(sys.argv[1]).fetch(['x']).tolist() == [[0, 1, 2]]\n"
        "assert not {'torch', 'matplotlib', 'tqdm'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.npz")], check=True)


def test_bad_out(rows):
    npz, batch = rows
    shape = (2, *batch.shape[1:])
    n = shape[-1]
    storage = np.full((8, *shape[1:]), 0x7777, "<u2")
    frozen = storage[:2].view()
    frozen.flags.writeable = False
    strided = np.lib.stride_tricks.as_strided
    bad = {
        "dtype": storage[:2].view("<i2"),
        "byte order": storage[:2].view(">u2"),
        "wider": np.full(shape, 0x7777, "<u4"),
        "one row less": storage[:1],
        "one row more": storage[:3],
        "flat": storage[:2].reshape(2, -1),
        "one dimension": storage[:2].reshape(-1),
        "zero dimensions": np.array(0x7777, "<u2"),
        "transposed": storage[:4].reshape(2, n, 4)[:, :, :2].transpose(0, 2, 1),
        "columns": np.full((2, 2, 2 * n), 0x7777, "<u2")[:, :, ::2],
        "reversed rows' elements": storage[:2, :, ::-1],
        "read-only": frozen,
        "broadcast": np.broadcast_to(storage[0], shape),
        "same row twice": strided(storage, shape, (0, *storage.strides[1:])),
        "overlapping": strided(storage, shape, (2, *storage.strides[1:])),
        "overlapping by an element": strided(
            storage, shape, (storage.strides[0] - 2, *storage.strides[1:])
        ),
        "overlapping downward": strided(
            storage[4:], shape, (2 - storage.strides[0], *storage.strides[1:])
        ),
    }
    for what, out in bad.items():
        with pytest.raises(ValueError) as info:
            npz.fetch([1, 2], out=out)
        assert "out" in str(info.value), what
        assert (out == out.dtype.type(0x7777)).all() or what == "byte order", what
    assert (storage == 0x7777).all()
    for out in (storage[:2].tolist(), 5, "out", object()):
        with pytest.raises((TypeError, ValueError)):
            npz.fetch([1, 2], out=out)


def test_out_and_a_member_that_does_not_fit(lab, made):
    """What is wrong with the first member or `out` is found before anything is written."""
    npz = made(lab.npz(a=np.arange(3), o=np.array([None]), b=np.arange(4)))
    out = np.full((2, 3), 77)
    with pytest.raises(ValueError):
        npz.fetch(["o", "a"], out=out)
    with pytest.raises(ValueError):
        npz.fetch(["b", "a"], out=out)
    assert (out == 77).all()


@pytest.mark.parametrize("n", [1, 50, 9000])
@pytest.mark.parametrize("threads", [1, 3])
def test_nothing_around_out_is_written(lab, made, n, threads):
    """Guard bytes on both sides, through errors too."""
    arrays = {f"k{i}": lab.sparse(n, i) for i in range(N)}
    npz = made(lab.mixed(arrays))
    expected = np.stack(list(arrays.values()))
    members = [lab.Member(b"%d" % i, lab.npy(a), crc=5) for i, a in enumerate(arrays.values())]
    damaged = made(lab.Archive(members).build())
    for keys in ([0], [1, 2], list(range(N)), list(range(N))[::-1]):
        buffer = np.full(len(keys) * n + 40_000, 0x5A, np.uint8)
        out = buffer[20_000:-20_000].reshape(len(keys), n)
        npz.fetch(keys, out=out, threads=threads)
        assert np.array_equal(out, expected[keys])
        with pytest.raises(fastzip.CRCError):
            damaged.fetch(keys, out=out, threads=threads)
        assert (buffer[:20_000] == 0x5A).all()
        assert (buffer[-20_000:] == 0x5A).all()


@pytest.mark.parametrize("n", [4096, 12_288, 200])
def test_out_between_protected_pages(lab, made, n, engine):
    """Not a byte before or behind `out` is touched, or the process would die."""
    libc = ctypes.CDLL(None, use_errno=True)
    page, count = mmap.PAGESIZE, 9
    arrays = {f"k{i}": lab.sparse(n, i) for i in range(count)}
    npz = made(lab.mixed(arrays))
    expected = np.stack(list(arrays.values()))
    inner = -(-n * count // page) * page
    memory = mmap.mmap(-1, inner + 2 * page)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for at in (base, base + page + inner):
        assert libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(page), 0) == 0
    usable = np.frombuffer(memory, np.uint8)[page : page + inner]
    for out in (usable[: n * count], usable[inner - n * count :]):
        for keys in (range(count), range(count - 1, -1, -1)):
            for threads in (1, 3):
                npz.fetch(keys, out=out.reshape(count, n), threads=threads)
                assert np.array_equal(out.reshape(count, n), expected[list(keys)])
    for at in (base, base + page + inner):
        assert libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(page), 3) == 0
