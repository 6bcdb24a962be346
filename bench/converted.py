"""The sets in other formats, for context: the same samples, written once beside the archive."""

import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import data
import numpy as np


def _samples(name: str) -> Iterator[tuple[str, Any]]:
    with np.load(data.path(name)) as npz:
        for key in npz.files:
            yield key, npz[key]


def _npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _written(name: str, suffix: str, write: Callable[[str], None]) -> str:
    """The file, written now if it isn't there; half of one never is."""
    wanted = data.folder() / f"{name}.{suffix}"
    if not wanted.exists():
        handle, temporary = tempfile.mkstemp(dir=wanted.parent, prefix=f".{name}-")
        os.close(handle)
        try:
            write(temporary)
            os.replace(temporary, wanted)
        except BaseException:
            os.unlink(temporary)
            raise
    return str(wanted)


def torch_file(name: str) -> str:
    """The first array, as a tensor that `torch.save` wrote."""

    def write(path: str) -> None:
        import torch

        with open(path, "wb") as file:  # of a path it takes the archive's inner name
            torch.save(torch.from_numpy(next(_samples(name))[1]), file)

    return _written(name, "pt", write)


def tar_file(name: str) -> str:
    """A tar of `.npy` files, which WebDataset reads: not compressed."""

    def write(path: str) -> None:
        with tarfile.open(path, "w") as out:
            for key, array in _samples(name):
                content = _npy(array)
                member = tarfile.TarInfo(f"{key}.npy")
                member.size = len(content)
                out.addfile(member, io.BytesIO(content))

    return _written(name, "tar", write)


def array_record_file(name: str) -> str:
    """An ArrayRecord of `.npy` files, one in a group, as is advised for random access; compressed
    as it does unasked (zstd)."""

    def write(path: str) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter

        writer = ArrayRecordWriter(path, "group_size:1")
        for _, array in _samples(name):
            writer.write(_npy(array))
        writer.close()

    return _written(name, "array_record", write)
