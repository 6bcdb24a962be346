"""Train a small network in PyTorch from an archive of images and an array of labels.

    python examples/torch_training.py [workers]

It learns which half of the image is brighter; a data set in two archives is one dataset here.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from fastzip.torch import ArchiveDataset, collate


def scaled(images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch_transform: bytes to floats around 0."""
    return images.float().div_(255).sub_(0.5), labels


def main(folder: Path, workers: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    images = rng.integers(0, 100, (600, 16, 16)).astype(np.uint8)
    images[labels == 0, :8] += 60
    images[labels == 1, 8:] += 60
    paths = [folder / "monday.npz", folder / "tuesday.npz"]
    for path, part in zip(paths, (images[:400], images[400:]), strict=True):
        np.savez_compressed(path, **{f"ix-{i:06}": image for i, image in enumerate(part)})

    torch.manual_seed(0)
    data = ArchiveDataset(paths, labels, batch_transform=scaled)
    loader = DataLoader(data, 32, shuffle=True, num_workers=workers, collate_fn=collate)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 2))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for epoch in range(3):
        right = 0
        for x, y in loader:
            optimizer.zero_grad()
            output = model(x)
            torch.nn.functional.cross_entropy(output, y).backward()
            optimizer.step()
            right += int((output.argmax(1) == y).sum())
        print(f"epoch {epoch}: {right / len(data):.0%} right")
    assert right > 0.9 * len(data)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary), int(sys.argv[1]) if len(sys.argv) > 1 else 0)
