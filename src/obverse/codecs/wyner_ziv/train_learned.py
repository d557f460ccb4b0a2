"""Train the learned Wyner-Ziv codec on pairs (x, y): `obverse train wyner-ziv --data pairs.npz --out FOLDER`.

Minimises, over the encoder p(u|x), the decoder x̂(u, y) and the model q of the index,

    E[ T log p(u|x) - log q + lmbda d(x, x̂(u, y)) ],   q = q(u) (marginal) or q(u|y) (conditional)

(Ozyilkan, Ballé, Erkip, "Learned Wyner-Ziv compressors recover binning", ISIT 2023, eq. 5 and 6). The
expectation over u is exact up to EXACT_INDICES indices and a Gumbel-softmax sample beyond. T falls from 4, where
every index overlaps with every other, to 0.03, where the encoder is an argmax. Three stages:

    nested start   cross-entropy to the labels of a nested lattice; with start="emergent" there is none
    main           the objective above, T falling
    refit          the encoder is its argmax from now on: decoder, q(u) and q(u|y) fitted to that

Rates and distortions are per component of x, so that lmbda means the same in any dimension.
"""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from obverse.codecs.wyner_ziv.networks import WynerZivNetworks, WynerZivSizes
from obverse.codecs.wyner_ziv.recipe import ABS, CONDITIONAL, MSE, NESTED, WynerZivRecipe
from obverse.codecs.wyner_ziv.side_information import SideInformation, as_columns
from obverse.container.files import make_folder
from obverse.errors import InputError, TrainingError
from obverse.quantization.gumbel_softmax import gumbel_softmax
from obverse.quantization.nested_lattice import (
    Distortion,
    cell_width,
    lattice_generator,
    nested_labels,
    slope_at,
)
from obverse.training.checkpoint import Draws, Same
from obverse.training.run import Run, Unvalidated
from obverse.training.schedule import half_cosine

EXACT_INDICES = 1024  # above, the expectation over u is sampled
FEWEST_PAIRS = 1000
# in sigma_{x|y}, measured with scalar designs (experiments/wyner_ziv/learned.py):
PERIOD = 7.25  # of the binning that the marginal objective prefers
UNIQUE = 12.5  # after which the conditional objective loses next to nothing when labels repeat

DISTORTIONS: dict[str, Distortion] = {
    MSE: lambda x, x_hat: (x - x_hat).pow(2).mean(dim=-1),
    ABS: lambda x, x_hat: (x - x_hat).abs().mean(dim=-1),
}


@dataclass(frozen=True)
class Trained:
    """A trained model: its networks in evaluation mode, what its side information is, the recipe with its lmbda."""

    networks: WynerZivNetworks
    side: SideInformation
    recipe: WynerZivRecipe


def distortion_of(recipe: WynerZivRecipe) -> Distortion:
    """The distortion as a function."""
    return recipe.distortion if callable(recipe.distortion) else DISTORTIONS[recipe.distortion]


def check_pairs(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """x as (n, d), y as (n, c). Raises InputError: lengths, NaN, constant x, too few."""
    x, y = as_columns(x, "x"), as_columns(y, "y")
    if len(x) != len(y):
        raise InputError(f"x has {len(x)} samples and y {len(y)}: sample i of y must belong to sample i of x")
    if len(x) < FEWEST_PAIRS:
        raise InputError(f"{len(x)} pairs are too few to learn from: give at least {FEWEST_PAIRS:,}")
    if (x.min(axis=0) == x.max(axis=0)).any():
        raise InputError("x, or a column of it, is constant: there is nothing to code")
    return x.astype(np.float64), y


def default_lmbda(recipe: WynerZivRecipe, x: Tensor, sigma: Tensor) -> float:
    """A price at which all K indices are worth their rate.

    conditional: the one whose uniform quantiser has K cells in UNIQUE. marginal: about what the best designs of K
    and K + 1 indices differ by; the rate cannot exceed log K anyway.
    """
    per_component = recipe.indices ** (1 / x.shape[1])
    width = UNIQUE / per_component if recipe.objective == CONDITIONAL else 1.8 / math.sqrt(per_component)
    slope = slope_at(distortion_of(recipe), x, sigma * width)
    if not slope > 0:
        raise TrainingError("the distortion does not grow with the error: it cannot be traded against rate")
    return 1 / slope


# -- the stages ---------------------------------------------------------------------------------------


def objective_of(
    networks: WynerZivNetworks,
    x: Tensor,
    side: Tensor,
    recipe: WynerZivRecipe,
    temperature: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """The objective in nats per sample, and per component the rate -log q in bits and the distortion."""
    d = networks.sizes.dimensions
    log_p = torch.log_softmax(networks.logits(x), dim=1)
    p = log_p.exp()
    predicted, seen = networks.side_features(side)
    x_hat = networks.decode_features(predicted, seen)
    if recipe.objective == CONDITIONAL:
        length = -networks.log_conditional_of_features(seen)
    else:
        length = -networks.log_marginal()[None]
    distortion = distortion_of(recipe)
    if recipe.gumbel if recipe.gumbel is not None else recipe.indices > EXACT_INDICES:
        u = gumbel_softmax(log_p, max(0.3, min(1.0, temperature)), generator)
        distorted = distortion(x, torch.einsum("nk,nkd->nd", u, x_hat)).mean()
    else:
        distorted = (p * distortion(x[:, None], x_hat)).sum(dim=1).mean()
    rate = (p * length).sum(dim=1).mean()
    entropy = -(p * log_p).sum(dim=1).mean()
    loss = rate - temperature * entropy + recipe.lmbda * d * distorted
    return loss, rate / (d * math.log(2)), distorted


def fixed_labels_loss(
    networks: WynerZivNetworks, x: Tensor, side: Tensor, labels: Tensor, recipe: WynerZivRecipe
) -> Tensor:
    """What fits decoder, q(u) and q(u|y) to given labels: lmbda d(x, x̂(u, y)) - log q(u) - log q(u|y)."""
    predicted, seen = networks.side_features(side)
    x_hat = networks.decode_features(predicted, seen)
    x_hat = x_hat[torch.arange(len(x)), labels]
    distorted = distortion_of(recipe)(x, x_hat).mean() * recipe.lmbda * networks.sizes.dimensions
    conditional = functional.cross_entropy(networks.conditional(seen), labels)
    marginal = functional.cross_entropy(networks.marginal.expand(len(x), -1), labels)
    return distorted + conditional + marginal


def temperature_at(recipe: WynerZivRecipe, step: int) -> float:
    """T at a step of the main stage: geometric over the first three quarters, then constant."""
    part = min(1.0, step / max(1.0, 0.75 * recipe.steps))
    return recipe.temperature_first * (recipe.temperature_last / recipe.temperature_first) ** part


def train(x: Any, y: Any, recipe: WynerZivRecipe, out: Path | None = None) -> Trained:
    """Train on pairs: x (n,) or (n, d), y (n,) or (n, c) numbers, or whole numbers for categories.

    out: the folder whose checkpoint the run goes on from; none is kept without one. Raises InputError for the pairs,
    TrainingError for what cannot be run.
    """
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return train(x, y, recipe, Path(folder))
    x, y = check_pairs(x, y)
    side_spec = SideInformation.fit(y)
    dimensions = x.shape[1]
    sizes = WynerZivSizes(
        dimensions,
        side_spec.width,
        recipe.indices,
        recipe.hidden or (64 if dimensions == 1 else 256),
        recipe.features or 32 * min(dimensions + 1, 8),
    )
    rng = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    networks = WynerZivNetworks(sizes)
    networks.fit_scales(x, side_spec.features(y), rng)
    xs = torch.from_numpy(x.astype(np.float32))
    ys = torch.from_numpy(side_spec.features(y))
    recipe = settled(recipe, networks, xs[:4096], ys[:4096])
    measure, sigma = distortion_of(recipe), networks.residual_scale
    if recipe.objective == CONDITIONAL:
        width = cell_width(measure, xs[:4096], sigma, recipe.lmbda)
    else:
        width = PERIOD / recipe.indices ** (1 / dimensions)
    lattice = torch.from_numpy(lattice_generator(recipe.indices, dimensions))
    phase = torch.from_numpy(rng.random(dimensions)).float() * recipe.indices
    make_folder(out)
    nested = recipe.nested_steps if recipe.start == NESTED else 0
    refit = nested + recipe.steps
    draws = Draws(recipe.seed)
    optimiser = torch.optim.Adam(networks.parameters(), lr=recipe.lr, fused=True)
    same = Same(sizes.as_dict() | recipe.as_dict(), xs, ys)
    parts = {"same": same, "networks": networks, "optimiser": optimiser, "draws": draws}
    last = refit + recipe.refit_steps
    run = Run(out, torch.device("cpu"), Unvalidated(last, recipe.checkpoint_seconds), parts, every=500)
    run.resume()
    for step in run.steps():
        if step in (nested, refit):  # each stage begins anew
            optimiser.state.clear()
        batch = recipe.batch if step < refit else recipe.refit_batch
        rows = torch.randint(len(xs), (batch,), generator=draws.generator)
        x_of, y_of = xs[rows], ys[rows]
        values: dict[str, float] = {}
        rate = recipe.lr
        if step < nested:
            with torch.no_grad():
                white = (x_of - networks.x_mean) / networks.x_scale @ networks.regression.inverse.T
                labels = nested_labels(white, width, phase, lattice, recipe.indices)
            start = functional.cross_entropy(networks.logits(x_of), labels)
            loss = start + fixed_labels_loss(networks, x_of, y_of, labels, recipe)
        elif step < refit:
            rate *= half_cosine(step - nested, recipe.steps)
            temperature = temperature_at(recipe, step - nested)
            loss, bits, distorted = objective_of(networks, x_of, y_of, recipe, temperature, draws.generator)
            values = {
                "rate_bits": bits.item(), "distortion": distorted.item(), "temperature": temperature
            }  # fmt: skip
        else:
            rate *= half_cosine(step - refit, recipe.refit_steps)
            with torch.no_grad():
                labels = networks.logits(x_of).argmax(dim=1)
            loss = fixed_labels_loss(networks, x_of, y_of, labels, recipe)
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        loss.backward()
        if not math.isfinite(loss.item()):
            raise TrainingError("training diverged: use a smaller lr, or a smaller lmbda")
        optimiser.step()
        run.log(loss=loss.item(), **values)
    return Trained(networks.eval(), side_spec, recipe)


def settled(recipe: WynerZivRecipe, networks: WynerZivNetworks, x: Tensor, side: Tensor) -> WynerZivRecipe:
    """With the lmbda and the first temperature that suit the pairs, where it leaves them open."""
    if recipe.lmbda is None:
        recipe = replace(recipe, lmbda=default_lmbda(recipe, x, networks.residual_scale))
    if recipe.temperature_first is None:
        with torch.no_grad():
            predicted = networks.regression(side) * networks.x_scale + networks.x_mean
            alone = float(distortion_of(recipe)(x, predicted).mean())
        first = min(4.0, max(0.5, recipe.lmbda * alone))
        recipe = replace(recipe, temperature_first=max(first, recipe.temperature_last))
    return recipe
