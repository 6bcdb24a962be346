"""What fastzip finds on this machine: CPU, threads, file systems, versions."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

import fastzip
from fastzip import _zip

FEATURES: Final = (
    "sse4_2", "pclmulqdq", "avx2", "bmi2", "avx512bw", "avx512vbmi", "vpclmulqdq",
    "asimd", "crc32", "pmull", "sve",
)  # fmt: skip
"""Of the CPU's flags those that inflating or checksums make use of, here or in the engines."""

EXTRAS: Final = {
    "deflate": "libdeflate",
    "backports.zstd": "zstd",
    "inflate64": "deflate64",
    "cryptography": "aes",
    "tqdm": "demo",
    "matplotlib": "demo",
    "torch": None,
    "isal": None,
}
"""Packages that fastzip makes use of, and the extra that brings each; None: no extra does."""

_VARIABLES: Final = (
    "FASTZIP_ENGINE",
    "FASTZIP_CPU",
    "FASTZIP_NUM_THREADS",
    "NO_COLOR",
    "TQDM_DISABLE",
)

_NETWORK: Final = (
    "network",
    "reads wait for the network and may fail half-way: copy the archive to a local disk, or read "
    "with more threads than there are CPUs; a file that the server replaces is found out (ESTALE, "
    "or the code stale)",
)
_LOCAL: Final = ("local disk", "reads are fast once the file is in the page cache")
_MEMORY: Final = ("memory", "the archive lies in memory: reads cost a copy, and it counts as used")
_FUSE: Final = (
    "user space",
    "every read passes through another process: few large reads are better than many small ones; "
    "copy the archive to a local disk if it is read more than once",
)
_WINDOWS: Final = (
    "Windows drive",
    "reads pass through the Windows host and are slow: copy the archive into the Linux file system",
)

KINDS: Final[dict[str, tuple[str, str]]] = {
    **dict.fromkeys(("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs"), _LOCAL),
    **dict.fromkeys(("tmpfs", "ramfs"), _MEMORY),
    **dict.fromkeys(("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "afs", "gpfs"), _NETWORK),
    **dict.fromkeys(("lustre", "glusterfs", "beegfs", "orangefs", "pvfs2", "wekafs"), _NETWORK),
    **dict.fromkeys(("fuse", "fuseblk"), _FUSE),
    **dict.fromkeys(("drvfs", "9p", "v9fs"), _WINDOWS),
    "virtiofs": ("host's folder", "reads pass through the host of this virtual machine"),
    "overlay": (
        "container layers",
        "reads are those of the disk below; the first write to a file of a lower layer copies all "
        "of it, so keep archives in a volume",
    ),
    "squashfs": ("compressed image", "the image is inflated at every first read; store members"),
    "iso9660": ("disc", "reads at random are slow: copy the archive to a disk"),
}


# ---- file systems ----------------------------------------------------------------------------


class Mount(NamedTuple):
    """Where a path lies."""

    path: str
    mount: str
    type: str
    kind: str
    advice: str


def mount_of(path: str, listing: Path = Path("/proc/self/mountinfo")) -> Mount:
    """The file system of a path; OSError if there is no such path."""
    where = os.path.realpath(path)
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    best: tuple[tuple[bool, int, int], str, str] | None = None
    for number, line in enumerate(_lines(listing)):
        fields, _, behind = line.partition(" - ")
        columns, types = fields.split(), behind.split()
        if len(columns) < 5 or not types:
            continue
        mount = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), columns[4])
        if where != mount and not where.startswith(mount.rstrip("/") + "/"):
            continue
        # Some file systems number a file's device by their own counting: the longest place counts.
        rank = (columns[2] == wanted, len(mount), number)
        if best is None or (rank[1:], rank[0]) > (best[0][1:], best[0][0]):
            best = rank, mount, types[0]
    if best is None:
        return Mount(path, "", "unknown", "unknown", "")
    kind, advice = _kind(best[2], where)
    return Mount(path, best[1], best[2], kind, advice)


def _kind(name: str, where: str) -> tuple[str, str]:
    if name in ("9p", "v9fs") and not where.startswith("/mnt/"):
        return "host's folder", "reads pass through the host of this virtual machine"
    return KINDS.get(name) or KINDS.get(name.partition(".")[0]) or ("other", "")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return []


# ---- CPU, threads, versions ------------------------------------------------------------------


def cpu(listing: Path = Path("/proc/cpuinfo")) -> dict[str, Any]:
    """The CPU's name and those of its features that matter here."""
    model, flags = "", set()
    for line in _lines(listing):
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model", "CPU part") and not model:
            model = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    return {
        "machine": platform.machine(),
        "model": model or platform.processor() or "unknown",
        "features": [name for name in FEATURES if name in flags],
    }


def threads() -> dict[str, Any]:
    """How many threads a batch uses, and why."""
    limit = _zip.quota()
    return {
        "batch": fastzip.get_num_threads(),
        "cpus": os.cpu_count(),
        "affinity": len(os.sched_getaffinity(0)),
        "quota": limit if limit < float("inf") else None,
    }


def start_method() -> dict[str, Any]:
    """How multiprocessing starts its workers here."""
    chosen = multiprocessing.get_start_method(allow_none=True)
    # Asking for the default would set it; the first of the list is it.
    return {"method": chosen or multiprocessing.get_all_start_methods()[0], "chosen": bool(chosen)}


def version_of(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Python, fastzip, NumPy, and all that fastzip makes use of; None where it isn't installed."""
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "fastzip": fastzip.__version__,
        "numpy": np.__version__,
        "zlib-ng": version_of("zlib-ng"),
    }
    wanted = [name for name in EXTRAS if name != "backports.zstd" or sys.version_info < (3, 14)]
    return found | {name: version_of(name) for name in wanted}


def variables() -> dict[str, str]:
    """Environment variables that change what fastzip does."""
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ}
