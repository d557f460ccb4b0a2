"""Latents optimised for one signal before they are rounded: stochastic Gumbel annealing, and what it is compared with.

    latents ──► relax(progress) ──► cost: rate_bits + weight * distortion ──► gradient ──► Adam ──► latents
       ▲                                                                                             │
       └─────────────────────────────────── until progress is 1, then round ◄────────────────────────┘

An encoder network is trained for all signals at once; its latents are not the best ones for any (the amortisation
gap), and rounding them ignores what a neighbouring integer would cost. Here the integers themselves are searched by
gradients through a relaxation of rounding that becomes rounding as the search ends (Yang, Bamler and Mandt, "Improving
Inference for Neural Image Compression", NeurIPS 2020, section 3.2). The decoder never knows.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from obverse.errors import InputError

Relax = Callable[[Tensor], Tensor]
Cost = Callable[[Sequence[Tensor], Relax], tuple[Tensor, Tensor]]
Report = Callable[[int, int, float], None]

NEAR = 1e-5  # atanh is infinite at 1


class Relaxation(ABC):
    """How rounding is made differentiable. `progress` runs from 0 to 1 over the search."""

    @abstractmethod
    def relax(self, x: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        """Numbers of any shape to what stands for them rounded."""


@dataclass(frozen=True)
class GumbelAnnealing(Relaxation):
    """A random choice between the integers below and above, ever more decided.

        x ──► distances to floor, ceil ──► -atanh(distance) / tau ──► + Gumbel noise ──► softmax( / tau) ──► mean

    Equations (8) to (10) of the paper; of two choices the Gumbel-softmax is a sigmoid with logistic noise.

    Attributes:
        start: tau, at first.
        end: what tau falls to, exponentially.
        hold: the share of the search for which tau stays at `start`.
        noise: the scale of the logistic noise, 1 in the paper. A smaller one is a temperature of the choice,
            noise * tau, below that of its softening, tau / noise: samples stray less and their gradients are smoother,
            which is worth half of the gain of a short search. 0 leaves the chance out: deterministic annealing.
    """

    start: float = 0.6
    end: float = 0.12
    hold: float = 0.0
    noise: float = 0.4

    def tau(self, progress: float) -> float:
        """The temperature at a point of the search, 0 to 1."""
        fallen = max(0.0, progress - self.hold) / max(1e-9, 1 - self.hold)
        return float(self.start * (self.end / self.start) ** fallen)

    def relax(self, x: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        tau = self.tau(progress)
        floor = x.detach().floor()
        f = (x - floor).clamp(NEAR, 1 - NEAR)
        # atanh(f) - atanh(1 - f), the logit of the choice of ceil
        logit = 0.5 * torch.log((1 + f) * f / ((1 - f) * (2 - f))) / tau
        if self.noise:
            uniform = torch.rand(x.shape, generator=generator, dtype=x.dtype).clamp_(NEAR, 1 - NEAR)
            logit = logit + self.noise * torch.logit(uniform)
        return floor + torch.sigmoid(logit / tau)


# what the paper runs: of 2,000 iterations 700 at 0.5, then a fall by a factor of e in 1,000
PUBLISHED = GumbelAnnealing(start=0.5, end=0.5 * math.exp(-1.3), hold=0.35, noise=1.0)


class StraightThrough(Relaxation):
    """Rounds; gradients pass as if it had not (Bengio, Léonard and Courville 2013)."""

    def relax(self, x: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        return x + (x.round() - x).detach()


class UniformNoise(Relaxation):
    """Noise of the width of a bin, as in training: MAP estimation of the relaxed model (Campos et al. 2019)."""

    def relax(self, x: Tensor, progress: float, generator: torch.Generator) -> Tensor:
        return x + torch.rand(x.shape, generator=generator, dtype=x.dtype) - 0.5


@dataclass(frozen=True)
class Search:
    """How long and how boldly.

    Attributes:
        iterations: how many steps.
        lr: the learning rate of Adam in steps of the quantiser, falling exponentially to `last_lr` of it.
        last_lr: the part of `lr` that is left at the end.
        betas: Adam's.
        eps: Adam's, in bits a step: latents that matter less are left alone.
        seed: of the noise.
    """

    iterations: int
    lr: float = 0.02
    last_lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 0.1
    seed: int = 0

    def rate(self, progress: float) -> float:
        """The learning rate at a point of the search."""
        return float(self.lr * self.last_lr**progress)


def minimise(
    cost: Cost,
    start: Sequence[Tensor],
    weight: float,
    relaxation: Relaxation,
    search: Search,
    report: Report | None = None,
) -> list[Tensor]:
    """Latents, not rounded, near a minimum of rate_bits + weight * distortion of their rounding.

    The caller rounds, and keeps what it had if that is better: the last sample is no promise.

    Args:
        cost: cost(latents, relax) calls `relax` on all that will be rounded, and returns (rate_bits, distortion),
            scalars.
        start: where to begin, float tensors of any shapes; they are left as they are.
        weight: bits that a unit of distortion is worth.
        relaxation: how rounding is made differentiable.
        search: how long and how boldly.
        report: report(step, iterations, cost in bits) is called after each step.

    Raises:
        InputError: for a search that makes no sense.
    """
    if search.iterations < 0 or not search.lr > 0 or not weight >= 0:
        raise InputError(
            "a search needs at least 0 iterations, a learning rate above 0 and a weight of at least 0, not "
            f"{search.iterations}, {search.lr} and {weight}"
        )
    generator = torch.Generator().manual_seed(search.seed)
    with torch.inference_mode(False), torch.enable_grad():
        latents = [x.detach().clone().requires_grad_() for x in start]
        optimiser = torch.optim.Adam(latents, lr=search.lr, betas=search.betas, eps=search.eps, fused=True)
        for step in range(search.iterations):
            progress = step / max(1, search.iterations - 1)
            optimiser.param_groups[0]["lr"] = search.rate(progress)

            def relax(x: Tensor, progress: float = progress) -> Tensor:
                return relaxation.relax(x, progress, generator)

            optimiser.zero_grad()
            rate_bits, distortion = cost(latents, relax)
            total = rate_bits + weight * distortion
            total.backward()
            optimiser.step()
            if report is not None:
                report(step + 1, search.iterations, total.item())
    return [x.detach() for x in latents]
