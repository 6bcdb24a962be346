"""Memory in which a worker of torch's DataLoader sends batches, and which comes back to it.

torch makes new shared memory for each batch: its pages are slow to fill, and its descriptor goes
through a socket of its own, which takes longer than reading small members. Here a worker makes a
few pieces and lends them. The loader's process maps each piece once, and marks it as free when the
last tensor in it is gone; then the worker fills it with another batch.

Nobody may write where somebody still reads, so whatever is in doubt isn't used again: a piece in
which a tensor lay when its process forked, since the child may go on reading.
"""

from __future__ import annotations

import errno
import itertools
import math
import mmap
import os
import weakref
from collections import deque
from multiprocessing.reduction import DupFd, ForkingPickler
from typing import Any, Final

import numpy as np
import torch
from torch.multiprocessing import get_sharing_strategy
from torch.multiprocessing.reductions import reduce_storage

from fastzip._signals import let_pass

_FRONT: Final = 64
"""Bytes in front of a batch, so that it is aligned. Two are in use: who has it, as the loader's
process sees it, and 1 behind that if the worker has given it up."""
_FREE, _LENT, _LOST = range(3)
_PIECES: Final = 16
_BYTES: Final = 128 << 20
"""A worker makes so many pieces, of so many bytes; batches beyond are sent as torch does it."""

_numbers = itertools.count()
_pieces: deque[_Piece] = deque()
"""A worker's. Who has taken one out is alone with it, until it is put back."""
_mapped: dict[tuple[int, int], mmap.mmap] = {}
"""In the loader's process: pieces by the worker's process and their number there."""
_forks = itertools.count()
_era = os.getpid(), next(_forks)
"""Another one after each fork, in both processes."""


class _Piece:
    """Shared memory that a worker lends to its loader, time and again."""

    def __init__(self, nbytes: int) -> None:
        self.number = next(_numbers)
        self.fd = os.memfd_create(_name(self.number))
        weakref.finalize(self, os.close, self.fd).atexit = False
        os.posix_fallocate(self.fd, 0, _FRONT + nbytes)  # an error now is no SIGBUS later
        self.memory = mmap.mmap(self.fd, _FRONT + nbytes)
        weakref.finalize(self, _give_up, self.memory, os.getpid()).atexit = False
        self.nbytes = nbytes
        self.sent = False

    def is_free(self) -> bool:
        """Has neither the worker nor the loader a tensor in it?"""
        # In this order: what is sent is marked while the worker's tensor lives.
        return self.user() is None and self.memory[0] != _LENT

    def is_lost(self) -> bool:
        """Is there perhaps a forked child that has a tensor in it? It may be asked only if free."""
        return self.memory[0] == _LOST or self.era != _era

    def storage(self, nbytes: int) -> Any:
        """So much of it, for as long as the storage lives."""
        self.era = _era
        array = np.frombuffer(self.memory, np.uint8, nbytes, _FRONT)
        self.user: weakref.ref[Any] = weakref.ref(array)
        storage = torch.from_numpy(array).untyped_storage()
        # Of one storage torch always gives out the same object, so these stay with it.
        storage.is_shared = _yes  # it is, but torch doesn't know
        storage.lent = self, storage.data_ptr()
        return storage


def _give_up(memory: mmap.mmap, maker: int) -> None:
    if os.getpid() == maker:  # a child of a fork loses its pieces, and its parent goes on
        memory[1] = 1


def _yes() -> bool:
    return True


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """An uninitialised tensor that a worker sends to its loader without a copy."""
    tensor = torch.empty(0, dtype=dtype)
    nbytes = math.prod(shape) * tensor.element_size()
    if nbytes == 0:
        return torch.empty(shape, dtype=dtype)
    # Who chose torch's other strategy is short of descriptors.
    storage = _lend(nbytes) if get_sharing_strategy() == "file_descriptor" else None
    if storage is None:  # as default_collate does it
        storage = torch.UntypedStorage._new_shared(nbytes)
    return tensor.set_(storage, 0, shape)


def _lend(nbytes: int) -> Any:
    """So much of a piece that is free, or new; None if there can't be more of them.

    A piece that isn't put back is given up, whether that is meant or an exception came."""
    unfit: list[_Piece] = []  # free, but of another size
    count, total = 0, nbytes
    storage = None
    for _ in range(len(_pieces)):
        try:
            piece = _pieces.popleft()
        except IndexError:  # other threads have them
            break
        if piece.is_free():
            if piece.is_lost():
                continue
            if not nbytes <= piece.nbytes <= 2 * nbytes:
                unfit.append(piece)
                continue
            storage = piece.storage(nbytes)
        _pieces.append(piece)
        if storage is not None:
            break
        count, total = count + 1, total + piece.nbytes
    while unfit:
        piece = unfit.pop()
        # Where there is no room for all, those of another size go first.
        full = count + 1 >= _PIECES or total + piece.nbytes > _BYTES
        if storage is not None or not full:
            _pieces.append(piece)
            count, total = count + 1, total + piece.nbytes
    if storage is None and count < _PIECES and total <= _BYTES:
        try:
            piece = _Piece(nbytes)
        except (OSError, AttributeError) as exc:  # no memory; a Python without memfd_create
            let_pass(exc)
            return None
        storage = piece.storage(nbytes)
        _pieces.append(piece)
    return storage


def _sent(storage: torch.UntypedStorage) -> Any:
    """Pickle a tensor's memory for another process: if it is lent, which piece it is."""
    piece, place = storage.__dict__.pop("lent", (None, 0))
    # What is sent a second time, or was moved by torch since, is torch's affair: it is copied.
    if piece is None or storage.data_ptr() != place:
        return reduce_storage(storage)
    key, nbytes = (os.getpid(), piece.number), storage.nbytes()
    first = None if piece.sent else DupFd(piece.fd)
    piece.memory[0] = _LENT  # no call comes after it: what isn't sent isn't lent
    piece.sent = True
    return _received, (key, first, piece.fd, nbytes)


def _received(key: tuple[int, int], first: Any, there: int, nbytes: int) -> Any:
    """Unpickle it, in the loader's process: a storage whose end frees the piece.

    `first` hands over a descriptor of the piece, when it is sent for the first time; `there` is its
    number in the worker, for a process that wasn't the one to get it."""
    memory = _mapped.get(key)
    if first is not None or memory is None:
        _tidy()
        fd = _opened(key, there) if first is None else first.detach()
        try:
            memory = _mapped[key] = mmap.mmap(fd, 0)
        finally:
            os.close(fd)
    array = np.frombuffer(memory, np.uint8, nbytes, _FRONT)
    weakref.finalize(array, _give_back, key, memory, _era).atexit = False
    return torch.from_numpy(array).untyped_storage()


def _give_back(key: tuple[int, int], memory: mmap.mmap, era: tuple[int, int]) -> None:
    # After a fork neither the child nor its parent is alone with it.
    lost = era != _era or era[0] != os.getpid()
    memory[0] = _LOST if lost else _FREE
    if lost or memory[1] or _ended(key[0]):
        _tidy()


def _name(number: int) -> str:
    return f"fastzip-{number}"


def _opened(key: tuple[int, int], there: int) -> int:
    fd = os.open(f"/proc/{key[0]}/fd/{there}", os.O_RDWR)
    if os.readlink(f"/proc/self/fd/{fd}") != f"/memfd:{_name(key[1])} (deleted)":
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "a batch's memory went with the worker that sent it")
    return fd


def _ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _tidy() -> None:
    """Forget pieces that nobody will fill again; they go with the last tensor in them."""
    for key, memory in list(_mapped.items()):
        if memory[0] == _LOST or memory[1] or _ended(key[0]):
            _mapped.pop(key, None)


def _fork() -> None:
    global _era
    _era = os.getpid(), next(_forks)


def _forget() -> None:
    _fork()
    _pieces.clear()
    _mapped.clear()


ForkingPickler.register(torch.UntypedStorage, _sent)
# Before it and after it: in between another thread may still get a batch.
os.register_at_fork(before=_fork, after_in_parent=_fork, after_in_child=_forget)
