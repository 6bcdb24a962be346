"""``fastzip doctor``: what fastzip finds on this machine, and what follows from it."""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from typing import Any, Final

import fastzip
from fastzip._cli import console
from fastzip._cli.console import escape

HELP: Final = "tell what fastzip finds on this machine"
DESCRIPTION: Final = """\
Tell which engines are in use, what the CPU can do, how many threads a batch gets and why, how
multiprocessing starts workers, which optional packages are there, and on what kind of file system
paths lie; and what follows from it. Nothing is changed."""
EXAMPLES: Final = """\
examples:
  fastzip doctor                             about this machine and this folder
  fastzip doctor /data/training.npz          about the file system of an archive
  fastzip doctor --json | jq .engines        for reports of trouble"""

_START_METHODS: Final = {
    "fork": (
        "workers share an archive that is open, and its table of names, without a copy; open it "
        "before they start"
    ),
    "forkserver": "workers open the archive again, by its path: it is pickled with the dataset",
    "spawn": "workers open the archive again, by its path: it is pickled with the dataset",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``doctor``."""
    parser.add_argument(
        "paths", nargs="*", metavar="PATH", help="where archives are (default: this folder)"
    )
    parser.add_argument("--json", action="store_true", help="the same as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Tell."""
    from fastzip._cli import machine

    found = {
        "versions": machine.versions(),
        "system": {"kernel": platform.release(), "libc": " ".join(platform.libc_ver())},
        "cpu": machine.cpu(),
        "engines": fastzip.engines(),
        "threads": machine.threads(),
        "start_method": machine.start_method(),
        "paths": [machine.mount_of(path)._asdict() for path in args.paths or ["."]],
        "variables": machine.variables(),
    }
    advice = list(_advice(found))
    found["advice"] = [{"code": code, "text": text} for code, text in advice]
    if args.json:
        console.write(json.dumps(found, indent=2) + "\n")
    else:
        console.write(_as_text(found, advice))
    return 0


def _advice(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    engines, features = found["engines"], found["cpu"]["features"]
    if engines["forced"]:
        yield "forced", f"FASTZIP_ENGINE forces {engines['forced']}; without it the fastest is used"
    elif not engines["libdeflate"]["available"]:
        yield (
            "libdeflate",
            (
                "single members are inflated without libdeflate, which is faster: "
                "pip install 'deflate>=0.8'"
            ),
        )
    if found["cpu"]["machine"] == "x86_64" and not {"avx2", "bmi2"} <= set(features):
        yield "cpu", "without AVX2 and BMI2 batches are inflated one member after the other"
    threads = found["threads"]
    if threads["quota"] is not None and threads["quota"] < 1:
        yield "quota", f"the control group allows {threads['quota']:.2g} CPUs: batches will be slow"
    if threads["batch"] == 1:
        yield "one_thread", "batches use one thread; see set_num_threads, FASTZIP_NUM_THREADS"
    for path in found["paths"]:
        if path["advice"]:
            yield "file_system", f"{escape(path['path'])} ({path['kind']}): {path['advice']}"
    method = found["start_method"]["method"]
    if method in _START_METHODS:
        yield "start_method", f"{method}: {_START_METHODS[method]}"


def _as_text(found: dict[str, Any], advice: list[tuple[str, str]]) -> str:
    from fastzip._cli.machine import EXTRAS

    paint = console.painter()
    versions, engines, threads = found["versions"], found["engines"], found["threads"]
    there = [f"{name} {version}" for name, version in versions.items() if version]
    missing = [
        name + (f" (extra {extra})" if (extra := EXTRAS.get(name)) else "")
        for name, version in versions.items()
        if not version
    ]
    system = found["system"]
    quota = "" if threads["quota"] is None else f", quota {threads['quota']:.3g}"
    lines = [
        ("versions", ", ".join(there)),
        ("missing", ", ".join(missing) or "nothing"),
        ("system", f"Linux {system['kernel']}, {system['libc'] or 'libc unknown'}"),
        ("CPU", f"{found['cpu']['model']} ({found['cpu']['machine']})"),
        ("features", " ".join(found["cpu"]["features"]) or "none that matter"),
        ("engines", f"{engines['inflate']} for members, {engines['batches']} for batches"),
    ]  # fmt: skip
    for name in ("zlib_ng", "libdeflate", "interleaved"):
        info = engines[name]
        mark = paint("yes", console.GREEN) if info["available"] else paint("no", console.YELLOW)
        version = f" {info['version']}" if info["version"] else ""
        shown = name.replace("_", "-")
        lines.append(("", f"{shown:<10} {mark}{version}, {console.harmless(info['source'])}"))
    lines += [
        ("threads", f"{threads['batch']} ({threads['affinity']} of {threads['cpus']} CPUs{quota})"),
        ("workers", f"multiprocessing starts them by {found['start_method']['method']}"),
    ]
    for number, path in enumerate(found["paths"]):
        text = f"{escape(path['path'])}: {path['type']} at {escape(path['mount'])}, {path['kind']}"
        lines.append(("" if number else "paths", text))
    for number, (name, value) in enumerate(found["variables"].items()):
        lines.append(("" if number else "variables", f"{name}={console.harmless(value)}"))
    for number, (code, text) in enumerate(advice):
        lines.append(("" if number else "so", f"{text} [{code}]"))
    return "".join(f"{label:<10} {text}\n" for label, text in lines)
