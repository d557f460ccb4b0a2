"""What is no posterior is refused with a sentence that says what to do."""

import numpy as np
import pytest

from obverse.codecs.plug_and_play.posterior import Posterior, grouped
from obverse.errors import InputError

GOOD = np.ones((2, 3))


def changed(value: float) -> np.ndarray:
    array = np.ones((2, 3))
    array[1, 2] = value
    return array


@pytest.mark.parametrize(
    ("mean", "std", "words"),
    [
        (GOOD, changed(0), "1 of the posterior's 6 std values are zero or negative.*logvar"),
        (GOOD, changed(-0.5), "zero or negative"),
        (GOOD, changed(np.nan), "std values are NaN"),
        (GOOD, changed(np.inf), "std values are NaN or infinite"),
        (GOOD, changed(1e-20), "outside of"),
        (changed(np.nan), GOOD, "mean values are NaN"),
        (changed(1e20), GOOD, "beyond"),
        (GOOD, np.ones((3, 2)), "shape"),
        (np.ones((0, 3)), np.ones((0, 3)), "no latents"),
        (np.float64(1), np.float64(1), "no latents"),
        (GOOD.astype(str), GOOD, "must be numbers"),
        ([[1], [1, 2]], GOOD, "no array"),
        (GOOD.astype(complex), GOOD, "must be numbers"),
    ],
)
def test_refused(mean, std, words):
    with pytest.raises(InputError, match=words):
        Posterior.of(mean, std)


def test_a_good_one_is_float32_and_keeps_its_shape():
    posterior = Posterior.of(np.arange(6).reshape(2, 3), GOOD)
    assert posterior.mean.dtype == posterior.std.dtype == np.float32
    assert posterior.shape == (2, 3)


def test_groups_are_an_axis():
    array = np.arange(24).reshape(2, 3, 4)
    assert grouped(array, None).shape == (1, 1, 24)
    assert grouped(array, 0).shape == (1, 2, 12)
    np.testing.assert_array_equal(grouped(array, 1), array)
    assert grouped(array, 2).shape == (6, 4, 1)
    assert grouped(np.zeros((5, 7)), 1).shape == (5, 7, 1)
