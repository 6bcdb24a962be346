"""How many threads a batch uses: set, from the environment, or what the process may use."""

from __future__ import annotations

import itertools
import math
import operator
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fastzip._signals import let_pass

__all__ = ["get_num_threads", "set_num_threads"]

_WORTH_A_THREAD: Final = 65536
"""Bytes: waking a thread takes as long as inflating some of them."""

_chosen: int | None = None
_measured = (0, 1)


def quota(listing: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> float:
    """The CPUs that this process's control group may use; infinity without a limit."""
    limit = math.inf
    try:
        groups = listing.read_text().splitlines()
    except OSError as exc:
        let_pass(exc)
        return limit
    for line in groups:
        _, controllers, path = line.split(":", 2)
        try:
            if not controllers:  # version 2: a limit on any group up to the root holds
                here = root / path.lstrip("/")
                for group in (here, *here.parents):
                    file = group / "cpu.max"
                    if file.is_file():
                        allowed, period = file.read_text().split()
                        if allowed != "max":
                            limit = min(limit, int(allowed) / int(period))
                    if group == root:
                        break
            elif "cpu" in controllers.split(","):
                for name in (path.lstrip("/"), ""):  # in a container the path is the host's
                    base = root / "cpu" / name
                    if (base / "cpu.cfs_quota_us").is_file():
                        allowed = (base / "cpu.cfs_quota_us").read_text()
                        period = (base / "cpu.cfs_period_us").read_text()
                        if int(allowed) > 0:
                            limit = min(limit, int(allowed) / int(period))
                        break
        except (OSError, ValueError) as exc:
            let_pass(exc)
            continue
    return limit


def _available() -> int:
    """CPUs that this process may use: its affinity mask, cut by its control group's quota."""
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), quota())))


def _check(n: object, what: str) -> int:
    try:
        count = operator.index(n)  # type: ignore[arg-type]  # NumPy's integers have it as well
    except TypeError as exc:
        let_pass(exc)
        count = 0
    if isinstance(n, bool) or not 1 <= count <= 1024:
        raise ValueError(f"{what} must be an integer from 1 to 1024, not {n!r}")
    return count


def set_num_threads(n: int | None) -> None:
    """Set how many threads a batch uses unless the call says otherwise.

    Parameters
    ----------
    n : int or None
        From 1 to 1024, the caller's own thread among them; None goes back to the default: the
        environment variable ``FASTZIP_NUM_THREADS``, else the CPUs that this process may use.

    Raises
    ------
    ValueError
        If it is no such number.

    Notes
    -----
    It holds for all threads of this process, and for children that are forked afterwards.

    Examples
    --------
    >>> import fastzip
    >>> fastzip.set_num_threads(2)
    >>> fastzip.get_num_threads()
    2
    >>> fastzip.set_num_threads(None)
    """
    global _chosen
    _chosen = None if n is None else _check(n, "the number of threads")


def get_num_threads() -> int:
    """How many threads a batch uses unless the call says otherwise.

    Returns
    -------
    int
        What `set_num_threads` set, else ``FASTZIP_NUM_THREADS``, else 1 inside a worker of torch's
        DataLoader (the workers are the parallelism there), else the CPUs that this process may use,
        by its affinity mask and its control group's quota.

    Raises
    ------
    ValueError
        If ``FASTZIP_NUM_THREADS`` is no number from 1 to 1024.

    Examples
    --------
    >>> import fastzip
    >>> fastzip.set_num_threads(3)
    >>> fastzip.get_num_threads()
    3
    >>> fastzip.set_num_threads(None)
    """
    global _measured
    if _chosen is not None:
        return _chosen
    asked = os.environ.get("FASTZIP_NUM_THREADS", "").strip()
    if asked:
        return _check(int(asked) if asked.isdecimal() else asked, "FASTZIP_NUM_THREADS")
    data = sys.modules.get("torch.utils.data")
    if data is not None and data.get_worker_info() is not None:
        return 1
    if _measured[0] != os.getpid():  # a forked worker may have been given other CPUs
        _measured = (os.getpid(), _available())
    return _measured[1]


def thread_count(threads: int | None) -> int:
    """A call's own number of threads, or the default."""
    return get_num_threads() if threads is None else _check(threads, "threads")


def threads_worth(threads: int, nbytes: int) -> int:
    """Of so many threads, as many as are worth waking for so many bytes."""
    return min(threads, max(1, nbytes // _WORTH_A_THREAD))


Stop = Callable[[], bool]
"""Must the work stop?"""


def run_each(
    work: Callable[[int, Stop], None],
    n: int,
    threads: int,
    harmless: Callable[[BaseException], bool],
) -> dict[int, Exception | None]:
    """Do work(i, stop) for each i below n, in Python threads that end before this returns.

    Returns what each raised, or None. What isn't `harmless`, but a bug or a signal handler's, stops
    the others and is raised. An i that is missing was nobody's: a handler forked, which left the
    child without the threads."""
    results: dict[int, Exception | None] = {}
    harm: list[Exception] = []
    turns = itertools.count()  # its next() is atomic
    stopped = False  # no Event: a handler's exception could come out of setting it

    def stop() -> bool:
        return stopped

    def drain() -> None:
        nonlocal stopped
        while not stopped and (i := next(turns)) < n:
            try:
                work(i, stop)
                results[i] = None
            except Exception as exc:
                if harmless(exc):
                    results[i] = exc
                else:
                    stopped = True
                    harm.append(exc)

    helpers = [threading.Thread(target=drain, daemon=True) for _ in range(min(threads, n) - 1)]
    try:
        for helper in helpers:
            try:
                helper.start()
            except RuntimeError:  # the system has no more: fewer do as well
                break
        drain()
    except BaseException:
        stopped = True
        raise
    finally:
        try:
            _join(helpers)
        except BaseException:  # of a handler that had its turn where that begins or ends
            stopped = True
            _join(helpers)
            raise
    if harm:
        raise harm[0]
    return results


def _join(threads: list[threading.Thread]) -> None:
    """Wait until these have ended, as far as they were started, whatever signals' handlers raise
    meanwhile; raise it then."""
    raised: BaseException | None = None
    left = True
    while left:
        try:
            for thread in threads:
                if thread.is_alive():
                    thread.join()
            left = False
        except BaseException as exc:
            raised = exc
    if raised is not None:
        raise raised
