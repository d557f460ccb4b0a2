"""The non-neural Wyner-Ziv codec: tables from Lloyd iterations, files as the learned codec writes them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from obverse.codecs.wyner_ziv.grid import WynerZivGridCodec
from obverse.codecs.wyner_ziv.recipe import GridRecipe
from obverse.codecs.wyner_ziv.train_grid import train_grid
from obverse.container import read, write
from obverse.errors import (
    InputError,
    ModelError,
    SideInformationError,
    TrainingError,
    UnrecoverableBlockError,
)
from obverse.zoo import StoredModel, load_model_from

SMALL = {"starts": 3, "cells": 1200, "points": 400}


def gaussian_pairs(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return y + math.sqrt(0.1) * rng.normal(size=n), y


def designed(folder, x, y, recipe: GridRecipe) -> WynerZivGridCodec:
    train_grid(x, y, folder, replace(recipe, block=4096, lists=8))
    return WynerZivGridCodec(load_model_from(folder))


@pytest.fixture(scope="module")
def marginal(tmp_path_factory) -> WynerZivGridCodec:
    recipe = GridRecipe("marginal", 4, **SMALL)
    return designed(tmp_path_factory.mktemp("m") / "marginal", *gaussian_pairs(100_000, 1), recipe)


@pytest.fixture(scope="module")
def conditional(tmp_path_factory) -> WynerZivGridCodec:
    recipe = GridRecipe("conditional", 8, lmbda=30.0, **SMALL)
    return designed(tmp_path_factory.mktemp("c") / "conditional", *gaussian_pairs(60_000, 1), recipe)


def test_marginal_design_from_samples_is_the_known_one(marginal):
    x, y = gaussian_pairs(60_000, 2)
    container = read(write(marginal.encode(x)))
    assert len(write(container)) * 8 / len(x) < 2.03
    assert np.mean((marginal.decode(container, side_info=y) - x) ** 2) == pytest.approx(0.0244, rel=0.05)
    assert np.bincount(marginal.tables.labels[1:] != marginal.tables.labels[:-1])[1] > 8  # binning


def test_conditional_design_from_samples(conditional):
    x, y = gaussian_pairs(32_768, 3)
    container = read(write(conditional.encode(x)))
    error = np.mean((conditional.decode(container, side_info=y) - x) ** 2)
    bits = len(write(container)) * 8 / len(x)
    assert 0.5 * math.log2(0.1 / error) < bits < 0.5 * math.log2(0.1 / error) + 0.6
    assert bits < 0.5 * math.log2(1.1 / error)


@pytest.mark.parametrize("n", [1, 3, 1024, 5000])
def test_every_length_comes_back(marginal, conditional, n):
    x, y = gaussian_pairs(n, 4)
    for codec in (marginal, conditional):
        assert codec.decode(codec.encode(x), side_info=y).shape == x.shape


def test_unrelated_side_information_is_an_error(marginal, conditional):
    x, _ = gaussian_pairs(8192, 5)
    _, other = gaussian_pairs(8192, 6)
    with pytest.raises(SideInformationError):
        marginal.decode(marginal.encode(x), side_info=other)
    with pytest.raises(UnrecoverableBlockError):
        conditional.decode(conditional.encode(x), side_info=other)


def test_discrete_side_information(tmp_path):
    rng = np.random.default_rng(7)
    y = rng.integers(3, size=30_000)
    x = np.array([0.0, 5.0, 2.0])[y] + 0.3 * rng.normal(size=y.size)
    codec = designed(tmp_path / "labels", x, y, GridRecipe("marginal", 4, **SMALL))
    assert codec.tables.y.tolist() == [0, 1, 2]
    assert np.mean((codec.decode(codec.encode(x), side_info=y) - x) ** 2) < 0.3 * 0.09
    with pytest.raises(SideInformationError, match="value 3"):
        codec.decode(codec.encode(x[:1]), side_info=np.array([3]))


def test_vectors_and_side_information_that_tells_everything_are_refused(tmp_path):
    rng = np.random.default_rng(8)
    with pytest.raises(InputError, match="wyner-ziv"):
        train_grid(rng.normal(size=(2000, 2)), rng.normal(size=2000), tmp_path / "a", GridRecipe())
    y = rng.normal(size=2000)
    with pytest.raises(InputError, match="exactly"):
        train_grid(2 * y + 1, y, tmp_path / "b", GridRecipe())
    with pytest.raises(TrainingError, match="indices must be"):
        GridRecipe(indices=1)


def test_tables_that_are_damaged_are_refused(marginal):
    stored = marginal.model
    for weights, config in ((b"", {}), (stored.weights[:-9], {}), (stored.weights, {"grid": {}})):
        model = StoredModel("broken", weights, stored.config | config, b"\0" * 8)
        with pytest.raises(ModelError):
            WynerZivGridCodec(model).encode(np.zeros(3))


@pytest.mark.parametrize("name", ["labels", "y", "predicted", "log_q"])
def test_tables_of_other_values_are_refused(marginal, name):
    from safetensors.numpy import load, save

    arrays = load(marginal.model.weights)
    worse = {"labels": arrays["labels"].astype(np.int8) - 9, "y": arrays["y"] * 0}
    arrays[name] = worse.get(name, arrays[name] * np.nan).astype(
        arrays[name].dtype if name != "labels" else np.int8
    )
    model = StoredModel("m", save(arrays), marginal.model.config, marginal.fingerprint)
    with pytest.raises(ModelError, match="damaged"):
        _ = WynerZivGridCodec(model).tables
