"""A pytest plugin: numpy.load goes through fastzip, for NumPy's own tests of loading."""

import numpy as np
import pytest

import fastzip
from fastzip._dropin import patch as _patch

_calls = 0
_load = _patch.load


def _counted(*args, **kwargs):
    global _calls
    _calls += 1
    return _load(*args, **kwargs)


def pytest_configure():
    _patch.load = _counted
    fastzip.patch_numpy()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    assert np.load.__module__ == "numpy"  # wrapped, and looks it
    print(f"\n{_calls} calls of numpy.load went through fastzip")
    if _calls < 100:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
