"""``fastzip info``: an archive summed up, and what would make it better to train from."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any, Final

from fastzip import _console, _members, _survey
from fastzip._console import escape, plural, size
from fastzip._survey import Survey

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
        shown = args.all and _console.bars(args.json)
        with _console.count_bar("reading headers", len(archive.index), shown) as advance:
            found = _survey.survey(archive, args.archive, args.all, advance)
    advice = list(_advice(found))
    if args.json:
        _console.write(json.dumps(_as_json(found, advice), indent=2) + "\n")
    else:
        _console.write(_as_text(found, advice))
    return 0


# ---- what would help -------------------------------------------------------------------------


def _advice(s: Survey) -> Iterator[tuple[str, str]]:
    """(a short stable string, a sentence); ``good`` where nothing is to be said against it."""
    worse = list(_problems(s))
    kinds = len({(dtype, shape) for dtype, shape, _ in s.arrays})
    if kinds == 1 and not s.others and not s.objects:
        what = "all arrays" if s.sampled_all else "all arrays that were looked at"
        yield "alike", f"{what} are of one dtype and shape: NpzFile.fetch reads batches of them"
    if not worse and s.members > s.folders:
        yield "good", "nothing stands in the way of reading it fast"
    yield from worse


def _problems(s: Survey) -> Iterator[tuple[str, str]]:
    files = s.members - s.folders
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
    median = s.sizes[1]
    if files >= _MANY and median < _SMALL:
        text = f"half of the members have {size(median)} or less: reading headers takes as long as "
        yield "tiny", text + "reading data; put several samples into one array"
    if s.large_deflated:
        large = plural(s.large_deflated, "compressed array")
        text = f"{large} of more than 64 MiB can only be read whole; stored (np.savez), "
        yield "large", text + "mmap_mode='r' reads any part of them"
    if s.archives:
        text = f"there are archives inside ({escape(s.archives[0])}): NpzFile.nested opens one, "
        yield "nested", text + "without a copy if it is stored"
    yield from _array_problems(s)


def _compression_problems(s: Survey) -> Iterator[tuple[str, str]]:
    slow = [method for method in ("bzip2", "lzma", "xz", "deflate64") if method in s.methods]
    if slow:
        many = plural(sum(s.methods[method][0] for method in slow), "member")
        text = f"{many} by {' and '.join(slow)}: such streams are decoded by Python's modules, "
        yield "slow_method", text + "with a copy, and several times slower than deflate"
    members, whole, packed = s.methods.get("deflate", (0, 0, 0))
    if members and packed > 0.95 * whole > 0:
        text = f"deflate saves {max(0.0, 100 * (1 - packed / whole)):.0f} %: stored (np.savez), "
        yield "incompressible", text + "members would be read at the speed of a copy"


def _array_problems(s: Survey) -> Iterator[tuple[str, str]]:
    kinds = {(dtype, shape) for dtype, shape, _ in s.arrays}
    if len(kinds) > 1:
        text = f"arrays are of {len(kinds):,} dtypes and shapes, and a batch of NpzFile.fetch has "
        yield "unlike", text + "one: group the keys by spec(key), or write arrays of one shape"
    if s.objects:
        text = f"{plural(s.objects, 'array')} of Python objects: pickles, which want "
        yield "objects", text + "allow_pickle=True and make no batch"
    if s.arrays and s.others:
        text = f"{plural(s.others, 'member')} no arrays: ZipFile.read_many reads such, as bytes"
        yield "others", text
    fortran = sum(n for (_, shape, order), n in s.arrays.items() if order and len(shape) > 1)
    if fortran or s.foreign_order:
        text = f"{plural(max(fortran, s.foreign_order), 'array')} in Fortran order or foreign byte "
        yield "converted", text + "order: every batch converts them"


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
        "others": s.others,
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
    paint = _console.painter()
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
        lines.append(("comment", _console.harmless(text) + "..." * (len(s.comment) > 200)))
    for number, (code, text) in enumerate(advice):
        good = code in ("alike", "good")
        mark = paint("+", _console.GREEN) if good else paint("!", _console.YELLOW)
        lines.append(("training" if number == 0 else "", f"{mark} {text} [{code}]"))
    body = "".join(f"  {label:<10} {text}\n" for label, text in lines)
    return paint(escape(s.path), _console.BOLD) + "\n" + body


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
    if len(s.arrays) > _SHOWN:
        lines.append(f"... and {len(s.arrays) - _SHOWN:,} more dtypes and shapes")
    if s.others:
        lines.append(f"{s.others:,} that are no arrays")
    lines += [f"{n:,} that can't be read [{code}]" for code, n in s.damaged.most_common()]
    if lines and not s.sampled_all:
        lines.append(f"({s.sampled:,} members were looked at, drawn at random; --all: every one)")
    return lines


def _alignment(s: Survey) -> str:
    return (
        f"of {plural(s.placed, 'stored array')}, {s.aligned[0]:,} begin where their dtype wants, "
        f"{s.aligned[64]:,} at a multiple of 64 bytes"
    )
