import math

import pytest

from obverse.errors import InputError
from obverse.metrics.bd_rate import bd_rate, rising_points

CURVE = [(0.1, 26.0), (0.2, 28.5), (0.4, 31.2), (0.8, 34.1), (1.6, 37.4)]


def scaled(factor, curve=CURVE):
    return [(bpp * factor, quality) for bpp, quality in curve]


@pytest.mark.parametrize("method", ["pchip", "akima", "cubic"])
def test_against_itself_and_against_fewer_bits(method):
    assert bd_rate(CURVE, CURVE, method) == pytest.approx(0, abs=1e-9)
    assert bd_rate(CURVE, scaled(0.9), method) == pytest.approx(-10, abs=1e-6)
    assert bd_rate(CURVE, scaled(2), method) == pytest.approx(100, abs=1e-6)


def test_straight_curves_that_overlap_in_part():
    # 3 dB for each doubling; the test curve is 1.5 dB better and measured elsewhere: 2 ** -0.5 of the bits
    anchor = [(2.0**k, 30 + 3.0 * k) for k in range(-4, 2)]
    test = [(2.0**k, 31.5 + 3.0 * k) for k in range(-2, 3)]
    assert bd_rate(anchor, test) == pytest.approx(100 * (2**-0.5 - 1), abs=1e-6)
    assert bd_rate(test, anchor) == pytest.approx(100 * (2**0.5 - 1), abs=1e-6)


def test_order_duplicates_and_useless_points_do_not_matter():
    useless = [CURVE[1], (0.5, 30.0), (0.4, 29.0), (1.7, 37.4), (3.0, math.inf), (2.0, math.nan)]
    noisy = [*reversed(CURVE), *useless]
    assert rising_points(noisy) == CURVE
    assert bd_rate(noisy, scaled(0.9)) == pytest.approx(-10, abs=1e-6)


def test_accepts_any_iterable():
    assert bd_rate(iter(CURVE), (point for point in CURVE)) == pytest.approx(0, abs=1e-9)


def test_refuses_too_few_points():
    with pytest.raises(InputError, match="anchor curve has 3"):
        bd_rate(CURVE[:3], CURVE)
    with pytest.raises(InputError, match="test curve has 1"):
        bd_rate(CURVE, [(0.1 * k, 30 - k) for k in range(1, 6)])  # falling: only the first is of use


def test_refuses_curves_apart():
    with pytest.raises(InputError, match="no quality in common"):
        bd_rate(CURVE, [(bpp, quality + 20) for bpp, quality in CURVE])


def test_refuses_rates_that_are_none():
    for rate in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="positive number"):
            bd_rate(CURVE, [(rate, 20.0), *CURVE])


def test_refuses_an_unknown_method():
    with pytest.raises(InputError, match="pchip, akima, cubic"):
        bd_rate(CURVE, CURVE, method="linear")
