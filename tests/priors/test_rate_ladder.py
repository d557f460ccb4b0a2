"""Ladders: stored and read again they are the same; damaged ones are refused."""

import numpy as np
import pytest

from obverse.errors import DamagedError, InputError
from obverse.priors.rate_ladder import RateLadder, decoding_memory
from obverse.quantization.posterior import Posterior
from obverse.training.plug_and_play import METHODS, fit


def posterior() -> Posterior:
    rng = np.random.default_rng(0)
    mean = rng.normal(0, 1, (30, 3, 20)) * np.array([0.3, 1, 2])[:, None]
    return Posterior.of(mean, rng.uniform(0.05, 0.4, mean.shape))


def ladder(method: str = "vbq", axis: int | None = 1) -> RateLadder:
    return fit(posterior(), axis, [0.1, 1.0, 10.0], method, depth=8)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", [None, 1])
def test_what_is_stored_is_read_again(method, axis):
    made = ladder(method, axis)
    again = RateLadder.from_state(made.state())
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
