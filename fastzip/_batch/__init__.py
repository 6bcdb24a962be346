"""Numbers of members into memory: the batches.

Keys become positions, positions become jobs, and one call of the core fills the memory: members
that are alike as the rows of one array, members of different lengths one after another or padded,
the bytes of any members, or files. Each can be begun ahead of time.
"""

from fastzip._batch.equal import describe_array, fetch, fetch_ahead
from fastzip._batch.files import Extraction, parts_of
from fastzip._batch.many import Many, aligned, pieces
from fastzip._batch.memory import new_batch, trim
from fastzip._batch.ragged import (
    check_width,
    fetch_padded,
    fetch_ragged,
    padded_ahead,
    ragged_ahead,
)
from fastzip._batch.run import NOT_AN_ARRAY, Ahead, unfit
from fastzip._batch.unequal import lengths

__all__ = [
    "Ahead",
    "Extraction",
    "Many",
    "NOT_AN_ARRAY",
    "aligned",
    "check_width",
    "describe_array",
    "fetch",
    "fetch_ahead",
    "fetch_padded",
    "fetch_ragged",
    "lengths",
    "new_batch",
    "padded_ahead",
    "parts_of",
    "pieces",
    "ragged_ahead",
    "trim",
    "unfit",
]
