"""Train a code that keeps what tasks need and drops the rest: `obverse train invariant --data SET --out DIR`.

Lossy compression for lossless prediction (Dubois, Bloem-Reddy, Ullrich, Maddison, NeurIPS 2021): where every task
gives all views of an item the same answer, a code must hold the item, not the view. Three objectives, each

    loss = distortion + beta * rate,    rate in nats

    VC      distortion between the decoded code and x, what was put in: the baseline
    VIC     distortion between the decoded code and the representative of x
    BINCE   how badly the code tells a second view of its item from other items (InfoNCE)

Training has two parts. In the first, all networks learn. The rate sees z with uniform noise; so does the distortion for
a while (a dimension that is not used yet would round to one value, and nothing would tell what it is good for), and
then z rounded, the gradient passing straight through. In the last part the encoder stays as it is, and density and
decoder are fitted to its rounded codes. A run killed at any moment resumes from its last checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from obverse.codecs.invariant.networks import InvariantNetworks
from obverse.codecs.invariant.objectives import objective_of
from obverse.codecs.invariant.recipe import InvariantConfig, InvariantInputs, InvariantRecipe
from obverse.codecs.invariant.sources import Source, sources_of
from obverse.container.files import make_folder
from obverse.errors import TrainingError
from obverse.quantization.rounding import straight_through, with_noise
from obverse.training.phases import record_phase
from obverse.training.run import Run, check_device
from obverse.training.schedule import warm_up_and_fall

CLUSTER_STEPS = 5.0  # learning rate of clusters, times that of the networks


def check(recipe: InvariantRecipe, config: InvariantConfig, source: Source) -> None:
    """Raise TrainingError for what does not go together."""
    if source.shape != config.shape:
        raise TrainingError(f"the data has items of shape {source.shape}, the model is for {config.shape}")
    if objective_of(recipe.objective).decodes != config.decodes:
        raise TrainingError(f"the objective {recipe.objective!r} does not go with this model's head")


def learning_rate(recipe: InvariantRecipe, step: int) -> float:
    """Warm up, then fall along half a cosine to a hundredth; once more, from three tenths, for the fit at the end."""
    first, last, height = 0, recipe.refit_from, 1.0
    if step >= recipe.refit_from:
        first, last, height = recipe.refit_from, recipe.steps, 0.3
    return warm_up_and_fall(recipe.lr * height, recipe.warmup, step, first, last)


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
        run.log(distortion=distortion.item(), bits=rate.item() / math.log(2))
    return run.checkpoint.path


def run(
    inputs: InvariantInputs, out: Path, recipe: InvariantRecipe, sizes: dict[str, Any], device: str
) -> None:
    """What `obverse train invariant` does before it exports."""
    source, held_out = sources_of(inputs.items, inputs.affine, inputs.upright)
    decodes = objective_of(recipe.objective).decodes
    train(source, held_out, out, recipe, InvariantConfig(source.shape, decodes=decodes, **sizes), device)
