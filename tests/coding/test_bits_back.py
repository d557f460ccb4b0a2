"""Bits back: the net rate in closed form, the initial bits exactly, and what runs out."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.coding import LogisticMixtures, Message, TableFamily
from obverse.coding.bits_back import Mixed, Tabled, pop_chain, pop_item, push_chain, push_item
from obverse.coding.logistic_mixture import FRACTION
from obverse.errors import CodingError

PRECISION = 24


def family(probabilities: np.ndarray) -> TableFamily:
    """One table for each row."""
    total = 1 << PRECISION
    rows = np.maximum(1, np.round(np.asarray(probabilities) * total)).astype(int)
    rows[:, 0] += total - rows.sum(axis=1)
    return TableFamily.from_frequencies(rows.tolist(), [0] * len(rows), PRECISION, escape=False)


class Chain:
    """A Markov chain of discrete variables, each (n,): prior[z], links[layer][z, below], guesses[layer][below, z]."""

    def __init__(self, prior: np.ndarray, links: list[np.ndarray], guesses: list[np.ndarray], n: int):
        self.layers = len(links)
        self._prior, self._n = family(prior[None]), n
        self._links = [family(link) for link in links]
        self._guesses = [family(guess) for guess in guesses]

    def posterior(self, layer: int, below: np.ndarray) -> Tabled:
        return Tabled(self._guesses[layer], below)

    def likelihood(self, layer: int, above: np.ndarray) -> Tabled:
        return Tabled(self._links[layer], above)

    def prior(self) -> Tabled:
        return Tabled(self._prior, np.zeros(self._n, np.uint8))


P_Z = np.array([0.75, 0.25])
P_X_Z = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
P_X = P_Z @ P_X_Z
POSTERIOR = (P_Z[:, None] * P_X_Z / P_X).T  # [x, z]


def test_the_exact_posterior_costs_the_entropy_of_each_x():
    """With q = p(z|x) the net rate of x is -log2 p(x), whatever z the bits choose."""
    x = np.repeat([0, 1, 2], 1000)
    message = Message.random(200, seed=1)
    before = message.bits
    push_item(message, x, Chain(P_Z, [P_X_Z], [POSTERIOR], len(x)))
    wanted = 1000 * -np.log2(P_X).sum()
    assert message.bits - before == pytest.approx(wanted, rel=1e-4)


def test_another_posterior_costs_its_divergence_more():
    """In the mean, -log2 p(x) + KL(q || p(z|x)): the negative ELBO in closed form."""
    guess = np.array([[0.5, 0.5], [0.9, 0.1], [0.75, 0.25]])
    x = np.full(20_000, 2)
    message = Message.random(1000, seed=2)
    before = message.bits
    push_item(message, x, Chain(P_Z, [P_X_Z], [guess], len(x)))
    elbo = -math.log2(P_X[2]) + float((guess[2] * np.log2(guess[2] / POSTERIOR[2])).sum())
    assert elbo > -math.log2(P_X[2]) + 0.1
    # each z changes the cost by at most a few bits, so the mean of 20000 lies within 0.03
    assert (message.bits - before) / len(x) == pytest.approx(elbo, abs=0.03)


def test_the_latents_that_are_popped_follow_the_posterior():
    x = np.ones(30_000, int)
    message = Message.random(2000, seed=3)
    z = Tabled(family(POSTERIOR), x).pop(message)
    assert np.mean(z) == pytest.approx(POSTERIOR[1, 1], abs=0.015)


def rows(draw: st.DrawFn, count: int, size: int) -> np.ndarray:
    raw = np.array([[draw(st.integers(1, 1000)) for _ in range(size)] for _ in range(count)], float)
    return raw / raw.sum(axis=1, keepdims=True)


@st.composite
def chains(draw: st.DrawFn) -> tuple[Chain, list[np.ndarray], int]:
    n = draw(st.integers(1, 20))
    sizes = [draw(st.integers(2, 5)) for _ in range(draw(st.integers(2, 4)))]  # of x, z1, ...
    links = [rows(draw, above, below) for below, above in pairwise(sizes)]
    guesses = [rows(draw, below, above) for below, above in pairwise(sizes)]
    seed = draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    items = [rng.integers(0, sizes[0], n) for _ in range(draw(st.integers(1, 6)))]
    return Chain(rows(draw, 1, sizes[-1])[0], links, guesses, n), items, seed


@settings(deadline=None, max_examples=60)
@given(chains())
def test_any_chain_returns_its_items_and_the_initial_bits_exactly(case):
    model, items, seed = case
    message = Message.random(200, seed)
    lengths = [m.bits for m in push_chain(message, items, model)]
    assert len(lengths) == len(items)
    received = Message.from_bytes(message.to_bytes(), interleave=False)
    for wanted, popped in zip(items[::-1], pop_chain(received, len(items), model), strict=True):
        np.testing.assert_array_equal(popped, wanted)
    assert received == Message.random(200, seed)


def test_bit_swap_needs_fewer_initial_bits_than_all_layers_at_once():
    """Between two pops the pixels are pushed, so the layers do not add up."""
    n, layers = 400, 4
    mixing = np.full((8, 8), 0.02) + np.eye(8) * 0.84
    model = Chain(np.full(8, 1 / 8), [mixing] * layers, [np.full((8, 8), 1 / 8)] * layers, n)
    x = np.random.default_rng(0).integers(0, 8, n)

    def enough(words: int) -> bool:
        try:
            push_item(Message.random(words, 0), x, model)
        except Exception:
            return False
        return True

    least = next(words for words in range(200) if enough(words))
    one_layer = n * 3 / 32
    assert one_layer * 0.9 < least < one_layer * 1.2  # all layers at once would be four times that


def test_too_few_initial_bits_are_named():
    model = Chain(P_Z, [P_X_Z], [POSTERIOR], 1000)
    with pytest.raises(CodingError, match=r"not enough initial bits.*item 0"):
        list(push_chain(Message.random(3, 0), [np.zeros(1000, int)], model))


def test_continuous_latents_in_bins_of_equal_mass():
    """z logistic, x | z logistic: any bins do, and bins of equal mass are uniform under the prior."""
    bins = 256
    quantiles = np.round(2048 * np.log(np.arange(1, bins) / (bins - np.arange(1, bins)))).astype(int)
    edges = np.concatenate([[quantiles[0] - 1], quantiles, [quantiles[-1] + 1]])
    centres = np.concatenate([[quantiles[0]], (quantiles[1:] + quantiles[:-1]) // 2, [quantiles[-1]]])
    one = np.full((50, 1), 4096)

    class Model:
        layers = 1

        def posterior(self, layer: int, below: np.ndarray) -> Mixed:
            scales = np.full((50, 1), 64)
            return Mixed(LogisticMixtures(one, below[:, None] * 32, scales, 0, bins - 1, edges))

        def likelihood(self, layer: int, above: np.ndarray) -> Mixed:
            means = centres[above][:, None] // 32 * FRACTION // FRACTION
            return Mixed(LogisticMixtures(one, means, np.full((50, 1), 60), -300, 300))

        def prior(self) -> Tabled:
            return Tabled(family(np.full((1, bins), 1 / bins)), np.zeros(50, np.uint8))

    x = np.random.default_rng(0).integers(-100, 100, 50)
    message = Message.random(50, 4)
    push_item(message, x, Model())
    np.testing.assert_array_equal(pop_item(message, Model()), x)
    assert message == Message.random(50, 4)
