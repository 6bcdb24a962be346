"""Many small studies, each an .npz of its own, kept in one .zip.

    python examples/studies.py

An archive for each patient is handy until there are 100,000 of them on a shared drive. Put into a
zip without compressing them again, they are read through the one open file, and without a copy.
"""

import io
import tempfile
import zipfile
from pathlib import Path

import numpy as np

import fastzip


def study(rng: np.random.Generator) -> bytes:
    """A volume of a few slices, a mask, and the distance between slices in mm."""
    slices = int(rng.integers(3, 8))
    file = io.BytesIO()
    np.savez_compressed(
        file,
        volume=rng.integers(0, 40, (slices, 32, 32)).astype(np.int16),
        mask=rng.random((slices, 32, 32)) > 0.9,
        spacing=np.float32(rng.choice([1.0, 2.5, 5.0])),
    )
    return file.getvalue()


def main(folder: Path) -> None:
    rng = np.random.default_rng(0)
    studies = {f"patient-{i:04}.npz": study(rng) for i in range(30)}
    path = folder / "studies.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # stored: not deflated twice
        for name, content in studies.items():
            archive.writestr(name, content)

    slices = 0
    with fastzip.open_npz(path) as archive:
        for name in archive.files:
            with archive.nested(name) as npz, np.load(io.BytesIO(studies[name])) as right:
                dtype, shape, _ = npz.spec("volume")  # without reading the volume
                volume, mask = npz["volume"], npz["mask"]
                assert volume.dtype == dtype
                assert volume.shape == mask.shape == shape
                assert np.array_equal(volume, right["volume"])
                assert np.array_equal(mask, right["mask"])
                assert npz["spacing"] == right["spacing"]
                slices += len(volume)
    print(f"{len(studies)} studies, {slices} slices, all equal")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
