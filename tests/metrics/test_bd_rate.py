import math
import warnings

import numpy as np
import pytest

from obverse.errors import InputError
from obverse.metrics.bd_rate import BdRateWarning, bd_rate, compare, usable_points

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


def test_order_and_points_given_twice_do_not_matter():
    shuffled = [*reversed(CURVE), CURVE[1], CURVE[3]]
    assert compare(shuffled, scaled(0.9)).notes == ()
    assert bd_rate(shuffled, scaled(0.9)) == pytest.approx(-10, abs=1e-6)


@pytest.mark.parametrize(
    "useless, words",
    [
        ([(0.4, 29.0), (0.4, 30.0)], "2 points left out of the same rate"),
        ([(0.5, 30.0)], "1 point left out at more bits"),
        ([(1.7, 37.4)], "1 point left out at more bits"),
        ([(3.0, math.inf), (2.0, math.nan)], "2 points left out whose quality is no finite number"),
    ],
)
def test_points_that_are_left_out_are_named(useless, words):
    kept, left_out = usable_points([*useless, *CURVE])
    assert kept == CURVE and len(left_out) == 1
    with pytest.warns(BdRateWarning, match=f"of the anchor curve, {words}"):
        assert bd_rate([*useless, *CURVE], scaled(0.9)) == pytest.approx(-10, abs=1e-6)
    with pytest.warns(BdRateWarning, match=f"of the test curve, {words}"):
        assert bd_rate(scaled(0.9), [*useless, *CURVE]) == pytest.approx(100 / 0.9 - 100, abs=1e-6)


def test_accepts_any_iterable():
    assert bd_rate(iter(CURVE), (point for point in CURVE)) == pytest.approx(0, abs=1e-9)


def test_refuses_too_few_points():
    with pytest.raises(InputError, match="anchor curve has 3"):
        bd_rate(CURVE[:3], CURVE)
    with pytest.raises(InputError, match=r"test curve has 1 .4 points left out at more bits"):
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


# crossing, each rising: by its polynomial it needs +328,240 %
STEEP = [(0.1, 20.0), (0.11, 29.0), (0.12, 29.5), (4.0, 30.0), (5.0, 45.0)]


@pytest.mark.parametrize("first, second", [(STEEP, CURVE), (CURVE, STEEP)])
def test_a_polynomial_that_swings_is_refused(first, second):
    which = "anchor" if first is STEEP else "test"
    with pytest.raises(
        InputError, match=f"cubic interpolation of the {which} curve .* near .* use method 'pchip'"
    ):
        bd_rate(first, second, "cubic")
    bd_rate(first, second)  # which never swings


@pytest.mark.parametrize("method", ["pchip", "akima", "cubic"])
def test_the_figure_lies_between_the_least_and_the_greatest_difference(method):
    """Of whatever rising curves: else there is an error that says why."""
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(200):
        curves = [
            list(
                zip(
                    np.cumsum(rng.exponential(size=5)),
                    25 + np.cumsum(4 * rng.exponential(size=5)),
                    strict=True,
                )
            )
            for _ in range(2)
        ]
        try:
            found = compare(*curves, method)
        except InputError as error:
            refused += 1
            assert "no quality in common" in str(error) or "interpolation of the" in str(error)
            continue
        if any("of the rate off" in note for note in found.notes):
            continue
        rates = np.array(curves)[..., 0]
        assert rates[1].min() / rates[0].max() < 1 + found.percent / 100 < rates[1].max() / rates[0].min()
    assert refused < 190


def test_a_loose_polynomial_is_said():
    bent = [(0.1, 25.0), (0.2, 28.0), (0.26, 30.0), (0.5, 32.0), (0.7, 34.0), (1.6, 37.4)]
    with pytest.warns(
        BdRateWarning, match=r"cubic interpolation of the anchor curve is \d+ % of the rate off near"
    ):
        bd_rate(bent, CURVE, "cubic")


def test_a_small_overlap_is_said():
    lower = [(rate, quality - 9) for rate, quality in CURVE]
    with pytest.warns(BdRateWarning, match="only 26.00 to 28.40 dB in common, 21%"):
        bd_rate(CURVE, lower)


@pytest.mark.parametrize("method", ["pchip", "akima", "cubic"])
def test_fine_curves_are_what_the_package_bjontegaard_says(method):
    import bjontegaard

    other = [(0.12, 26.5), (0.19, 28.4), (0.41, 31.5), (0.9, 34.9), (1.5, 37.5)]
    expected = bjontegaard.bd_rate(*zip(*CURVE, strict=True), *zip(*other, strict=True), method=method)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bd_rate(CURVE, other, method) == pytest.approx(expected, abs=1e-9)
