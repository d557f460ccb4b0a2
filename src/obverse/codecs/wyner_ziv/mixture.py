"""p(x|y) as a mixture of Gaussians whose parameters a network computes from y (Bishop 1994).

    y ──► linear ─────────────────────────► mean
    y ──► network (if hidden > 0) ──► weights, offsets, scales of the components

With one component and no network it is linear-Gaussian: the known case of quadratic-Gaussian Wyner-Ziv coding.
Only the receiver computes it, as soft information: it may be float.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FEATURES_PER_INPUT = 16
SMALLEST_SCALE = 1e-3  # of the residual's standard deviation: a density stays bounded


@dataclass(frozen=True)
class Mixture:
    """(n, K) weights (they sum to 1), means and scales, in the units of x."""

    weights: Tensor
    means: Tensor
    scales: Tensor


class MixturePrior(nn.Module):
    """p(x|y) for scalar x and y of `inputs` numbers.

    components: Gaussians in the mixture. hidden: width of the network's two layers, 0 for none. Call `fit_linear`
    first: it sets the linear part and the units in which the network works.
    """

    def __init__(self, inputs: int, components: int, hidden: int):
        super().__init__()
        self.inputs, self.components, self.hidden = inputs, components, hidden
        self.register_buffer("slope", torch.zeros(inputs))
        self.register_buffer("intercept", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))  # of the residual x - linear(y)
        self.register_buffer("y_mean", torch.zeros(inputs))
        self.register_buffer("y_scale", torch.ones(inputs))
        self.register_buffer("frequencies", torch.zeros(inputs, FEATURES_PER_INPUT * inputs))
        self.register_buffer("phases", torch.zeros(FEATURES_PER_INPUT * inputs))
        # weights, offsets and log-scales that do not depend on y
        start = torch.zeros(3, components)
        if components > 1:
            start[1].copy_(torch.linspace(-1, 1, components, device="cpu"))
            start[2].fill_(-0.5)
        self.constant = nn.Parameter(start.flatten())
        self.network = (
            nn.Sequential(
                nn.Linear(inputs + FEATURES_PER_INPUT * inputs, hidden), nn.SiLU(),
                nn.Linear(hidden, hidden), nn.SiLU(),
                nn.Linear(hidden, 3 * components),
            )
            if hidden
            else None
        )  # fmt: skip
        if self.network is not None:
            nn.init.zeros_(self.network[-1].weight)
            nn.init.zeros_(self.network[-1].bias)

    @torch.no_grad()
    def fit_linear(self, x: Tensor, y: Tensor, generator: torch.Generator) -> None:
        """Least squares of x (n,) on y (n, inputs), and random cosine features (Rahimi and Recht 2007)."""
        mean, scale = y.mean(0), y.std(0).clamp(min=1e-12)
        white = torch.cat([(y - mean) / scale, torch.ones(len(y), 1)], 1).double()
        ridge = 1e-9 * len(y) * torch.eye(self.inputs + 1, dtype=torch.float64)
        solution = torch.linalg.solve(white.T @ white + ridge, white.T @ x.double())
        residual = x.double() - white @ solution
        self.y_mean.copy_(mean)
        self.y_scale.copy_(scale)
        self.slope.copy_(solution[:-1])
        self.intercept.copy_(solution[-1])
        self.scale.copy_(residual.std().clamp(min=1e-30))
        octaves = 2.0 ** (4 * torch.rand(self.frequencies.shape, generator=generator) - 1)
        sign = torch.randint(0, 2, octaves.shape, generator=generator) * 2 - 1
        self.frequencies.copy_(octaves * sign / math.sqrt(self.inputs))
        self.phases.copy_(2 * math.pi * torch.rand(self.phases.shape, generator=generator))

    def forward(self, y: Tensor) -> Mixture:
        """(n, inputs) -> the mixture for each."""
        white = (y - self.y_mean) / self.y_scale
        out = self.constant.expand(len(y), -1)
        if self.network is not None:
            features = torch.cat([white, torch.cos(white @ self.frequencies + self.phases)], 1)
            out = out + self.network(features)
        logits, offsets, log_scales = out.split(self.components, dim=1)
        linear = white @ self.slope + self.intercept
        means = linear[:, None] + self.scale * offsets
        scales = self.scale * (log_scales.clamp(max=6).exp() + SMALLEST_SCALE)
        return Mixture(logits.softmax(1), means, scales)


def nats(mixture: Mixture, x: Tensor, noise: float | Tensor = 0.0) -> Tensor:
    """(n,) -ln p(x + noise|y), the noise Gaussian of this variance."""
    variance = mixture.scales**2 + noise
    square = (x[:, None] - mixture.means) ** 2 / variance
    log_p = mixture.weights.clamp(min=1e-30).log() - 0.5 * (square + variance.log() + math.log(2 * math.pi))
    return -torch.logsumexp(log_p, 1)
