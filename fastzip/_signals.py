"""Exceptions of signals' handlers, which may come out of any call.

Where an exception means that something is wrong with an archive, a handler's own must not be taken
for one: a time limit's `TimeoutError` is an `OSError`, and a handler may read damaged archives.
"""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable
from types import CodeType
from typing import Any


def from_handler(exc: BaseException) -> bool:
    """Was it raised by a signal's handler, in the midst of what might have raised it as well?

    Known by the functions that it came through: those that are handlers now."""
    if threading.current_thread() is not threading.main_thread():
        return False  # handlers run on the main thread alone
    raised: BaseException | None = exc
    came_through: set[CodeType] = set()
    while raised is not None:  # NumPy's reader makes errors of others, and says of which
        trace = raised.__traceback__
        while trace is not None:
            came_through.add(trace.tb_frame.f_code)
            trace = trace.tb_next
        raised = raised.__cause__
    if len(came_through) < 2:  # who asks, and no handler
        return False
    handlers = map(signal.getsignal, range(1, signal.NSIG))
    return any(_code_of(each) in came_through for each in handlers if callable(each))


def let_pass(exc: BaseException) -> None:
    """Raise a handler's exception again, where others are about to be taken for a failure."""
    if from_handler(exc):
        raise exc


def _code_of(handler: Callable[..., Any]) -> CodeType | None:
    """The code of a function, a method, an object that can be called, or a part of these."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not hasattr(handler, "__code__"):
        handler = getattr(handler, "__func__", type(handler).__call__)
    return getattr(handler, "__code__", None)
