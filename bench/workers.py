"""What a forked worker costs in memory: an epoch of 1,000,000 members, shared by 8 of them.

    python bench/workers.py [--members 250k] [--workers 8]

Private memory is what smaps_rollup tells of each worker, looked at from outside every 50 ms: pages
that it doesn't share with its parent, its batch buffers not counted. It fails above 16 MiB.
"""

import argparse
import os
import pickle
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import data

import fastzip

ALLOWED = 16 << 20
PICKLED = 4096
BATCH = 256
PREFETCH = 2
SETS = {"250k": "open250k", "1m": "open1m"}


def by_loader(npz: fastzip.NpzFile, rank: int, workers: int) -> Callable[[], Iterator[int]]:
    """An epoch as ranks share it, by a Loader that was made before the fork."""
    loader = fastzip.Loader(
        npz,
        batch_size=BATCH,
        shuffle=True,
        prefetch=PREFETCH,
        threads=1,
        rank=rank,
        world_size=workers,
    )
    return lambda: (len(batch) for batch in loader)


def by_fetch(npz: fastzip.NpzFile, rank: int, workers: int) -> Callable[[], Iterator[int]]:
    """An epoch of batches whose members are asked for by name, as a sampler might."""

    def epoch() -> Iterator[int]:
        for start in range(rank * BATCH, len(npz), workers * BATCH):
            names = [data.NAME.format(i) for i in range(start, min(start + BATCH, len(npz)))]
            yield len(npz.fetch(names, threads=1))

    return epoch


WAYS = {"Loader": by_loader, "fetch by name": by_fetch}


def fork(epoch: Callable[[], Iterator[int]]) -> tuple[int, int]:
    """A worker that goes through an epoch, says how many samples there were, and waits until it has
    been looked at a last time."""
    said, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(say, b"%d\n" % sum(epoch()))
            time.sleep(0.3)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(say)
    return pid, said


def private(pid: int) -> int:
    """Bytes that nobody shares with this process; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            text = file.read()
    except OSError:
        return 0
    return sum(int(kb) << 10 for kb in re.findall(r"^Private_(?:Clean|Dirty):\s+(\d+)", text, re.M))


def watch(workers: list[tuple[int, int]]) -> tuple[list[int], int]:
    """The most private memory that each worker had, and the samples of all."""
    most = {pid: 0 for pid, _ in workers}
    left, samples = dict(workers), 0
    while left:
        for pid, said in list(left.items()):
            most[pid] = max(most[pid], private(pid))
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                if status:
                    sys.exit(f"a worker ended with status {status}")
                samples += int(os.read(said, 99))
                os.close(said)
                del left[pid]
        time.sleep(0.05)
    return list(most.values()), samples


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--members", choices=SETS, default="1m")
    parser.add_argument("--workers", type=int, default=8)
    options = parser.parse_args()
    failed = False
    with fastzip.load(data.path(SETS[options.members])) as npz:
        pickled = len(pickle.dumps(npz))  # this also prepares the archive to be shared
        failed |= pickled >= PICKLED
        print(
            f"{len(npz):,} members; the reader, pickled: {pickled} B of {PICKLED} that are allowed"
        )
        buffers = BATCH * npz[npz.files[0]].nbytes * (PREFETCH + 2)
        for name, way in WAYS.items():
            start = time.perf_counter()
            epochs = [way(npz, rank, options.workers) for rank in range(options.workers)]
            most, samples = watch([fork(epoch) for epoch in epochs])
            seconds = time.perf_counter() - start
            if samples != len(npz):
                sys.exit(f"{name}: {samples:,} samples")
            beyond = max(most) - buffers
            failed |= beyond > ALLOWED
            print(
                f"{name}: {options.workers} workers, an epoch in {seconds:.1f} s; private "
                f"{beyond / (1 << 20):.1f} MiB at most, of {ALLOWED >> 20} that are allowed, "
                f"beside {buffers / (1 << 20):.1f} MiB of batches"
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
