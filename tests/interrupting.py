"""A loop over a Loader that a signal's handler interrupts, again and again; what tracers leave."""

from __future__ import annotations

import ctypes
import signal


class StopError(Exception):
    pass


def forget_handled():
    """Forget an exception that is no longer being handled.

    Where a tracer or a profiler raises while a generator ends, CPython 3.11 goes on to believe
    that the StopIteration is being handled: it is the context of all that are raised later."""
    clear = ctypes.pythonapi.PyErr_SetHandledException
    clear.argtypes, clear.restype = [ctypes.c_void_p], None
    clear(None)


def interrupted_epoch(loader, size, check, kind):
    """Go through an epoch of batches of this size while handlers raise: nothing is lost.

    Calls check(batch, start) with each. Returns how often it was stopped, and how often with a
    batch on its way to us."""

    def stop(*_):
        raise StopError if kind == "own" else KeyboardInterrupt

    signal.signal(signal.SIGALRM, stop)
    stopped = lost = 0
    it = iter(loader)
    while True:
        at = loader.state_dict()["position"]
        try:
            if stopped % 7 < 6:  # a slow machine gets on as well
                signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.003 * (stopped % 5))
            else:
                stopped += 1
            batch = next(it, None)
            signal.setitimer(signal.ITIMER_REAL, 0)
        except (KeyboardInterrupt, StopError):
            stopped += 1
            now = loader.state_dict()["position"]
            lost += now != at
            assert now in (at, at + size)
            continue
        if batch is None:
            return stopped, lost
        check(batch, at)
