"""Progress bars, for who asks for one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def progress_bar(wanted: bool, what: str, total: int) -> Iterator[Callable[[int], Any]]:
    """A bar of bytes on standard error, or nothing; what it gives is told of the progress."""
    if not wanted:
        yield lambda n: None
        return
    try:
        from tqdm import tqdm
    except ImportError as exc:
        raise ImportError("progress=True needs tqdm: pip install tqdm") from exc
    with tqdm(total=total, desc=what, unit="B", unit_scale=True, unit_divisor=1024) as shown:
        yield shown.update
