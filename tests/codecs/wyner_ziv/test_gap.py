"""Gaps of codecs, and the limits that they are measured against."""

from __future__ import annotations

import math

import numpy as np
import pytest

from obverse.codecs.wyner_ziv.gap import gap_of
from obverse.codecs.wyner_ziv.side_information import SideInformation


def gap(x: np.ndarray, y: np.ndarray, mse: float) -> tuple[dict[str, float], str]:
    x, y = (v.reshape(len(v), -1) for v in (x, y))
    found = gap_of(x, y, SideInformation.fit(y), mse, 2.0, 2.1)
    return found.facts, found.sentence


def test_gaussian_pairs_have_the_formula() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=20_000)
    facts, sentence = gap(y + math.sqrt(0.1) * rng.normal(size=y.size), y, 0.01)
    assert facts["limit_bits"] == pytest.approx(0.5 * math.log2(10), abs=0.02)
    assert facts["gap_bits"] == pytest.approx(2 - facts["limit_bits"])
    assert facts["file_gap_bits"] == pytest.approx(2.1 - facts["limit_bits"])
    assert "limit of Gaussian pairs" in sentence


@pytest.mark.slow
def test_other_pairs_have_an_estimate_below_what_a_code_takes() -> None:
    """Two narrow bumps of noise: the linear-Gaussian formula, 1.66 bits, is above codes that exist (1.2 bits)."""
    rng = np.random.default_rng(2)
    y = rng.normal(size=20_000)
    x = y + rng.choice([-0.3, 0.3], size=y.size) + 0.1 * rng.normal(size=y.size)
    facts, sentence = gap(x, y, 0.01)
    assert facts["limit_low_bits"] <= facts["limit_bits"] <= facts["limit_high_bits"]
    assert facts["limit_bits"] == pytest.approx(1.2, abs=0.07)  # docs/theory.md, from the density
    assert "estimated from the pairs" in sentence and "limit_low_bits" in sentence


def test_vectors_have_no_limit_and_that_is_said() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=(5000, 2))
    x = y + rng.choice([-0.3, 0.3], size=y.shape) + 0.1 * rng.normal(size=y.shape)
    facts, sentence = gap(x, y, 0.01)
    assert set(facts) == {
        "linear_gaussian_bits",
        "ideal_above_linear_gaussian_bits",
        "file_above_linear_gaussian_bits",
    }
    assert "It is no limit of this source" in sentence


def test_an_x_that_a_symbol_tells_has_no_density() -> None:
    y = np.repeat([0, 1, 2], 2000)
    x = np.where(y == 1, 3.0, y + np.random.default_rng(4).normal(size=y.size))
    assert "linear_gaussian_bits" in gap(x, y, 0.01)[0]
