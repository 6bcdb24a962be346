"""Training: samples in an order, in batches, read ahead of the loop.

What can be read in batches, the order of an epoch as pure functions of (seed, epoch), and
`Loader`. The adapters for frameworks are built on the same samples.
"""

from fastzip._train.feeds import Padded, Ragged
from fastzip._train.groups import Groups, group
from fastzip._train.loader import Loader
from fastzip._train.samples import Column, Indices, Samples

__all__ = [
    "Column",
    "Groups",
    "Indices",
    "Loader",
    "Padded",
    "Ragged",
    "Samples",
    "group",
]
