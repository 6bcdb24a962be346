"""``fastzip info``: an archive summed up, and what would make it better to train from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any, Final

from fastzip._cli import console, survey
from fastzip._cli import members as _members
from fastzip._cli.console import escape, plural, size
from fastzip._cli.survey import Survey

HELP: Final = "sum an archive up, and say what would help training"
DESCRIPTION: Final = """\
Sum an archive up: members, sizes, methods, dtypes and shapes, alignment of what is stored; and say
whether it is good to train from, and what would help. Of an archive of more than 2,000 members,
dtypes, shapes and alignment are those of 2,000 drawn at random (the same ones every time), unless
--all asks for every one."""
EXAMPLES: Final = """\
examples:
  fastzip info training.npz
  fastzip info --all training.npz
  fastzip info --json training.npz | jq .advice"""

_SHOWN: Final = 8
_SMALL: Final = 1024
_MANY: Final = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``info``."""
    parser.add_argument("archive", metavar="FILE")
    parser.add_argument("--all", action="store_true", help="look at every member's headers")
    parser.add_argument("--json", action="store_true", help="the same as one JSON object")
    _members.add_password(parser)


def run(args: argparse.Namespace) -> int:
    """Sum up."""
    with _members.open_archive(args.archive, _members.password(args)) as archive:
        shown = args.all and console.bars(args.json)
        with console.count_bar("reading headers", len(archive.index), shown) as advance:
            found = survey.survey(archive, args.archive, args.all, advance)
    advice = list(_advice(found))
    if args.json:
        console.write(json.dumps(_as_json(found, advice), indent=2) + "\n")
    else:
        console.write(_as_text(found, advice))
    return 0


# ---- what would help -------------------------------------------------------------------------

_GOOD: Final = ("alike", "lengths", "rows", "good")
_PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")


def _advice(s: Survey) -> Iterator[tuple[str, str]]:
    """(a short stable string, a sentence); ``good`` where nothing is to be said against it.

    What is said here can be done: tests/test_cli_advice.py makes each archive, does what the
    sentence says, and holds what it says can't be done. Let the sentences grow with the library."""
    worse = list(_problems(s))
    if not s.others and not s.objects:
        yield from _batches(s)
    if not worse and s.members > s.folders:
        yield "good", "nothing stands in the way of reading it fast"
    yield from worse


def _batches(s: Survey) -> Iterator[tuple[str, str]]:
    """How batches are read; `_tiny` has it for all members at once."""
    what = "all arrays" if s.sampled_all else "all arrays that were looked at"
    but = ", where folders are no keys" if s.folders else ""
    if s.layout == "rows":
        yield "rows", _rows(s)
    if s.layout == "alike":
        text = f"{what} are of one dtype and shape: NpzFile.fetch reads batches of them and Loader "
        yield "alike", text + "epochs" + but
    if s.layout == "lengths":
        text = f"{what} are of one dtype and differ in length alone: NpzFile.fetch_padded and "
        text += "NpzFile.fetch_ragged read batches of them and Loader(Padded(npz), ...) epochs"
        yield "lengths", text + but


def _rows(s: Survey) -> str:
    lengths: dict[int, list[str]] = {}
    for key, ((_, shape), _) in s.columns.items():
        lengths.setdefault(shape[0] if shape else 1, []).append(f"npz[{key!r}]")
    sources = ", ".join(lengths[max(lengths)])
    mapped = "load(path, mmap_mode='r') maps them instead"
    if not all(stored for _, stored in s.columns.values()):
        mapped = f"stored (np.savez), {mapped}"
    return (
        f"the rows of its arrays are samples, and Loader({sources}, batch_size=64, shuffle=True) "
        f"reads batches of them, with each array whole in memory; {mapped}"
    )


def _problems(s: Survey) -> Iterator[tuple[str, str]]:
    if s.unreadable:
        bad, codes = plural(sum(s.unreadable.values()), "member"), ", ".join(s.unreadable)
        yield "unreadable", f"{bad} can't be read ({codes}); 'fastzip test' lists them"
    if s.damaged:
        bad, codes = plural(s.damaged.total(), "member"), ", ".join(s.damaged)
        yield "damaged", f"the headers of {bad} can't be read ({codes}); see 'fastzip test'"
    if s.duplicates:
        hidden = plural(s.duplicates, "member")
        text = f"{hidden} can't be read by name, since a later one has it; by position they can"
        yield "duplicates", text
    if s.encrypted:
        text = f"{plural(s.encrypted, 'member')} encrypted: each read decrypts, and wants pwd="
        yield "encrypted", text
    yield from _compression_problems(s)
    if s.members - s.folders >= _MANY and s.sizes[1] < _SMALL:
        yield "tiny", _tiny(s)
    if s.large_deflated:
        large = plural(s.large_deflated, "compressed array")
        text = f"{large} of more than 64 MiB can only be read whole; stored (np.savez), "
        yield "large", text + "mmap_mode='r' reads any part of them"
    if s.archives:
        text = f"there are archives inside ({escape(s.archives[0])}): NpzFile.nested opens one, "
        yield "nested", text + "without a copy if it is stored"
    yield from _array_problems(s)


def _tiny(s: Survey) -> str:
    text = f"half of the members have {size(s.sizes[1])} or less, and a call for each takes longer "
    text += "than its data: read many at once, by "
    if s.others or not s.layout:
        return text + "ZipFile.read_many"
    if s.layout == "lengths":
        return text + "NpzFile.fetch_ragged"
    text += "NpzFile.fetch"
    if s.folders or s.layout != "alike":
        return text
    return text + "; or all, if memory holds them: Loader(npz.fetch(slice(None)), ...)"


def _compression_problems(s: Survey) -> Iterator[tuple[str, str]]:
    slow = [method for method in ("bzip2", "lzma", "xz", "deflate64") if method in s.methods]
    if slow:
        many = plural(sum(s.methods[method][0] for method in slow), "member")
        text = f"{many} by {' and '.join(slow)}: such streams are decoded by Python's modules, "
        yield "slow_method", text + "with a copy, and several times slower than deflate"
    members, whole, packed = s.methods.get("deflate", (0, 0, 0))
    if members and packed > 0.95 * whole > 0:
        how = "np.savez" if s.arrays else "ZIP_STORED"
        text = f"deflate saves {max(0.0, 100 * (1 - packed / whole)):.0f} %: stored ({how}), "
        yield "incompressible", text + "members would be read at the speed of a copy"


def _array_problems(s: Survey) -> Iterator[tuple[str, str]]:
    if s.layout == "unlike":
        kinds = len({(dtype, shape) for dtype, shape, _ in s.arrays})
        text = f"arrays are of {kinds:,} dtypes and shapes, and a batch of NpzFile.fetch has one: "
        text += "pass keys of one spec(key), or write arrays of one shape; where several members "
        yield "unlike", text + "make a sample, fastzip.group reads them together"
    if s.objects:
        text = f"{plural(s.objects, 'array')} of Python objects: pickles, which want "
        yield "objects", text + "allow_pickle=True and make no batch"
    if s.others:
        ends = ", ".join(f"{n:,} {escape(end or 'others')}" for end, n in s.others.most_common(3))
        n = s.others.total()
        text = f"{plural(n, 'member')} {'is no array' if n == 1 else 'are no arrays'} ({ends}), "
        text += "which NpzFile.fetch and Loader make no batches of: ZipFile.read_many reads the "
        text += "bytes of many at once"
        pictures = any(end in _PICTURES for end in s.others)
        yield "others", text + ", to be decoded by Pillow, for example" * pictures
    if s.converted:
        text = f"{plural(s.converted, 'array')} in Fortran order or foreign byte "
        then = (
            "batches of their rows stay so" if s.layout == "rows" else "every batch converts them"
        )
        yield "converted", f"{text}order: {then}"


# ---- output ----------------------------------------------------------------------------------


def _as_json(s: Survey, advice: list[tuple[str, str]]) -> dict[str, Any]:
    smallest, median, largest = s.sizes
    return {
        "file": s.path,
        "file_size": s.file_size,
        "members": s.members,
        "folders": s.folders,
        "size": s.size,
        "compressed_size": s.compressed_size,
        "ratio": round(s.ratio, 4),
        "methods": {
            method: {"members": n, "size": whole, "compressed_size": packed}
            for method, (n, whole, packed) in s.methods.items()
        },
        "member_size": {"min": smallest, "median": median, "max": largest},
        "encrypted": s.encrypted,
        "unreadable": s.unreadable,
        "duplicates": s.duplicates,
        "zip64": s.zip64,
        "comment": s.comment.decode("utf-8", "backslashreplace"),
        "prefix": s.prefix,
        "sampled": s.sampled,
        "sampled_all": s.sampled_all,
        "arrays": [
            {"dtype": dtype, "shape": list(shape), "fortran_order": fortran, "members": n}
            for (dtype, shape, fortran), n in s.arrays.most_common()
        ],
        "others": s.others.total(),
        "damaged": dict(s.damaged),
        "stored_arrays": {
            "looked_at": s.placed,
            "aligned_for_dtype": s.aligned[0],
            "aligned_64": s.aligned[64],
            "aligned_4096": s.aligned[4096],
        },
        "advice": [{"code": code, "text": text} for code, text in advice],
    }


def _as_text(s: Survey, advice: list[tuple[str, str]]) -> str:
    paint = console.painter()
    smallest, median, largest = s.sizes
    folders = f", {plural(s.folders, 'folder')} among them" if s.folders else ""
    lines = [
        ("members", f"{s.members:,}{folders}"),
        ("size", f"{size(s.size)} in {size(s.file_size)}, ratio {s.ratio:.1f}"),
        ("a member", f"{size(smallest)} to {size(largest)}, median {size(median)}"),
        *_labelled("methods", _method_lines(s)),
        *_labelled("arrays", _array_lines(s)),
    ]
    if s.placed:
        lines.append(("alignment", _alignment(s)))
    notes = ["zip64"] * s.zip64 + [f"{s.encrypted:,} encrypted"] * bool(s.encrypted)
    if s.prefix:
        notes.append(f"{size(s.prefix)} in front of the first member")
    if notes:
        lines.append(("format", ", ".join(notes)))
    if s.comment:
        text = s.comment[:200].decode("utf-8", "backslashreplace")
        lines.append(("comment", console.harmless(text) + "..." * (len(s.comment) > 200)))
    for number, (code, text) in enumerate(advice):
        mark = paint("+", console.GREEN) if code in _GOOD else paint("!", console.YELLOW)
        lines.append(("training" if number == 0 else "", f"{mark} {text} [{code}]"))
    body = "".join(f"  {label:<10} {text}\n" for label, text in lines)
    return paint(escape(s.path), console.BOLD) + "\n" + body


def _labelled(label: str, texts: list[str]) -> list[tuple[str, str]]:
    return [(label if i == 0 else "", text) for i, text in enumerate(texts)]


def _method_lines(s: Survey) -> list[str]:
    return [
        f"{method} {n:,} ({size(whole)} in {size(packed)})"
        for method, (n, whole, packed) in s.methods.items()
    ]


def _array_lines(s: Survey) -> list[str]:
    lines = [
        f"{n:,} of {dtype} {_members.shape_text(shape)}{', Fortran order' * fortran}"
        for (dtype, shape, fortran), n in s.arrays.most_common(_SHOWN)
    ]
    if s.layout == "rows" and not s.objects:
        lines = [
            f"{escape(key)}: {dtype} {_members.shape_text(shape)}, {plural(shape[0], 'row')}"
            for key, ((dtype, shape), _) in s.columns.items()
            if shape
        ]
    elif len(s.arrays) > _SHOWN:
        lines.append(f"... and {len(s.arrays) - _SHOWN:,} more dtypes and shapes")
    if s.others:
        lines.append(f"{s.others.total():,} that are no arrays")
    lines += [f"{n:,} that can't be read [{code}]" for code, n in s.damaged.most_common()]
    if lines and not s.sampled_all:
        lines.append(f"({s.sampled:,} members were looked at, drawn at random; --all: every one)")
    return lines


def _alignment(s: Survey) -> str:
    return (
        f"of {plural(s.placed, 'stored array')}, {s.aligned[0]:,} begin where their dtype wants, "
        f"{s.aligned[64]:,} at a multiple of 64 bytes"
    )
