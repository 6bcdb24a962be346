"""Archives as a map-style dataset for PyTorch, with batched reads.

>>> import io, numpy as np, fastzip
>>> file = io.BytesIO()
>>> np.savez_compressed(file, **{f"ix-{i}": np.full(2, i) for i in range(4)})
>>> from torch.utils.data import DataLoader
>>> from fastzip.torch import ArchiveDataset, collate
>>> data = ArchiveDataset(fastzip.load(file.getvalue()), np.arange(4))  # or a path, and labels
>>> loader = DataLoader(data, 2, collate_fn=collate)
>>> [(images.shape, labels) for images, labels in loader]
[(torch.Size([2, 2]), tensor([0, 1])), (torch.Size([2, 2]), tensor([2, 3]))]
"""

from fastzip.torch.dataset import ArchiveDataset, Batch, collate

__all__ = ["ArchiveDataset", "Batch", "collate"]
