"""Is the installed fastzip whole, and does it read? Runs outside the tree, with no extras."""

import argparse
import importlib.machinery
import sysconfig
import tempfile
from pathlib import Path

import numpy as np

import fastzip
from fastzip import _core

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--tree", type=Path, required=True, help="the sources, not to be imported")
parser.add_argument("--package", type=Path, help="the folder fastzip should be imported from")
parser.add_argument("--zlib-ng", default="the zlib-ng package", help="where zlib-ng comes from")
args = parser.parse_args()

package = Path(fastzip.__file__).resolve().parent
wanted = args.package or Path(sysconfig.get_path("platlib")) / "fastzip"
assert package == wanted.resolve(), f"imported from {package}, not {wanted}"
assert package != (args.tree / "fastzip").resolve(), "imported from the checkout"
native = package / f"_core{importlib.machinery.EXTENSION_SUFFIXES[0]}"
assert Path(_core.__file__).resolve() == native, f"{_core.__file__}, not {native}"
for name in ("py.typed", "_core.pyi"):
    assert (package / name).is_file(), f"no {name} in {package}"

engines = fastzip.engines()
assert engines["crc32"] == "zlib-ng", engines
assert engines["inflate"] == engines["batches"] in ("zlib-ng", "interleaved"), engines
assert engines["zlib_ng"]["source"] == args.zlib_ng, engines
assert not engines["libdeflate"]["available"], engines

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "three.npz")
    arrays = {name: np.arange(1000).reshape(10, 100) * i for i, name in enumerate("abc")}
    np.savez_compressed(path, **arrays)
    with fastzip.load(path) as npz:
        assert npz.files == list(arrays), npz.files
        for name, array in arrays.items():
            np.testing.assert_array_equal(npz[name], array, strict=True)
        batch = npz.fetch(["c", "a"])
        np.testing.assert_array_equal(batch, np.stack([arrays["c"], arrays["a"]]), strict=True)

print(f"fastzip {fastzip.__version__}, numpy {np.__version__}, zlib-ng: {engines['zlib_ng']}")
