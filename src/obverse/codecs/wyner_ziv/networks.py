"""The networks of the learned Wyner-Ziv codec (Ozyilkan, Ballé, Erkip, ISIT 2023), one-shot, any dimension.

    x ──► features ──► encoder ──► logits of p(u|x), u = 0 .. K-1          sender
    y ──► features ──┬► decoder ──► x̂(u, y) = m(y) + L net_u(y)            receiver
                     └► conditional ──► log q(u|y)
          parameters ──► log q(u)

m(y) is a ridge regression of x on y and L the Cholesky factor of what it leaves, sigma_{x|y} for a scalar. Two
things follow from them. The decoder learns a correction in units of that residual. And every network sees its
input also through cosines of random frequencies about 1 / sigma_{x|y}: labels that repeat along x, which is
what binning is, have just such a period, and a small network on the raw input does not find it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from obverse.errors import InputError

FREQUENCY_LOW, FREQUENCY_HIGH = 0.3, 3.0  # of the cosines, in radians per sigma_{x|y}
KERNELS = 192  # cosines of the regression
RIDGE = 1e-5  # of the regression on cosines, in units of their mean square
LOG_FLOOR = -30.0  # nats: what log q is at least, so that no index is ever impossible


@dataclass(frozen=True)
class WynerZivSizes:
    """The sizes of the networks.

    dimensions: of x, d. side_width: of y as `SideInformation` gives it. indices: K. hidden: width of the two
    hidden layers. features: how many cosines each network sees.
    """

    dimensions: int
    side_width: int
    indices: int
    hidden: int = 64
    features: int = 32

    def as_dict(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> WynerZivSizes:
        """The sizes that `as_dict` gave. Raises InputError for anything else."""
        names = {f.name for f in fields(cls)}
        if set(values) != names or any(
            type(values[n]) is not int or not 0 < values[n] < 2**16 for n in names
        ):
            raise InputError("the model's configuration does not hold the sizes of Wyner-Ziv networks")
        return cls(**values)


class Cosines(nn.Module):
    """t (n, d) -> [t * gain, cos(t w + phase)], (n, d + F). Frequencies are drawn once and stored."""

    frequencies: Tensor
    phases: Tensor

    def __init__(self, dimensions: int, features: int):
        super().__init__()
        self.frequencies = nn.Parameter(torch.zeros(dimensions, features))
        self.register_buffer("phases", torch.zeros(features))

    def draw(self, rng: np.random.Generator) -> None:
        """Log-uniform lengths between FREQUENCY_LOW and FREQUENCY_HIGH, directions uniform on the sphere."""
        dimensions, features = self.frequencies.shape
        directions = rng.normal(size=(dimensions, features))
        directions /= np.linalg.norm(directions, axis=0)
        lengths = np.exp(rng.uniform(math.log(FREQUENCY_LOW), math.log(FREQUENCY_HIGH), features))
        # a vector of d components moves sqrt(d) times as far as each of them
        lengths *= math.sqrt(dimensions) if dimensions > 1 else 1.0
        self.frequencies.data.copy_(torch.from_numpy(directions * lengths))
        self.phases.copy_(torch.from_numpy(rng.uniform(0, 2 * math.pi, features)))

    def forward(self, t: Tensor) -> Tensor:
        return torch.cos(t @ self.frequencies + self.phases)


class Regression(nn.Module):
    """m(y): linear in y, and in cosines of y where they help on pairs held out; and what it leaves.

    The residual x - m(y) has the covariance `factor` `factor`^T; `inverse` is the inverse of `factor`.
    """

    weight: Tensor
    kernels: Tensor
    phases: Tensor
    factor: Tensor
    inverse: Tensor

    def __init__(self, dimensions: int, side_width: int):
        super().__init__()
        self.register_buffer("kernels", torch.zeros(side_width, KERNELS))
        self.register_buffer("phases", torch.zeros(KERNELS))
        self.register_buffer("weight", torch.zeros(1 + side_width + KERNELS, dimensions))
        self.register_buffer("factor", torch.zeros(dimensions, dimensions).fill_diagonal_(1))
        self.register_buffer("inverse", torch.zeros(dimensions, dimensions).fill_diagonal_(1))

    def forward(self, side: Tensor) -> Tensor:
        cosines = torch.cos(side @ self.kernels + self.phases)
        return self.weight[0] + side @ self.weight[1:-KERNELS] + cosines @ self.weight[-KERNELS:]

    @torch.no_grad()
    def fit(self, x: np.ndarray, side: np.ndarray, rng: np.random.Generator) -> None:
        """x (n, d), side (n, width), float64. Raises InputError where y tells x exactly."""
        n = min(len(x), 40_000)
        keep = rng.permutation(len(x))[:n]
        x, side = x[keep], side[keep]
        held_out = np.arange(n) % 4 == 0
        # kernels of several widths: about one cosine period to six across the data
        kernels = rng.normal(size=(side.shape[1], KERNELS)) * np.exp(rng.uniform(-1.0, 1.5, KERNELS))
        kernels /= math.sqrt(side.shape[1])
        phases = rng.uniform(0, 2 * math.pi, KERNELS)
        linear = np.concatenate([np.ones((n, 1)), side], axis=1)
        both = np.concatenate([linear, np.cos(side @ kernels + phases)], axis=1)
        fits = []
        for design, ridge in ((linear, 1e-10), (both, RIDGE)):
            weight = _ridge(design[~held_out], x[~held_out], ridge)
            residual = x[held_out] - design[held_out] @ weight
            fits.append((np.trace(residual.T @ residual) / len(residual), weight, residual))
        error, weight, residual = fits[1] if fits[1][0] < 0.98 * fits[0][0] else fits[0]
        covariance = residual.T @ residual / len(residual)
        spread = np.trace(np.atleast_2d(np.cov(x.T)))
        if not error > 1e-9 * spread:
            raise InputError("y tells x exactly: there is nothing to code; check which arrays are x and y")
        covariance += np.eye(len(covariance)) * 1e-6 * np.trace(covariance) / len(covariance)
        factor = np.linalg.cholesky(covariance)
        padded = np.zeros(tuple(self.weight.shape))
        padded[: len(weight)] = weight
        self.kernels.copy_(torch.from_numpy(kernels))
        self.phases.copy_(torch.from_numpy(phases))
        self.weight.copy_(torch.from_numpy(padded))
        self.factor.copy_(torch.from_numpy(factor))
        self.inverse.copy_(torch.from_numpy(np.linalg.inv(factor)))


def _ridge(design: np.ndarray, target: np.ndarray, ridge: float) -> np.ndarray:
    gram = design.T @ design / len(design)
    penalty = ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    return np.linalg.solve(gram + penalty, design.T @ target / len(design))


def _perceptron(width: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, hidden),
        nn.LeakyReLU(),
        nn.Linear(hidden, hidden),
        nn.LeakyReLU(),
        nn.Linear(hidden, out),
    )


class WynerZivNetworks(nn.Module):
    """Encoder, decoder and both models of the index, with the scales of the data they were made for."""

    x_mean: Tensor
    x_scale: Tensor

    def __init__(self, sizes: WynerZivSizes):
        super().__init__()
        d, width, indices = sizes.dimensions, sizes.side_width, sizes.indices
        self.sizes = sizes
        self.register_buffer("x_mean", torch.zeros(d))
        self.register_buffer("x_scale", torch.ones(d))
        self.regression = Regression(d, width)
        self.x_cosines = Cosines(d, sizes.features)
        self.y_cosines = Cosines(d, sizes.features)
        self.encoder = _perceptron(d + sizes.features, sizes.hidden, indices)
        self.decoder = _perceptron(width + d + sizes.features, sizes.hidden, indices * d)
        self.conditional = _perceptron(width + d + sizes.features, sizes.hidden, indices)
        self.marginal = nn.Parameter(torch.zeros(indices))

    def fit_scales(self, x: np.ndarray, side: np.ndarray, rng: np.random.Generator) -> None:
        """Set everything that is not trained by gradients, from pairs: x (n, d), side (n, width)."""
        x, side = np.asarray(x, np.float64), np.asarray(side, np.float64)
        mean, scale = x.mean(axis=0), x.std(axis=0)
        self.x_mean.copy_(torch.from_numpy(mean))
        self.x_scale.copy_(torch.from_numpy(np.where(scale > 0, scale, 1.0)))
        self.regression.fit((x - mean) / np.where(scale > 0, scale, 1.0), side, rng)
        self.x_cosines.draw(rng)
        self.y_cosines.draw(rng)

    @property
    def residual_scale(self) -> Tensor:
        """(d,) sigma_{x|y}: the standard deviation, in the units of x, of what y does not tell linearly."""
        return self.regression.factor.pow(2).sum(dim=1).sqrt() * self.x_scale

    def logits(self, x: Tensor) -> Tensor:
        """x (n, d) in its own units -> (n, K), log p(u|x) up to a constant of each row."""
        normal = (x - self.x_mean) / self.x_scale
        cosines = self.x_cosines(normal @ self.regression.inverse.T)
        return self.encoder(torch.cat([normal, cosines], dim=1))

    def side_features(self, side: Tensor) -> tuple[Tensor, Tensor]:
        """m(y), normalised, (n, d), and what the decoder's networks see, (n, width + d + F)."""
        predicted = self.regression(side)
        cosines = self.y_cosines(predicted @ self.regression.inverse.T)
        return predicted, torch.cat([side, predicted, cosines], dim=1)

    def reconstructions(self, side: Tensor) -> Tensor:
        """side (n, width) -> x̂ of every index, (n, K, d), in the units of x."""
        return self.decode_features(*self.side_features(side))

    def decode_features(self, predicted: Tensor, seen: Tensor) -> Tensor:
        """As `reconstructions`, from what `side_features` gave."""
        correction = self.decoder(seen).view(len(seen), self.sizes.indices, self.sizes.dimensions)
        normal = predicted[:, None] + correction @ self.regression.factor.T
        return normal * self.x_scale + self.x_mean

    def log_conditional(self, side: Tensor) -> Tensor:
        """side (n, width) -> log q(u|y) in nats, (n, K)."""
        return self.log_conditional_of_features(self.side_features(side)[1])

    def log_conditional_of_features(self, seen: Tensor) -> Tensor:
        """As `log_conditional`, from what `side_features` gave."""
        return torch.log_softmax(self.conditional(seen), dim=1).clamp(min=LOG_FLOOR)

    def log_marginal(self) -> Tensor:
        """log q(u) in nats, (K,)."""
        return torch.log_softmax(self.marginal, dim=0)
