"""R(D) from samples, from both sides: the sandwich of Yang and Mandt, squared error.

    upper:  x ──► encoder ──► q(z|x) ──► z ──► decoder ──► x̂      E[ln q(z|x) - ln p(z)] + s E|x - x̂|^2
    lower:  x ──► network ──► ln u(x)                             -E ln u(X) - ln sup_z E[e^{-s |X - z|^2} / u(X)]

Upper: a variational autoencoder is a channel, and its rate term is at least the mutual information; the prior
p(z) is a learned mixture of Gaussians. Lower: Csiszar's dual of Blahut-Arimoto; every function u > 0 gives a
bound on min R + s D, if the supremum over *all* z is right. Two things are then honest to say:

- the mean C over the samples kept apart stands for E: E[sup of the mean] >= sup of E, and
  ln C <= C / a + ln a - 1 for any a, so what is reported is a lower bound in expectation, give or take its
  standard error; it is looser where there are not many more such samples than 2^R;
- the supremum is certified (`obverse.theory.supremum`) in up to 3 dimensions. In more it is the best of many
  ascents: then `certified` is False, the number is an estimate of a lower bound, and no proof.

Source: Yang and Mandt, "Towards empirical sandwich bounds on the rate-distortion function", ICLR 2022,
section 3 (upper) and 4 with Algorithm 1 (lower); Csiszar (1974), Theorem 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from obverse.errors import InputError
from obverse.theory.blahut_arimoto import check_slope
from obverse.theory.curves import NATS_PER_BIT, Array, RateDistortionPoint
from obverse.theory.supremum import Supremum, ascend, log_sum_of_bumps, supremum
from obverse.theory.wasserstein_gd import check_samples


@dataclass(frozen=True)
class SandwichRecipe:
    """How the two networks are trained and measured.

    Attributes:
        steps: of Adam, for each of the two.
        batch: samples a step of the upper bound.
        k: samples a step of the lower bound, whose mean stands for E.
        hidden: units of the two hidden layers.
        components: of the mixture p(z).
        lr: at the start, falling to 0 along a cosine.
    """

    steps: int = 2000
    batch: int = 512
    k: int = 4096
    hidden: int = 64
    components: int = 32
    lr: float = 3e-3


@dataclass(frozen=True)
class Sandwich:
    """R(D) at one slope s between two bounds, on samples not trained on. Rates in bits per sample vector.

    Attributes:
        point: distortion (sum over dimensions) and rate of the autoencoder, and the lower bound at that distortion.
        upper_error_bits: standard error over the samples of R + s D / ln 2.
        lower_error_bits: standard error over the samples of its lower bound.
        certified: whether every supremum in the lower bound was proven global; without, it is an estimate.
    """

    point: RateDistortionPoint
    upper_error_bits: float
    lower_error_bits: float
    certified: bool


def sandwich(
    samples: npt.ArrayLike,
    slope_nats: float,
    recipe: SandwichRecipe | None = None,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Sandwich:
    """Bound R(D) from both sides where its slope is -slope_nats.

    The same seed gives the same bounds on the same machine; torch's own generator is left as it was.

    Args:
        samples: (n, dims) or (n,); a half (at most 100,000) is kept apart to measure on.
        slope_nats: s > 0 in nats per unit of squared error, near dims / (2 D).
        recipe: how the networks are trained and measured.
        seed: of all that is random.
        progress: called after each of 2 * steps training steps.

    Raises:
        InputError: for samples that cannot be used.
    """
    recipe = recipe or SandwichRecipe()
    x = check_samples(samples, least=300)
    slope = check_slope(slope_nats)
    if min(recipe.steps, recipe.batch, recipe.k, recipe.hidden, recipe.components) < 1:
        raise InputError("a sandwich recipe needs numbers of at least 1")
    x = x[np.random.default_rng(seed).permutation(len(x))]
    held = min(len(x) // 2, 100_000)
    test, train = x[:held], x[held:]
    centre = train.mean(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        distortion, rate, upper_error = _upper(train - centre, test - centre, slope, recipe, progress)
        free, lower_error, certified = _lower(train - centre, test - centre, slope, recipe, progress)
    lower = (free - slope * distortion) / NATS_PER_BIT
    point = RateDistortionPoint(slope, distortion, max(rate / NATS_PER_BIT, 0.0), lower)
    return Sandwich(point, upper_error / NATS_PER_BIT, lower_error / NATS_PER_BIT, certified)


class _Network(nn.Module):
    """Two hidden layers beside a linear map; inputs are divided by `scale`."""

    def __init__(self, inputs: int, outputs: int, hidden: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.linear = nn.Linear(inputs, outputs)
        layers = [nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()]
        self.deep = nn.Sequential(*layers, nn.Linear(hidden, outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = x / self.scale
        result: Tensor = self.linear(x) + self.deep(x)
        return result


# -- the upper bound ----------------------------------------------------------------------------------------


class _Autoencoder(nn.Module):
    def __init__(self, dims: int, scale: float, recipe: SandwichRecipe) -> None:
        super().__init__()
        self.scale = scale
        self.encoder = _Network(dims, 2 * dims, recipe.hidden, scale)
        self.decoder = _Network(dims, dims, recipe.hidden)
        self.weights = nn.Parameter(torch.zeros(recipe.components))
        self.means = nn.Parameter(torch.randn(recipe.components, dims))
        self.log_scales = nn.Parameter(torch.zeros(recipe.components, dims))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(batch,) rates in nats, ln q(z|x) - ln p(z) at a z drawn from q, and squared errors."""
        mean, log_scale = self.encoder(x).chunk(2, 1)
        noise = torch.randn_like(mean)
        z = mean + log_scale.exp() * noise
        # both densities lack the same factor (2 pi)^(-dims / 2)
        log_q = (-noise.square() / 2 - log_scale).sum(1)
        away = (z[:, None] - self.means) * (-self.log_scales).exp()
        log_parts = (-away.square() / 2 - self.log_scales).sum(2)
        log_p = torch.logsumexp(log_parts + torch.log_softmax(self.weights, 0), 1)
        error = (x - self.scale * self.decoder(z)).square().sum(1)
        return log_q - log_p, error


def _upper(
    train: Array, test: Array, slope: float, recipe: SandwichRecipe, progress: Callable[[], None]
) -> tuple[float, float, float]:
    """Distortion, rate (nats) and the standard error of rate + slope * distortion (nats)."""
    data = torch.from_numpy(train).float()
    model = _Autoencoder(train.shape[1], float(train.std()), recipe)

    def loss(_: int) -> Tensor:
        rate, error = model(data[torch.randint(len(data), (recipe.batch,))])
        mean: Tensor = (rate + slope * error).mean()
        return mean

    _minimise(loss, model, recipe, progress)
    with torch.no_grad():
        # several draws of z for each sample
        results = [model(torch.from_numpy(test).float()) for _ in range(8)]
    rate = torch.stack([r for r, _ in results]).double().mean(0).numpy()
    error = torch.stack([e for _, e in results]).double().mean(0).numpy()
    spread = float((rate + slope * error).std()) / math.sqrt(len(test))
    return float(error.mean()), float(rate.mean()), spread


# -- the lower bound ----------------------------------------------------------------------------------------


def _lower(
    train: Array, test: Array, slope: float, recipe: SandwichRecipe, progress: Callable[[], None]
) -> tuple[float, float, bool]:
    """The bound on min R + s D, its standard error (nats), and whether the suprema are certified."""
    data = torch.from_numpy(train).float()
    scale = float(train.std())
    model = _Network(train.shape[1], 1, recipe.hidden, scale)
    k = min(recipe.k, len(train))
    candidates = train[:16]

    def loss(step: int) -> Tensor:
        nonlocal candidates
        x = data[torch.randint(len(data), (k,))]
        log_u = model(x)[:, 0]
        points, log_w = x.double().numpy(), -log_u.detach().double().numpy()
        # the maximum is looked for where it was before and at the heaviest samples of this batch
        heavy = points[np.argpartition(-log_w, min(16, k - 1))[:16]]
        starts = ascend(np.concatenate([candidates, heavy, points[:16]]), points, log_w, slope, 5)
        values = log_sum_of_bumps(starts, points, log_w, slope)
        candidates = starts[np.argsort(-values)[:16]]
        z = torch.from_numpy(candidates[:1]).float()
        log_c = torch.logsumexp(-slope * (x - z).square().sum(1) - log_u, 0) - math.log(k)
        result: Tensor = log_u.mean() + log_c
        return result

    _minimise(loss, model, recipe, progress)

    def log_u_of(x: Array) -> Array:
        with torch.no_grad():
            result: Array = model(torch.from_numpy(x).float())[:, 0].double().numpy()
        return result

    def bumps(x: Array) -> tuple[Array, Supremum]:
        """ln u(x_i) and the supremum of ln mean_i e^{-s |x_i - z|^2} / u(x_i)."""
        log_u = log_u_of(x)
        return log_u, supremum(x, -log_u - math.log(len(x)), slope, tolerance_nats=4e-3)

    # a is chosen on samples that the bound is not measured on
    log_a = bumps(train[-len(test) :])[1].value
    log_u, top = bumps(test)
    terms = np.exp(-slope * ((test - top.at) ** 2).sum(1) - log_u - log_a)
    bound = -float(log_u.mean()) - math.exp(top.value - log_a) - log_a + 1
    return bound, float((-log_u - terms).std()) / math.sqrt(len(test)), top.certified


def _minimise(
    loss: Callable[[int], Tensor], model: nn.Module, recipe: SandwichRecipe, progress: Callable[[], None]
) -> None:
    optimiser: Any = torch.optim.Adam(model.parameters(), recipe.lr)
    for step in range(recipe.steps):
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * (1 + math.cos(math.pi * step / recipe.steps)) / 2
        value = loss(step)
        optimiser.zero_grad()
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        progress()
