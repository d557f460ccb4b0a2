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

import json
import math
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from obverse.codecs.wyner_ziv.networks import WynerZivNetworks, WynerZivSizes
from obverse.codecs.wyner_ziv.side_information import SideInformation, as_columns
from obverse.errors import InputError, OutputError, TrainingError
from obverse.quantization.gumbel_softmax import gumbel_softmax
from obverse.quantization.nested_lattice import (
    Distortion,
    cell_width,
    lattice_generator,
    nested_labels,
    slope_at,
)
from obverse.training.run import log, save_atomically

MARGINAL, CONDITIONAL = "marginal", "conditional"
NESTED, EMERGENT = "nested", "emergent"
EXACT_INDICES = 1024  # above, the expectation over u is sampled
MOST_INDICES = 4096
FEWEST_PAIRS = 1000
# in sigma_{x|y}, measured with scalar designs (experiments/wyner_ziv/learned.py):
PERIOD = 7.25  # of the binning that the marginal objective prefers
UNIQUE = 12.5  # after which the conditional objective loses next to nothing when labels repeat

DISTORTIONS: dict[str, Distortion] = {
    "mse": lambda x, x_hat: (x - x_hat).pow(2).mean(dim=-1),
    "abs": lambda x, x_hat: (x - x_hat).abs().mean(dim=-1),
}


@dataclass(frozen=True)
class WynerZivRecipe:
    """Everything that decides the result of a training run.

    objective: 'marginal' for files of one sample at a time, 'conditional' for Slepian-Wolf coded blocks.
    indices: K. lmbda: the price of distortion, nats per component over the unit of the distortion; None for
    one that suits K. distortion: 'mse', 'abs', or a function of tensors (..., d), (..., d) -> (...) that can
    be differentiated. start: 'nested', or 'emergent' for no structure at all. gumbel: sample u instead of
    summing over it; None decides by K. temperature_first: T at the start; None for lmbda times the distortion
    of m(y) alone, between 0.5 and 4: hotter, and a low rate collapses to one index. hidden, features: sizes of
    the networks; None decides by d.
    """

    objective: str = CONDITIONAL
    indices: int = 12
    lmbda: float | None = None
    distortion: str | Distortion = "mse"
    start: str = NESTED
    gumbel: bool | None = None
    steps: int = 3000
    nested_steps: int = 800
    refit_steps: int = 600
    batch: int = 512
    refit_batch: int = 4096
    lr: float = 2e-3
    temperature_first: float | None = None
    temperature_last: float = 0.03
    hidden: int | None = None
    features: int | None = None
    seed: int = 0
    checkpoint_seconds: float = 30.0

    def measure(self) -> Distortion:
        """The distortion as a function."""
        return self.distortion if callable(self.distortion) else DISTORTIONS[self.distortion]

    def as_dict(self) -> dict[str, Any]:
        """Plain values; a distortion that is a function by its name."""
        name = (
            getattr(self.distortion, "__name__", "custom") if callable(self.distortion) else self.distortion
        )
        return asdict(replace(self, distortion="mse")) | {"distortion": name}


@dataclass(frozen=True)
class Trained:
    """A trained model: its networks in evaluation mode, what its side information is, the recipe with its lmbda."""

    networks: WynerZivNetworks
    side: SideInformation
    recipe: WynerZivRecipe


def check_recipe(recipe: WynerZivRecipe) -> None:
    """Raise TrainingError for a recipe that cannot be run."""
    if recipe.objective not in (MARGINAL, CONDITIONAL):
        raise TrainingError(f"the objective is 'marginal' or 'conditional', not {recipe.objective!r}")
    if recipe.start not in (NESTED, EMERGENT):
        raise TrainingError(f"the start is 'nested' or 'emergent', not {recipe.start!r}")
    if not 2 <= recipe.indices <= MOST_INDICES:
        raise TrainingError(
            f"the number of indices K must be 2 to {MOST_INDICES}, not {recipe.indices}: with one there is "
            "nothing to send; for more, code fewer components of x at once"
        )
    if recipe.lmbda is not None and not 0 < recipe.lmbda < math.inf:
        raise TrainingError(f"lmbda must be a number above 0, not {recipe.lmbda}")
    if isinstance(recipe.distortion, str) and recipe.distortion not in DISTORTIONS:
        known = ", ".join(DISTORTIONS)
        raise TrainingError(
            f"there is no distortion {recipe.distortion!r} (there are: {known}); or pass a function"
        )
    if (
        min(recipe.steps, recipe.batch, recipe.refit_batch) < 1
        or min(recipe.nested_steps, recipe.refit_steps) < 0
    ):
        raise TrainingError("steps and batches must be at least 1, the steps of start and refit at least 0")
    first = recipe.temperature_last if recipe.temperature_first is None else recipe.temperature_first
    if not recipe.lr > 0 or not first >= recipe.temperature_last > 0:
        raise TrainingError("lr must be above 0, and the temperature must fall to a value above 0")
    if any(size is not None and not 1 <= size <= 4096 for size in (recipe.hidden, recipe.features)):
        raise TrainingError("the sizes of the networks must be 1 to 4096")


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
    slope = slope_at(recipe.measure(), x, sigma * width)
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
    distortion = recipe.measure()
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
    distorted = recipe.measure()(x, x_hat).mean() * recipe.lmbda * networks.sizes.dimensions
    conditional = functional.cross_entropy(networks.conditional(seen), labels)
    marginal = functional.cross_entropy(networks.marginal.expand(len(x), -1), labels)
    return distorted + conditional + marginal


def temperature_at(recipe: WynerZivRecipe, step: int) -> float:
    """T at a step of the main stage: geometric over the first three quarters, then constant."""
    part = min(1.0, step / max(1.0, 0.75 * recipe.steps))
    return recipe.temperature_first * (recipe.temperature_last / recipe.temperature_first) ** part


def train(
    x: Any,
    y: Any,
    recipe: WynerZivRecipe,
    checkpoint: Path | None = None,
    report: Callable[[str], None] = log,
) -> Trained:
    """Train on pairs: x (n,) or (n, d), y (n,) or (n, c) numbers, or whole numbers for categories.

    checkpoint: a file to resume from where it exists and to save to every so often. report: takes a line about
    every tenth of the way. Raises InputError for the pairs, TrainingError for the recipe or the checkpoint.
    """
    check_recipe(recipe)
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
    sigma, probe = networks.residual_scale, xs[:4096]
    if recipe.lmbda is None:
        recipe = replace(recipe, lmbda=default_lmbda(recipe, probe, sigma))
    if recipe.temperature_first is None:
        with torch.no_grad():
            predicted = networks.regression(ys[:4096]) * networks.x_scale + networks.x_mean
            alone = float(recipe.measure()(probe, predicted).mean())
        first = min(4.0, max(0.5, recipe.lmbda * alone))
        recipe = replace(recipe, temperature_first=max(first, recipe.temperature_last))
    if recipe.objective == CONDITIONAL:
        width = cell_width(recipe.measure(), probe, sigma, recipe.lmbda)
    else:
        width = PERIOD / recipe.indices ** (1 / dimensions)
    lattice = torch.from_numpy(lattice_generator(recipe.indices, dimensions))
    phase = torch.from_numpy(rng.random(dimensions)).float() * recipe.indices
    pairs = zlib.crc32(ys.numpy().tobytes(), zlib.crc32(xs.numpy().tobytes()))
    signature = {"pairs": pairs} | sizes.as_dict() | recipe.as_dict()
    run = _Run(networks, recipe, xs, ys, checkpoint, report, signature)

    def nested(batch: Tensor, side: Tensor, step: int) -> Tensor:
        with torch.no_grad():
            white = (batch - networks.x_mean) / networks.x_scale @ networks.regression.inverse.T
            labels = nested_labels(white, width, phase, lattice, recipe.indices)
        start = functional.cross_entropy(networks.logits(batch), labels)
        return start + fixed_labels_loss(networks, batch, side, labels, recipe)

    def main(batch: Tensor, side: Tensor, step: int) -> Tensor:
        temperature = temperature_at(recipe, step)
        loss, rate, distorted = objective_of(networks, batch, side, recipe, temperature, run.generator)
        run.note(
            rate_bits=float(rate.detach()), distortion=float(distorted.detach()), temperature=temperature
        )
        return loss

    def refit(batch: Tensor, side: Tensor, step: int) -> Tensor:
        with torch.no_grad():
            labels = networks.logits(batch).argmax(dim=1)
        return fixed_labels_loss(networks, batch, side, labels, recipe)

    if recipe.start == NESTED:
        run.stage("nested start", recipe.nested_steps, recipe.batch, nested, falling=False)
    run.stage("main", recipe.steps, recipe.batch, main, falling=True)
    run.stage("refit", recipe.refit_steps, recipe.refit_batch, refit, falling=True)
    return Trained(networks.eval(), side_spec, recipe)


class _Run:
    """The loop of every stage, with its checkpoints: a run that was killed goes on as if it had not been."""

    def __init__(
        self,
        networks: WynerZivNetworks,
        recipe: WynerZivRecipe,
        x: Tensor,
        y: Tensor,
        checkpoint: Path | None,
        report: Callable[[str], None],
        signature: dict[str, Any],
    ):
        self.networks, self.recipe, self.x, self.y = networks, recipe, x, y
        self.checkpoint, self.report = checkpoint, report
        self.signature = json.dumps(signature, sort_keys=True)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.values: dict[str, float] = {}
        self.saved = time.monotonic()
        self.resume: dict[str, Any] | None = None
        if checkpoint is not None and checkpoint.exists():
            self.resume = self._read(checkpoint)
            report(f"resuming: {self.resume['stage']}, step {self.resume['step']}")

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            same = state["signature"] == self.signature
        except Exception as error:  # torch.load raises many kinds for a damaged file
            raise TrainingError(f"{path} cannot be resumed: {error}; delete it to start again") from error
        if not same:
            raise TrainingError(
                f"{path} is of a run with another recipe or other data: choose another folder, or delete it"
            )
        return state

    def note(self, **values: float) -> None:
        for name, value in values.items():
            self.values[name] = 0.95 * self.values.get(name, value) + 0.05 * value

    def stage(
        self,
        name: str,
        steps: int,
        batch: int,
        loss_of: Callable[[Tensor, Tensor, int], Tensor],
        falling: bool,
    ) -> None:
        """So many steps of Adam on `loss_of`(x, side, step); falling: the learning rate follows a cosine to 0."""
        if self.resume is not None and self.resume["stage"] != name:
            return  # done before the checkpoint
        optimiser = torch.optim.Adam(self.networks.parameters(), lr=self.recipe.lr, fused=True)
        first = 0
        if self.resume is not None:
            self.networks.load_state_dict(self.resume["networks"])
            optimiser.load_state_dict(self.resume["optimiser"])
            self.generator.set_state(self.resume["generator"])
            first = int(self.resume["step"])
            self.resume = None
        for step in range(first, steps):
            if falling:
                rate = self.recipe.lr * (0.5 + 0.5 * math.cos(math.pi * step / steps))
                optimiser.param_groups[0]["lr"] = rate
            rows = torch.randint(len(self.x), (batch,), generator=self.generator)
            loss = loss_of(self.x[rows], self.y[rows], step)
            optimiser.zero_grad()
            loss.backward()
            if not math.isfinite(float(loss.detach())):
                raise TrainingError("training diverged: use a smaller lr, or a smaller lmbda")
            optimiser.step()
            if (step + 1) % max(1, steps // 4) == 0:
                numbers = ", ".join(f"{key} {value:.4g}" for key, value in self.values.items())
                self.report(f"{name}: step {step + 1} of {steps}" + (f", {numbers}" if numbers else ""))
            if self.checkpoint and time.monotonic() - self.saved > self.recipe.checkpoint_seconds:
                self._save(self.checkpoint, name, step + 1, optimiser)
        if self.checkpoint:
            self._save(self.checkpoint, name, steps, optimiser)

    def _save(self, path: Path, stage: str, step: int, optimiser: torch.optim.Optimizer) -> None:
        state: dict[str, object] = {
            "signature": self.signature,
            "stage": stage,
            "step": step,
            "networks": self.networks.state_dict(),
            "optimiser": optimiser.state_dict(),
            "generator": self.generator.get_state(),
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_atomically(state, path)
        except (OSError, RuntimeError) as error:  # torch raises the latter where it cannot open a file
            raise OutputError(f"{path} cannot be written: {error}") from error
        self.saved = time.monotonic()
