"""Archives as one reads them by hand: for ``fastzip bench`` and the benchmark suite.

`zipfile` finds the members, a package that inflates whole streams does the rest. That is what
people write who know of such a package, and what fastzip has to be compared with.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Inflate = Callable[[bytes, zipfile.ZipInfo], Any]
"""``inflate(stream, info)``: a raw deflate stream, and what the directory says; it gives bytes."""

_LENGTHS: Final = struct.Struct("<2H")


class ByHand:
    """Members of an archive, inflated whole by a function. Threads may share one.

    Parameters
    ----------
    path : str
    inflate : callable
    crc32 : callable or None
        Of the inflated bytes; it must be what the directory says. None: `inflate` sees to it.
    """

    def __init__(
        self, path: str, inflate: Inflate, crc32: Callable[[Any], int] | None = zlib.crc32
    ) -> None:
        self._inflate = inflate
        self._crc32 = crc32
        self._archive = zipfile.ZipFile(path)
        self._fd = os.open(path, os.O_RDONLY)

    def __len__(self) -> int:
        return len(self._archive.filelist)

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._archive.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, name: str) -> Any:
        """The bytes of a member."""
        info = self._archive.getinfo(name)
        lengths = os.pread(self._fd, 4, info.header_offset + 26)
        start = info.header_offset + 30 + sum(_LENGTHS.unpack(lengths))
        data: Any = os.pread(self._fd, info.compress_size, start)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            data = self._inflate(data, info)
        wrong = self._crc32 is not None and self._crc32(data) != info.CRC
        if len(data) != info.file_size or wrong:
            raise zipfile.BadZipFile(f"{name} is damaged")
        return data

    def array(self, key: str) -> npt.NDArray[Any]:
        """The array of a ``.npy`` member: a view of its bytes."""
        return array_of(self.read(f"{key}.npy"))


def array_of(data: Any) -> npt.NDArray[Any]:
    """The array in the bytes of a ``.npy`` file, without a copy."""
    front = io.BytesIO(bytes(memoryview(data)[:65_536]))
    version = np.lib.format.read_magic(front)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(front)
    order: Any = "F" if fortran_order else "C"
    return np.ndarray(shape, dtype, data, front.tell(), order=order)


class Spdl:
    """SPDL's `load_npz`, of a file: it takes bytes, so all of the file is read first."""

    def __init__(self, path: str, load_npz: Callable[[bytes], Any]) -> None:
        self._npz: Any = load_npz(Path(path).read_bytes())

    def __len__(self) -> int:
        return len(self._npz)

    def array(self, key: str) -> npt.NDArray[Any]:
        """The array of a ``.npy`` member."""
        array: npt.NDArray[Any] = self._npz[key]
        return array

    def close(self) -> None:
        """Let go of the file's bytes."""
        self._npz = None


def libdeflate() -> tuple[Inflate, Callable[[Any], int]]:
    """libdeflate's functions, out of the package deflate."""
    import deflate

    def inflate(stream: bytes, info: zipfile.ZipInfo) -> Any:
        return deflate.deflate_decompress(stream, info.file_size)

    return inflate, deflate.crc32


def cramjam() -> tuple[Inflate, Callable[[Any], int]]:
    """cramjam's; it computes no CRC."""
    import cramjam

    def inflate(stream: bytes, info: zipfile.ZipInfo) -> Any:
        return memoryview(cramjam.deflate.decompress(stream, output_len=info.file_size))

    return inflate, zlib.crc32
