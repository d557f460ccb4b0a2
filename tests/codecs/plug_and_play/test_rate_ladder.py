"""Ladders: stored and read again they are the same; damaged ones are refused."""

from dataclasses import replace

import numpy as np
import pytest

from obverse.codecs.plug_and_play.fit import METHODS, OF_MODEL, fit
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.codecs.plug_and_play.rate_ladder import RateLadder, decoding_memory
from obverse.errors import DamagedError, InputError


def posterior() -> Posterior:
    rng = np.random.default_rng(0)
    mean = rng.normal(0, 1, (30, 3, 20)) * np.array([0.3, 1, 2])[:, None]
    return Posterior.of(mean, rng.uniform(0.05, 0.4, mean.shape))


def mixed() -> Posterior:
    """Of places that are busy in all groups, and places that are calm in all."""
    rng = np.random.default_rng(1)
    mean = rng.normal(0, 1, (1, 5, 4000)) * np.where(rng.random((1, 1, 4000)) < 0.3, 3, 0.02)
    return Posterior.of(mean, np.full(mean.shape, 0.2))


def ladder(method: str = "vbq", axis: int | None = 1) -> RateLadder:
    return fit(posterior(), axis, [0.1, 1.0, 10.0], method, depth=8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", [None, 1])
def test_what_is_stored_is_read_again(method, axis):
    made = ladder(method, axis)
    again = RateLadder.from_state(made.state(), by_cost=method == "steps")
    assert again.groups == (3 if axis else 1)
    p = posterior().grouped(axis)
    for a, b in zip(made.rungs, again.rungs, strict=True):
        assert a.lmbda == b.lmbda
        np.testing.assert_array_equal(a.quantise(p), b.quantise(p))
        np.testing.assert_array_equal(a.tables.family.cdf, b.tables.family.cdf)


def test_the_nearest_rung_is_nearest_in_ratio():
    made = ladder()
    assert [made.nearest(lmbda) for lmbda in (1e-9, 0.3, 0.4, 3.0, 3.4, 1e9)] == [0, 0, 1, 1, 2, 2]
    with pytest.raises(InputError, match="lmbda"):
        made.nearest(0.0)


def damaged(name: str) -> dict[str, np.ndarray]:
    state = ladder().state()
    numbers = state["numbers"].copy()
    if name == "missing":
        del state["lengths"]
    elif name == "dtype":
        state["numbers"] = numbers.astype(np.int64)
    elif name == "short":
        state["numbers"] = numbers[:4]
    elif name == "shape":
        state["lmbdas"] = state["lmbdas"][None]
    elif name == "lmbdas":
        state["lmbdas"] = state["lmbdas"][::-1].copy()
    elif name == "nan":
        state["lmbdas"] = np.full(3, np.nan)
    elif name == "parameters":
        state["parameters"] = state["parameters"][:-1]
    elif name == "falling":
        state["parameters"] = state["parameters"][::-1].copy()
    elif name == "lengths":
        state["lengths"] = state["lengths"][:-1]
    else:
        numbers[int(name)] = 2**31 - 1
        state["numbers"] = numbers
    return state


@pytest.mark.parametrize(
    "name",
    [
        "missing",
        "dtype",
        "short",
        "shape",
        "lmbdas",
        "nan",
        "parameters",
        "falling",
        "lengths",
        *map(str, range(9)),
    ],
)
def test_damage_is_told(name):
    with pytest.raises(DamagedError):
        RateLadder.from_state(damaged(name))


def test_memory_is_told_before_it_is_taken():
    state = ladder().state()
    assert 3 * 8192 < decoding_memory(state) < 1e6
    assert decoding_memory({}) == 0
    assert decoding_memory(damaged("0")) == 0


@pytest.mark.parametrize("method", METHODS)
def test_contexts_are_stored_and_read_again(method):
    made = fit(mixed(), 1, [0.1, 2.0], method)
    again = RateLadder.from_state(made.state(), by_cost=method == "steps")
    assert [rung.tables.contexts.count for rung in again.rungs] == [8, 8]
    p = mixed().grouped(1)
    for a, b in zip(made.rungs, again.rungs, strict=True):
        symbols = a.quantise(p)
        np.testing.assert_array_equal(symbols, b.quantise(p))
        np.testing.assert_array_equal(a.tables.index(symbols), b.tables.index(symbols))
        np.testing.assert_array_equal(a.tables.family.cdf, b.tables.family.cdf)


def test_contexts_are_for_where_they_pay():
    rng = np.random.default_rng(2)
    alike = Posterior.of(rng.normal(0, 1, (1, 5, 4000)), np.full((1, 5, 4000), 0.2))
    assert "contexts" not in fit(alike, 1, [1.0]).state()
    plain, several = (
        fit(mixed(), 1, [1.0], tables=replace(OF_MODEL, contexts=count)).rungs[0] for count in (1, 8)
    )
    p = mixed().grouped(1)
    bits = [rung.tables.bits(rung.quantise(p)).sum() for rung in (plain, several)]
    assert bits[1] < 0.85 * bits[0]


@pytest.mark.parametrize("change", ["dtype", "short", "long", "zero", "many", "falling", "axes"])
def test_damaged_contexts_are_told(change):
    state = fit(mixed(), 1, [0.1, 2.0]).state()
    contexts = state["contexts"].copy()
    if change == "dtype":
        contexts = contexts.astype(np.int64)
    elif change == "short":
        contexts = contexts[:-1]
    elif change == "long":
        contexts = np.append(contexts, np.int32(0))
    elif change == "axes":
        contexts = contexts[None]
    elif change == "falling":
        contexts[-1] = 0
        contexts[-2] = 9
    else:
        contexts[0] = {"zero": 0, "many": 17}[change]
    with pytest.raises(DamagedError):
        RateLadder.from_state(state | {"contexts": contexts})
