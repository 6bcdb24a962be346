"""The parts of the test suite that the fuzz targets share."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import conftest as builder
import policy
import verdicts

__all__ = ["builder", "policy", "verdicts"]
