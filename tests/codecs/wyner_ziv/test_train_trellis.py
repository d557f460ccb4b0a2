"""Training the trellis Wyner-Ziv codec on sources that nobody told it about."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch

from obverse.codecs.wyner_ziv.mixture import nats
from obverse.codecs.wyner_ziv.recipe import TrellisRecipe
from obverse.codecs.wyner_ziv.train_trellis import (
    FILE,
    MOST_DESIGNS,
    NEAR,
    alphabet_for,
    fit_prior,
    kept_out,
    next_log_step,
    train,
)
from obverse.codecs.wyner_ziv.trellis import WynerZivTrellisCodec
from obverse.container import write
from obverse.errors import InputError, TrainingError

SMALL = TrellisRecipe(
    rate=2.0, states=8, components=3, hidden=16, steps=400, block=4096, lists=8, failure=0.001
)


def test_linear_gaussian_prior_is_the_regression(tmp_path):
    rng = np.random.default_rng(1)
    y = rng.normal(size=(50_000, 2)) * [1.0, 3.0] + [0.0, 5.0]
    x = 2 * y[:, 0] - 0.5 * y[:, 1] + 1 + 0.3 * rng.normal(size=50_000)
    recipe = TrellisRecipe(components=1, hidden=0)
    prior = fit_prior(torch.from_numpy(x).float(), torch.from_numpy(y).float(), recipe, tmp_path)
    entropy = nats(prior(torch.from_numpy(y).float()), torch.from_numpy(x).float()).mean().item()
    assert entropy == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.09), abs=0.01)


def test_mixture_learns_what_no_line_can_tell(tmp_path):
    """x = +-y: linear regression sees nothing, two components everything but the sign."""
    rng = np.random.default_rng(2)
    y = rng.normal(size=40_000) + 3
    x = np.where(rng.random(y.size) < 0.5, y, -y) + 0.1 * rng.normal(size=y.size)
    recipe = TrellisRecipe(components=2, hidden=32, steps=800)
    xs, ys = torch.from_numpy(x).float(), torch.from_numpy(y).float()[:, None]
    entropy = nats(fit_prior(xs, ys, recipe, tmp_path)(ys), xs).mean().item()
    best = 0.5 * math.log(2 * math.pi * math.e * 0.01) + math.log(2)
    assert entropy < best + 0.3


@pytest.mark.parametrize("rate", [0.9, 2.0])
def test_rate_asked_for_and_rate_said_are_those_of_files(tmp_path, rate):
    """From 40,000 pairs, of which a tenth would fill no block of the usual length."""
    rng = np.random.default_rng(3)
    n = 60_000
    y = rng.integers(0, 3, n)
    x = y + np.where(rng.random(n) < 0.5, 0.1, 0.4) * rng.normal(size=n)
    recipe = TrellisRecipe(**{**SMALL.__dict__, "rate": rate, "block": 1024, "lists": 2, "steps": 300})
    codec = WynerZivTrellisCodec(train(x[:40_000], y[:40_000], tmp_path / "mixture", recipe))
    said = dict(re.findall(r"- (\w+): ([-\d.]+)", (tmp_path / "mixture" / "card.md").read_text()))
    x, y = x[40_000:], y[40_000:]

    def bits_of_file(samples):
        return 8 * len(write(codec.encode(np.resize(x, samples)))) / samples

    assert bits_of_file(FILE) == pytest.approx(rate, rel=0.01)
    assert float(said["rate_bits"]) == pytest.approx(bits_of_file(FILE), rel=1e-4)
    for samples in (1_024, 65_536):
        assert float(said[f"rate_bits_of_{samples}_samples"]) == pytest.approx(
            bits_of_file(samples), rel=1e-4
        )
    error = np.mean((codec.decode(codec.encode(x[:16_384]), side_info=y[:16_384]) - x[:16_384]) ** 2)
    assert error < 0.07  # of 0.085 without any bits; the blocks of this test are short
    assert error == pytest.approx(float(said["mse"]), rel=0.1)


def test_a_block_is_kept_out_where_there_are_enough_pairs():
    assert kept_out(1_000_000, 65_536) == 100_000
    assert kept_out(300_000, 65_536) == 65_536
    assert kept_out(100_000, 65_536) == 25_000
    assert kept_out(10_000, 1_024) == 1_024


@pytest.mark.parametrize(
    "rate_of_step", [lambda s: 1 - math.log2(s), lambda s: 0.5 + 1 / s, lambda s: 3 / (1 + s)]
)
def test_the_search_for_the_step_ends_at_the_rate(rate_of_step):
    tried = [(math.log(1.3), rate_of_step(1.3) - 1.4)]
    while abs(tried[-1][1]) > NEAR * 1.4:
        step = math.exp(next_log_step(tried))
        tried.append((math.log(step), rate_of_step(step) - 1.4))
    assert len(tried) <= MOST_DESIGNS


def test_the_design_of_the_code_says_how_far_it_is(tmp_path, monkeypatch):
    told = []

    def paced(what):
        return told.append if what == "Slepian-Wolf code" else lambda share: None

    monkeypatch.setattr("obverse.codecs.wyner_ziv.train_trellis.Paced", paced)
    rng = np.random.default_rng(5)
    y = rng.normal(size=20_000)
    recipe = TrellisRecipe(components=1, hidden=0, rate=1.5, states=8, block=1024, lists=1)
    train(y + 0.2 * rng.normal(size=y.size), y, tmp_path / "m", recipe)
    assert len(told) > 50 and max(told) == pytest.approx(1)
    assert sum(later < earlier for earlier, later in pairwise(told)) < MOST_DESIGNS  # each design begins anew


def test_training_is_repeatable(tmp_path):
    rng = np.random.default_rng(4)
    y = rng.normal(size=20_000)
    x = y + 0.2 * rng.laplace(size=20_000)
    recipe = TrellisRecipe(**{**SMALL.__dict__, "steps": 20, "block": 1024, "lists": 1})
    first, second = (train(x, y, tmp_path / name, recipe) for name in ("a", "b"))
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    ("x", "y", "sentence"),
    [
        (np.zeros(20_000), np.zeros(20_000), "constant"),
        (np.arange(20_000.0), np.zeros(19_999), "pairs"),
        (np.arange(100.0), np.zeros(100), "too few"),
        (np.r_[np.nan, np.arange(19_999.0)], np.zeros(20_000), "NaN"),
        (np.zeros((20_000, 2)), np.zeros(20_000), "x must be"),
        (np.array(["a"] * 20_000), np.zeros(20_000), "numbers"),
        (np.arange(20_000.0), np.zeros((20_000, 0)), "no columns"),
        (np.arange(20_000.0) * 1e200, np.zeros(20_000), "units"),
        (np.arange(20_000.0) * 1e-200, np.zeros(20_000), "units"),
        (np.arange(20_000.0), np.arange(20_000.0) * 3, "exactly"),
        (
            np.where(np.arange(20_000) % 500, 0.0, np.arange(20_000)),
            np.arange(20_000.0),
            "x is 0 in 99.80% of the",
        ),
    ],
)
def test_pairs_that_cannot_be_learned_from(tmp_path, x, y, sentence):
    with pytest.raises(InputError, match=sentence):
        train(x, y, tmp_path / "m", SMALL)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    "change", [{"states": 9}, {"rate": 0.2}, {"rate": 50.0}, {"components": 0}, {"failure": 0.0}]
)
def test_recipes_that_cannot_be_run(tmp_path, change):
    with pytest.raises(TrainingError):
        recipe = TrellisRecipe(**{**SMALL.__dict__, **change})
        train(np.arange(20_000.0), np.zeros(20_000), tmp_path / "m", recipe)


def test_too_many_labels_are_refused():
    weights, means, scales = np.ones((100, 1)), np.zeros((100, 1)), np.ones((100, 1))
    assert alphabet_for((weights, means, scales), 4.0) == 8
    with pytest.raises(TrainingError, match="labels"):
        alphabet_for((weights, means, scales), 1e-4)
