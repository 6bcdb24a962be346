"""What the tests of the adapters share. Each is skipped where its framework isn't installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

N = 50


def pytest_collection_modifyitems(items):
    """Python 3.12 and later, and JAX, warn when a process with threads forks, as the loaders do."""
    forks = [
        "ignore:This process .* is multi-threaded:DeprecationWarning",
        r"ignore:os\.fork\(\) was called:RuntimeWarning",
    ]
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(*forks))


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """An archive of float32 arrays and one of labels, each also in two parts; and the arrays."""
    folder = tmp_path_factory.mktemp("samples")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, (N, 5, 7)).astype(np.float32)
    y = rng.permutation(1000)[:N]  # all different
    x.setflags(write=False)
    y.setflags(write=False)
    for name, array in ("x", x), ("y", y):
        for part, start, stop in ("", 0, N), ("-a", 0, 20), ("-b", 20, N):
            members = {f"ix-{i:03}": array[i] for i in range(start, stop)}
            np.savez_compressed(folder / f"{name}{part}.npz", **members)
    return folder, x, y
