"""Builds the one native module, fastzip._core. Everything else stands in pyproject.toml."""

import os
import platform
import subprocess
import sys
from glob import glob

from setuptools import Extension, setup

if sys.platform != "linux" or platform.machine() not in ("x86_64", "aarch64"):
    sys.exit(
        f"fastzip builds on Linux, x86-64 or AArch64; this is {sys.platform}, {platform.machine()}"
    )

flags = ["-std=gnu11", "-pthread"] + ([] if os.environ.get("FASTZIP_DEBUG") else ["-O3", "-g0"])
macros, links = [], ["-pthread"]
if os.environ.get("FASTZIP_ZLIB_NG") == "system":  # link libz-ng instead of binding the wheel's
    macros = [("FASTZIP_LINK_ZLIB_NG", "1")]
    flags += subprocess.check_output(["pkg-config", "--cflags", "zlib-ng"], text=True).split()
    links += subprocess.check_output(["pkg-config", "--libs", "zlib-ng"], text=True).split()

# One module. The headers of inflate/interleaved are compiled with each level of CPU.
core = Extension(
    "fastzip._core",
    sources=["src/_core.pyx", *sorted(glob("src/*/**/*.c", recursive=True))],
    depends=sorted(f for f in glob("src/**", recursive=True) if f.endswith((".pxd", ".pxi", ".h"))),
    include_dirs=["src"],
    define_macros=macros,
    extra_compile_args=flags,
    extra_link_args=links,
)
setup(ext_modules=[core])
