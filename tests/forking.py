"""What tests that fork share."""

from __future__ import annotations

import contextlib
import os
import signal
import warnings

SOON = 100


@contextlib.contextmanager
def forks():
    """Python 3.12 and later warn when a process with threads forks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def forked(act):
    """The exit status of a child that acts: 0 for a true result."""
    with forks():
        child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(SOON)  # a lock that nobody holds any more is waited for in vain
            status = 0 if act() else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
