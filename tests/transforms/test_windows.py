import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.transforms.windows import scaled, windows


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(4, 40), st.integers(0, 6))
def test_cores_cover_everything_once_and_lie_inside_their_padded_window(height, width, size, halo):
    count = np.zeros((height, width), int)
    grid = np.arange(height * width).reshape(height, width)
    for win in windows(height, width, size, halo):
        count[win.core] += 1
        assert np.array_equal(grid[win.padded][win.inside], grid[win.core])
        rows, padded = win.core[0], win.padded[0]
        assert padded.start == max(0, rows.start - halo) and padded.stop == min(height, rows.stop + halo)
    assert (count == 1).all()


def test_a_little_more_than_one_window_stays_one():
    assert len(list(windows(125, 100, 100, 4))) == 1
    assert len(list(windows(126, 100, 100, 4))) == 2


def test_scaled():
    assert scaled((slice(16, 48), slice(0, 32)), 1, 16) == (slice(1, 3), slice(0, 2))
    assert scaled((slice(1, 3), slice(0, 2)), 16) == (slice(16, 48), slice(0, 32))
