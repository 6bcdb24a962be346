"""What only a fresh process can show, one thing per run; prints one line of JSON.

    python bench/probe.py open numpy|fastzip PATH         seconds of opening it
    python bench/probe.py read numpy|fastzip PATH         seconds of reading its first array
    python bench/probe.py fetch PATH                      seconds of the first fetch, of later ones
    python bench/probe.py memory numpy|fastzip PATH TINY  bytes grown by, at last and at the peak

Nothing is imported but the reader in question: the first call pays for what it loads lazily.
"""

import json
import re
import sys
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

LOOKUPS = 1000


def reader(side: str) -> Any:
    """The `load` of this side."""
    if side == "numpy":
        import numpy

        return numpy.load
    import fastzip

    return fastzip.load


def first_open(side: str, path: str) -> object:
    load = reader(side)
    start = perf_counter()
    npz = load(path)
    seconds = perf_counter() - start
    npz.close()
    return seconds


def first_read(side: str, path: str) -> object:
    with reader(side)(path) as npz:
        key = npz.files[0]
        start = perf_counter()
        npz[key]
        return perf_counter() - start


def first_fetch(path: str, calls: int = 40, batch: int = 256) -> object:
    import numpy as np

    import fastzip

    rng, seconds = np.random.default_rng(1), []
    with fastzip.load(path) as npz:
        first = npz[npz.files[0]]
        out = np.ones((batch, *first.shape), first.dtype)
        for _ in range(calls):
            chosen = rng.permutation(len(npz))[:batch]
            start = perf_counter()
            npz.fetch(chosen, out=out, threads=2)
            seconds.append(perf_counter() - start)
    return {"first": seconds[0], "later": median(seconds[1:])}


def resident() -> int:
    """Bytes resident now. From smaps_rollup: the figures of `status` lag by up to half a MB."""
    with open("/proc/self/smaps_rollup") as file:
        found = re.search(r"^Rss:\s+(\d+) kB", file.read(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


def peak() -> int:
    """The most bytes resident since the mark was reset."""
    with open("/proc/self/status") as file:
        found = re.search(r"^VmHWM:\s+(\d+) kB", file.read(), re.MULTILINE)
    assert found
    return int(found[1]) << 10


def memory(side: str, path: str, tiny: str) -> object:
    """Open the archive and read `LOOKUPS` members by name, in a process that has read another."""
    load = reader(side)
    with load(tiny) as npz:  # everything imported, bound and allocated that one archive needs
        members = 250_000
        names = [f"ix-{i * 7919 % members:06d}" for i in range(LOOKUPS)]
        for name in names:
            npz.get(name)
        npz["ix-000000"]
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # resets VmHWM
    before = resident()
    npz = load(path)
    for name in names:
        npz[name]
    return {"resident": resident() - before, "peak": peak() - before}


if __name__ == "__main__":
    what: dict[str, Callable[..., object]]
    what = {"open": first_open, "read": first_read, "fetch": first_fetch, "memory": memory}
    print(json.dumps(what[sys.argv[1]](*sys.argv[2:])))
