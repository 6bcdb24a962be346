"""What the tests of members of different lengths share."""

from __future__ import annotations

import bz2
import io

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SETTINGS = settings(
    deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], max_examples=120
)
N = 40
MEMBERS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 12), st.integers(90, 3000)),
        st.booleans(),
        st.booleans(),
        st.sampled_from([0, 8, 8, 8, 12]),
    ),
    min_size=1,
    max_size=9,
)
"""For `archive_of`: length, in Fortran order, byte order swapped, method."""


def native(array):
    return array.astype(array.dtype.newbyteorder("="))


def unequal(lab, scale, n=N, trail=(), dtype="<u2"):
    """Members of lengths up to `scale`, by name; some are empty."""
    lengths = np.random.default_rng(scale).integers(0, scale + 1, n)
    lengths[::7] = 0
    return {f"k{i}": lab.sparse((int(m), *trail), i, dtype) for i, m in enumerate(lengths)}


def archive_of(lab, dtype, trail, members):
    """Members (length, fortran, swapped, method) with random bits, as bytes and as np.load's."""
    out = []
    for i, (length, fortran, swapped, method) in enumerate(members):
        kind = dtype.newbyteorder() if swapped else dtype
        shape = (length, *trail)
        bits = np.random.default_rng(i).integers(0, 2, int(np.prod(shape)) * kind.itemsize, "u1")
        array = np.ndarray(shape, kind, bits.tobytes())
        array = np.asfortranarray(array) if fortran else array
        content = lab.npy(array)
        body = bz2.compress(content) if method == 12 else None
        out.append(lab.Member(b"%d.npy" % i, content, method=method, body=body))
    data = lab.Archive(out).build()
    return data, np.load(io.BytesIO(data))
