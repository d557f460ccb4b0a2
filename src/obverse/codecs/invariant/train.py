"""Train a code that keeps what tasks need and drops the rest: `obverse train invariant --data SET --out DIR`.

Lossy compression for lossless prediction (Dubois, Bloem-Reddy, Ullrich, Maddison, NeurIPS 2021): where every task
gives all views of an item the same answer, a code must hold the item, not the view. Three objectives, each

    loss = distortion + beta * rate,    rate in nats

    vc.py      distortion between the decoded code and x, what was put in: the baseline
    vic.py     distortion between the decoded code and the representative of x
    bince.py   how badly the code tells a second view of its item from other items (InfoNCE)

Training has two parts. In the first, all networks learn. The rate sees z with uniform noise; so does the distortion for
a while (a dimension that is not used yet would round to one value, and nothing would tell what it is good for), and
then z rounded, the gradient passing straight through. In the last part the encoder stays as it is, and density and
decoder are fitted to its rounded codes. A run killed at any moment resumes from its last checkpoint.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from obverse.codecs.invariant.clustered import ClusteredDensity
from obverse.codecs.invariant.networks import (
    InvariantConfig,
    make_decoder,
    make_encoder,
    make_projector,
)
from obverse.codecs.invariant.sources import Source, Views
from obverse.coding import TableFamily
from obverse.errors import ExportError, TrainingError
from obverse.priors.factorised import FactorisedDensity
from obverse.quantization.rounding import straight_through, with_noise
from obverse.training.run import Run, check_device, make_folder, record_phase

CLUSTER_STEPS = 5.0  # learning rate of clusters, times that of the networks


@dataclass(frozen=True)
class InvariantRecipe:
    """Everything that decides the result of a training run, saved beside its weights.

    objective: "vic", "vc" or "bince". beta: distortion that a nat of rate is worth. anneal: share of the steps over
    which beta rises to its value. refit: share of the steps, the last ones, that fit density and decoder to the
    rounded codes. settle: share of the steps after which the offsets of the grid stay as they are. noise: share of the
    first part in which the distortion sees noise. place: share of the first part after which codes have clusters (of
    models with several).
    """

    objective: str = "vic"
    beta: float = 0.1
    steps: int = 10_000
    batch: int = 128
    lr: float = 1e-3
    warmup: int = 100
    anneal: float = 0.0
    refit: float = 0.2
    settle: float = 0.5
    noise: float = 0.6
    place: float = 0.35
    clip: float = 10.0
    seed: int = 1
    bf16: bool = False
    validate_every: int = 1000
    checkpoint_seconds: float = 60.0

    @property
    def refit_from(self) -> int:
        """The step from which the encoder stays as it is."""
        return self.steps - round(self.refit * self.steps)

    @property
    def place_at(self) -> int:
        """The step before which clusters are placed."""
        return min(round(self.place * self.refit_from), self.steps - 1)


class InvariantNetworks(nn.Module):
    """x ──► encoder ──► z ──► density ──► rate, and a decoder or a projector on z rounded."""

    def __init__(self, config: InvariantConfig):
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config)
        self.density = FactorisedDensity(config.codes)
        self.clustered = ClusteredDensity(config.codes, config.clusters) if config.clusters > 1 else None
        self.placed = nn.Buffer(torch.tensor(False))
        self.head = make_decoder(config) if config.decodes else make_projector(config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # of similarities: 1 / temperature
        self.offset = nn.Buffer(torch.zeros(config.codes))

    @torch.no_grad()
    def start(self, x: Tensor, spread: float) -> None:
        """Let z of x (n, ...) have mean 0 and this standard deviation in each dimension."""
        if not self.config.images:
            self.encoder[0].fit(x)
        last = self.encoder.head[-1] if self.config.images else self.encoder[-1][-1]
        z = self.encoder(x)
        stretch = spread / z.std(0).clamp(min=1e-6)
        last.weight.mul_(stretch[:, None])
        last.bias.copy_((last.bias - z.mean(0)) * stretch)

    def rate_nats(self, codes: Tensor) -> Tensor:
        """(n, k) -> (n,): by the density of each dimension, and once clusters are placed by theirs."""
        density = self.clustered if self.clustered is not None and self.placed else self.density
        return density.rate_nats(codes)

    def tables(self) -> tuple[TableFamily | None, TableFamily]:
        """What `state_of` takes: the table of clusters, none for one, and those of codes. Raises ExportError."""
        if self.clustered is None:
            return None, self.density.tables(self.offset)
        if not self.placed:
            raise ExportError("the clusters of the codes were not placed yet: train to the end first")
        return self.clustered.tables(self.offset)

    @torch.no_grad()
    def place(self, source: Source) -> None:
        """Begin to use clusters: those of the source's codes."""
        if self.clustered is None:
            return
        rng = np.random.default_rng(0)
        z = [
            self.encoder(source.draw(1000, rng, False).x.to(self.offset.device))
            for _ in range(max(16, self.config.clusters // 16))
        ]
        self.clustered.place(torch.cat(z))
        self.placed.fill_(True)


class Objective(ABC):
    """What a code is good for. id: its name in recipes. decodes: whether its head is a decoder. pairs: whether it needs
    the codes of both views. spread: of z before training, in cells; a decoder lets z grow where it helps."""

    id: ClassVar[str]
    decodes: ClassVar[bool] = True
    pairs: ClassVar[bool] = False
    spread: ClassVar[float] = 0.05

    @abstractmethod
    def distortion(self, networks: InvariantNetworks, codes: Tensor, views: Views, population: int) -> Tensor:
        """codes: ẑ (n, k) of views.x, or (2n, k) of x and then positive -> (n,) or (2n,) distortions.

        population: how many items there are.
        """


def objective_of(name: str) -> Objective:
    """The objective of this name. Raises TrainingError."""
    from obverse.codecs.invariant.bince import Bince
    from obverse.codecs.invariant.objectives import Vic
    from obverse.codecs.invariant.vc import Vc

    known = {kind.id: kind for kind in (Vic, Vc, Bince)}
    if name not in known:
        raise TrainingError(f"there is no objective {name!r}: choose {', '.join(known)}")
    return known[name]()


def check(recipe: InvariantRecipe, config: InvariantConfig, source: Source) -> None:
    """Raise TrainingError for what cannot be run here."""
    if min(recipe.steps, recipe.warmup, recipe.validate_every) < 1 or recipe.batch < 2 or not recipe.lr > 0:
        raise TrainingError("steps, warmup and lr must be above zero, and a batch at least 2")
    if not 0 <= recipe.beta < math.inf:
        raise TrainingError(f"beta must be a number of at least 0, not {recipe.beta}")
    shares = (recipe.anneal, recipe.refit, recipe.settle, recipe.noise, recipe.place)
    if not all(0 <= share <= 1 for share in shares):
        raise TrainingError("anneal, refit, settle, noise and place are shares of the steps: 0 to 1")
    if source.shape != config.shape:
        raise TrainingError(f"the data has items of shape {source.shape}, the model is for {config.shape}")
    if objective_of(recipe.objective).decodes != config.decodes:
        raise TrainingError(f"the objective {recipe.objective!r} does not go with this model's head")


def learning_rate(recipe: InvariantRecipe, step: int) -> float:
    """Warm up, then fall along half a cosine to a hundredth; once more, from three tenths, for the fit at the end."""
    first, last, height = 0, recipe.refit_from, 1.0
    if step >= recipe.refit_from:
        first, last, height = recipe.refit_from, recipe.steps, 0.3
    fall = 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, last - first)))
    return recipe.lr * height * min(1.0, (step + 1) / recipe.warmup) * (0.01 + 0.99 * fall)


def beta_at(recipe: InvariantRecipe, step: int) -> float:
    """beta, risen linearly over the first part of the steps."""
    return recipe.beta * min(1.0, (step + 1) / max(1.0, recipe.anneal * recipe.steps))


@torch.no_grad()
def validate(
    networks: InvariantNetworks, recipe: InvariantRecipe, source: Source, count: int
) -> dict[str, float]:
    """Rate in bits and distortion of rounded codes, in floats, over `count` views that are the same every time."""
    objective = objective_of(recipe.objective)
    networks.eval()
    rng = np.random.default_rng(0)
    device = networks.offset.device
    rate, distortion, done = 0.0, 0.0, 0
    while done < count:
        n = min(count - done, max(2, recipe.batch))
        views = source.draw(n, rng, objective.pairs).to(device)
        z = networks.encoder(torch.cat([views.x, views.positive]) if objective.pairs else views.x)
        codes = straight_through(z, networks.offset)
        rate += float(networks.rate_nats(codes).double().mean()) * n
        distortion += float(objective.distortion(networks, codes, views, len(source)).double().mean()) * n
        done += n
    networks.train()
    return {"rate_bits": rate / done / math.log(2), "distortion": distortion / done}


def train(
    source: Source,
    held_out: Source,
    out: Path,
    recipe: InvariantRecipe,
    config: InvariantConfig,
    device_name: str = "cpu",
) -> Path:
    """Train until `recipe.steps`, resuming from `out`/checkpoint.pt if it is there; returns its path.

    held_out: what is validated on. Raises TrainingError for what cannot be run.
    """
    check(recipe, config, source)
    device = check_device(device_name)
    make_folder(out)
    objective = objective_of(recipe.objective)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    networks = InvariantNetworks(config).to(device)
    networks.start(source.draw(2000, np.random.default_rng(0), False).x.to(device), objective.spread)
    clusters = [] if networks.clustered is None else list(networks.clustered.parameters())
    others = [p for name, p in networks.named_parameters() if not name.startswith("clustered.")]
    # clusters are wide apart, where weights are small numbers: they take larger steps
    groups = [{"params": others, "times": 1.0}, {"params": clusters, "times": CLUSTER_STEPS}]
    optimiser = torch.optim.Adam(groups, recipe.lr, fused=True)
    parts = {"networks": networks, "optimiser": optimiser}
    facts = {"config": config.as_dict(), "recipe": asdict(recipe)}
    run = Run(out, device, recipe, parts, {"rng": rng}, facts, every=200)
    step = run.resume()
    record_phase(out / "recipe.json", recipe, config, source.facts(), step)
    count = min(5000, max(len(held_out), recipe.batch))
    for step in run.steps(lambda: (validate(networks, recipe, held_out, count), None)):
        fitting = step >= recipe.refit_from
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step) * group["times"]
        if step == recipe.place_at:
            networks.place(source)
        views = source.draw(recipe.batch, rng, objective.pairs).to(device)
        x = torch.cat([views.x, views.positive]) if objective.pairs else views.x
        networks.encoder.train(not fitting).requires_grad_(not fitting)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            z = networks.encoder(x)
        z = z.float()
        if not fitting and step < recipe.settle * recipe.steps:
            networks.offset.lerp_(z.detach().median(dim=0).values, 0.05)
        noisy, rounded = with_noise(z), straight_through(z, networks.offset)
        codes = noisy if step < recipe.noise * recipe.refit_from else rounded
        rate = networks.rate_nats(rounded if fitting else noisy).mean()
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            distortion = objective.distortion(networks, codes, views, len(source)).mean()
        loss = distortion + beta_at(recipe, step) * rate
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(networks.parameters(), recipe.clip)
        if torch.isfinite(norm):
            optimiser.step()
        run.tell(distortion=distortion.item(), bits=rate.item() / math.log(2))
    return run.checkpoint.path
