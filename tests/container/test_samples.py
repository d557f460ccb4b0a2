"""The checksum of decoded data."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from obverse.container import Container
from obverse.container import samples as module
from obverse.container.samples import check_samples, samples_checksum, with_samples
from obverse.errors import DamagedError

arrays = st_numpy.arrays(
    st.sampled_from(["<u2", ">u2", "u1", "<f4", ">i8", "?"]), st_numpy.array_shapes(min_dims=0, min_side=0)
)


@given(arrays, st.integers(1, 40))
def test_it_is_the_crc_of_the_values_wherever_they_lie(data: np.ndarray, at_once: int) -> None:
    wanted = zlib.crc32(data.astype(data.dtype.newbyteorder("<")).tobytes())
    before, module.AT_ONCE = module.AT_ONCE, at_once
    try:
        assert samples_checksum(data) == wanted
        if data.ndim == 2:
            assert samples_checksum(np.asfortranarray(data)) == wanted
            assert samples_checksum(np.repeat(data, 2, axis=1)[:, ::2]) == wanted
    finally:
        module.AT_ONCE = before


def test_it_is_compared() -> None:
    data = np.arange(6, dtype=np.uint8).reshape(2, 3)
    plain = Container("x", {}, (2, 3))
    container = with_samples(plain, data)
    assert container.version == 2 and plain.version == 1
    check_samples(container, data)
    check_samples(plain, data + 1)  # a file without
    with pytest.raises(DamagedError, match="another"):
        check_samples(container, data + 1)
