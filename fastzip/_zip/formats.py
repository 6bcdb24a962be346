"""What a file is that is no archive: told by its first bytes, with what to do about it."""

from __future__ import annotations

import io
from typing import Final

from fastzip._signals import let_pass

__all__ = ["FRONT", "ZIP_MAGIC", "describe_file", "is_document", "is_pickle"]

FRONT: Final = 512
"""So many bytes are looked at: a tar's signature stands behind the first 256."""

ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")  # the second: an archive without members

_AGAIN: Final = "look at it in an editor, and download the file again"
_UNPACK: Final = "decompress it first"
_IMAGE: Final = "an image has to be decoded, for example by Pillow"
_FRAME: Final = "read it with pyarrow"

# What it is, and the next step, by what the file begins with.
_SIGNATURES: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"\x93NUMPY", "an .npy file, one array", "fastzip.load reads it"),
    (b"\x1f\x8b", "a gzip file", f"{_UNPACK}, or pass gzip.open(path)"),
    (b"BZh", "a bzip2 file", f"{_UNPACK}, or pass bz2.open(path)"),
    (b"\xfd7zXZ\0", "an xz file", f"{_UNPACK}, or pass lzma.open(path)"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file", _UNPACK),
    (b"\x04\x22\x4d\x18", "an LZ4 file", _UNPACK),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "read it with h5py"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file", "read it with scipy.io.loadmat"),
    (b"Rar!\x1a\x07", "a RAR archive", "unpack it, and make a ZIP archive of it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it, and make a ZIP archive of it"),
    (b"PAR1", "a Parquet file", _FRAME),
    (b"ARROW1", "an Arrow file", _FRAME),
    (b"\xff\xd8\xff", "a JPEG image", _IMAGE),
    (b"\x89PNG\r\n\x1a\n", "a PNG image", _IMAGE),
    (b"GIF8", "a GIF image", _IMAGE),
    (b"%PDF-", "a PDF document", "check the path"),
    (
        b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.",
        "a PyTorch checkpoint",
        "read it with torch.load",
    ),
)
_POINTER: Final = "pointer, which stands for a file that was not downloaded"
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<body", b"<title")


def describe_file(front: bytes) -> str | None:
    """Say what a file is and what to do with it; None if it isn't known.

    An archive is described as one that was cut short: nobody asks unless it couldn't be opened."""
    if not front:
        return "the file is empty"
    found = _binary(front) or _document(front)
    if found is None and _is_text(front) and not is_pickle(front):
        found = "a text file", "numpy.loadtxt and pandas.read_csv read tables"
    return None if found is None else f"it is {found[0]}; {found[1]}"


def is_document(front: bytes) -> bool:
    """Is this text that no path is: a web page, a pointer?"""
    return _document(front) is not None


def _binary(front: bytes) -> tuple[str, str] | None:
    if front.startswith(ZIP_MAGIC):
        return "the beginning of an archive, cut short or not yet complete", "copy it again"
    for signature, what, advice in _SIGNATURES:
        if front.startswith(signature):
            return what, advice
    if front[257:262] == b"ustar":
        return "a tar archive", "unpack it, or read it with tarfile"
    if front[8:9] == b"{" and 2 <= int.from_bytes(front[:8], "little") < 1 << 32:
        return "a safetensors file", "read it with safetensors.numpy.load_file"
    return None


def _document(front: bytes) -> tuple[str, str] | None:
    plain = front.removeprefix(b"\xef\xbb\xbf").lstrip()
    if plain.startswith(b"version https://git-lfs.github.com/spec/"):
        return f"a Git LFS {_POINTER}", "run in its repository: git lfs pull"
    if plain.startswith(b"/annex/objects/"):
        return f"a git-annex {_POINTER}", "run in its repository: git annex get"
    if plain[:16].lower().startswith(_HTML):
        return "a web page", f"it may tell of an error, or ask for a password: {_AGAIN}"
    if plain.startswith(b"<?xml"):
        return "an XML document", f"cloud stores report errors by one: {_AGAIN}"
    if plain[:1] == b"{" and plain[1:].lstrip()[:1] in (b'"', b"}"):
        return "a JSON document", f"servers report errors by one: {_AGAIN}"
    return None


def _is_text(front: bytes) -> bool:
    try:
        text = front.decode()
    except UnicodeDecodeError as exc:
        if exc.start < len(front) - 3:  # a character that is cut is none
            return False
        text = front[: exc.start].decode()
    return all(char.isprintable() or char in "\t\n\r\f" for char in text)


def is_pickle(front: bytes) -> bool:
    """Do these bytes begin a pickle, as far as they go?"""
    import pickletools  # takes milliseconds

    file = io.BytesIO(front)
    first = None
    try:
        for opcode, _, _ in pickletools.genops(file):
            first = first or opcode
            if first.stack_before:  # there is nothing yet that it could take
                return False
    except (ValueError, Warning) as exc:
        let_pass(exc)  # otherwise it is no opcode, or an argument that isn't one unless it is cut
        return len(front) >= FRONT and not file.read(1)
    return True
