"""Numbers of members into memory: the batches.

Keys become positions, positions become jobs, and one call of the core fills the memory: members that
are alike as the rows of one array, members of different lengths one after another or padded, the bytes
of any members, or files. Each can be begun ahead of time.
"""

from fastzip._batch.equal import (
    NOT_AN_ARRAY,
    EqualAhead,
    describe_array,
    fetch,
    new_batch,
    trim,
    unfit,
)
from fastzip._batch.files import Extraction, parts_of
from fastzip._batch.many import Many, aligned, pieces
from fastzip._batch.ragged import (
    PaddedBatch,
    RaggedBatch,
    UnequalAhead,
    check_width,
    fetch_padded,
    fetch_ragged,
    lengths,
)

__all__ = [
    "EqualAhead",
    "Extraction",
    "Many",
    "NOT_AN_ARRAY",
    "PaddedBatch",
    "RaggedBatch",
    "UnequalAhead",
    "aligned",
    "check_width",
    "describe_array",
    "fetch",
    "fetch_padded",
    "fetch_ragged",
    "lengths",
    "new_batch",
    "parts_of",
    "pieces",
    "trim",
    "unfit",
]
