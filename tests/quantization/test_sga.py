"""Searches for latents: against sums whose best integers are known, and the relaxations one by one."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from obverse.errors import InputError
from obverse.quantization.sga import (
    PUBLISHED,
    GumbelAnnealing,
    Relaxation,
    Search,
    StraightThrough,
    UniformNoise,
    minimise,
)

RELAXATIONS = [GumbelAnnealing(), GumbelAnnealing(noise=0.0), PUBLISHED, StraightThrough(), UniformNoise()]


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def separable(target: Tensor, bits_a_step: float):
    """|x| costs bits, (x - target)^2 is the distortion: the best integer is found for each number alone."""

    def cost(latents, relax):
        x = relax(latents[0])
        return bits_a_step * x.abs().sum(), (x - target).square().sum()

    return cost


def price(cost, x: Tensor, weight: float) -> float:
    rate, distortion = cost([x], torch.round)
    return float(rate + weight * distortion)


@pytest.mark.parametrize("bits_a_step", [0.5, 2.0])
def test_the_best_integers_of_a_separable_cost_are_found(bits_a_step):
    target = torch.linspace(-4, 4, 201)
    cost, weight = separable(target, bits_a_step), 2.0
    # soft thresholding, rounded: the minimiser of b |k| + w (k - t)^2 over the integers
    best = (target.abs() - bits_a_step / (2 * weight)).clamp(min=0).round() * target.sign()
    found = minimise(cost, [target], weight, GumbelAnnealing(), Search(600))[0].round()
    assert (found == best).float().mean() > 0.95
    least, plain = price(cost, best, weight), price(cost, target.round(), weight)
    assert least < plain
    assert price(cost, found, weight) - least < 0.2 * (plain - least)


def test_coupled_integers_come_close_to_all_combinations_tried():
    """A closest-vector problem in a skewed lattice, where rounding each coordinate alone is far from best."""
    generator = noise(3)
    gains = []
    for _ in range(6):
        skew = torch.eye(4) + 0.9 * torch.triu(torch.rand(4, 4, generator=generator), 1)
        start = 4 * torch.rand(4, generator=generator) - 2
        target = skew @ start

        def cost(latents, relax, skew=skew, target=target):
            x = relax(latents[0])
            return 0.3 * x.square().sum(), (skew @ x - target).square().sum()

        every = torch.tensor(list(itertools.product(range(-4, 5), repeat=4)), dtype=torch.float32)
        all_costs = 0.3 * every.square().sum(1) + 4 * (every @ skew.T - target).square().sum(1)
        plain = price(cost, start.round(), 4.0)
        found = min(
            price(cost, minimise(cost, [start], 4.0, GumbelAnnealing(), Search(200, seed=s))[0].round(), 4.0)
            for s in range(3)
        )
        best = float(all_costs.min())
        assert best - 1e-3 <= found <= plain + 1e-3
        gains.append((plain - found, plain - best))
    assert sum(found for found, _ in gains) > 0.8 * sum(best for _, best in gains) > 0


def test_annealing_beats_what_it_is_compared_with():
    """Where latents depend on one another, as those of images do."""
    generator = noise(1)
    mix = torch.eye(200) + 0.6 * torch.randn(200, 200, generator=generator) / 200**0.5
    start = 2 * torch.randn(200, generator=generator)
    target = mix @ start

    def cost(latents, relax):
        x = relax(latents[0])
        return 0.5 * x.abs().sum(), (mix @ x - target).square().sum()

    def reached(relaxation: Relaxation, lr: float) -> float:
        return price(cost, minimise(cost, [start], 4.0, relaxation, Search(100, lr=lr))[0], 4.0)

    annealed = reached(GumbelAnnealing(), 0.02)
    assert annealed < 0.95 * price(cost, start, 4.0)
    for other in (StraightThrough(), UniformNoise(), GumbelAnnealing(noise=0.0)):
        assert annealed < min(reached(other, lr) for lr in (0.001, 0.004, 0.02))


@pytest.mark.parametrize(
    "relaxation", RELAXATIONS, ids=lambda r: type(r).__name__ + str(getattr(r, "noise", ""))
)
def test_a_seed_decides_everything_and_the_start_is_left_alone(relaxation):
    target = torch.linspace(-2, 2, 31)
    start, before = [target], target.clone()
    cost = separable(target, 1.0)
    a, b, c = (minimise(cost, start, 1.0, relaxation, Search(10, seed=seed))[0] for seed in (5, 5, 6))
    assert torch.equal(target, before) and not a.requires_grad
    assert torch.equal(a, b)
    random = not isinstance(relaxation, StraightThrough) and getattr(relaxation, "noise", 1) > 0
    assert torch.equal(a, c) != random


@settings(deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=20), st.floats(0, 1))
def test_annealing_stays_between_the_two_integers(values, progress):
    x = torch.tensor(values)
    relaxed = GumbelAnnealing().relax(x, progress, noise())
    assert (relaxed >= x.floor()).all() and (relaxed <= x.floor() + 1).all()


def test_cold_annealing_without_noise_is_rounding_and_half_is_undecided():
    x = torch.tensor([-1.9, -1.4, -0.2, 0.1, 0.45, 0.55, 3.0, 3.9])
    cold = GumbelAnnealing(start=0.02, end=0.02, noise=0.0).relax(x, 1.0, noise())
    assert torch.allclose(cold, x.round(), atol=1e-3)
    assert GumbelAnnealing(noise=0.0).relax(torch.tensor([2.5]), 0.0, noise()).item() == pytest.approx(2.5)


def test_choices_have_the_probabilities_of_the_paper():
    """Of a sample that is nearly decided, the share of ceil is the softmax of -atanh(distance) / tau."""
    tau, f = 0.5, 0.3
    x = torch.full((40_000,), 7 + f)
    up = GumbelAnnealing(start=tau, end=tau, noise=1.0).relax(x, 0.0, noise(2)) > 7.5
    wanted = 1 / (1 + math.exp((math.atanh(1 - f) - math.atanh(f)) / tau))
    assert up.float().mean().item() == pytest.approx(wanted, abs=0.01)


def test_gradients_reach_numbers_on_the_grid_and_between():
    x = torch.tensor([-2.0, 0.0, 0.3, 0.5, 1.0], requires_grad=True)
    for relaxation in RELAXATIONS:
        (gradient,) = torch.autograd.grad(relaxation.relax(x, 0.5, noise()).sum(), x)
        assert torch.isfinite(gradient).all() and (gradient >= 0).all() and gradient[3] > 0


def test_temperature_is_held_and_then_falls():
    taus = [PUBLISHED.tau(step / 2000) for step in (0, 700, 1700, 2000)]
    assert taus == pytest.approx([0.5, 0.5, 0.5 * math.exp(-1), 0.5 * math.exp(-1.3)])
    falling = [GumbelAnnealing().tau(p / 10) for p in range(11)]
    assert falling == sorted(falling, reverse=True)


def test_every_step_is_reported_with_its_cost():
    seen = []
    target = torch.tensor([0.2, 0.7])
    minimise(
        separable(target, 1.0),
        [target],
        1.0,
        StraightThrough(),
        Search(3, lr=1e-9),
        lambda *a: seen.append(a),
    )
    assert [(step, steps) for step, steps, _ in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[0][2] == pytest.approx(1 + 0.04 + 0.09)


def test_no_iterations_change_nothing_and_nonsense_is_refused():
    target = torch.tensor([0.2, 0.7])
    cost = separable(target, 1.0)
    assert torch.equal(minimise(cost, [target], 1.0, GumbelAnnealing(), Search(0))[0], target)
    for weight, search in (
        (1.0, Search(-1)),
        (1.0, Search(1, lr=0.0)),
        (-1.0, Search(1)),
        (math.nan, Search(1)),
    ):
        with pytest.raises(InputError, match="search"):
            minimise(cost, [target], weight, GumbelAnnealing(), search)
