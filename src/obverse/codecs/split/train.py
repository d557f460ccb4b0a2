"""Train a student of split computing: a small encoder, an entropy model, a server that stands in for a teacher.

The Entropic Student (Matsubara, Yang, Levorato, Mandt, "Supervised compression for resource-constrained edge computing
systems", WACV 2022) learns in two stages:

    1. encoder, density, decoder    objective + beta * rate                     rate in nats an image
    2. density, server              1/2 cross-entropy + 1/2 divergence from the teacher; the encoder stays as it is

The rate sees y with uniform noise; so does the objective for a while, and then y rounded, the gradient passing straight
through. A model that also reconstructs has a second head, whose squared error has the weight that the recipe says. A
run killed at any moment resumes from its last checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from obverse.codecs.split.images import LabelledImages, cut_and_mixed, read_images
from obverse.codecs.split.networks import (
    by_channel,
    relative_error,
    rounded_by_channel,
    scaled_gradient,
    standardised,
)
from obverse.codecs.split.objectives import objective_of
from obverse.codecs.split.recipe import SplitInputs, SplitRecipe, TaughtRecipe, TeacherRecipe
from obverse.codecs.split.resnet import ResNet
from obverse.codecs.split.sizes import ResNetConfig, SplitConfig
from obverse.codecs.split.student import SplitNetworks
from obverse.codecs.split.teacher import check_images, load_teacher, train_teacher
from obverse.container.files import make_folder
from obverse.errors import TrainingError
from obverse.quantization.rounding import with_noise
from obverse.training.checkpoint import reading, steps_of
from obverse.training.phases import record_phase
from obverse.training.run import Run, check_device
from obverse.training.schedule import warm_up_and_fall

DENSITY_PACE = 5.0


def check(recipe: SplitRecipe, config: SplitConfig, data: LabelledImages, teacher: ResNet) -> None:
    """Raise TrainingError for what does not go together."""
    if recipe.reconstruct and not config.reconstructs:
        raise TrainingError("reconstruct asks for a second head: make a model that reconstructs")
    if teacher.config != config.teacher:
        raise TrainingError("the teacher has other sizes than the one that the student is made for")
    if objective_of(recipe.objective).learns_tail and recipe.mix:
        raise TrainingError("end-to-end learns from labels, which mixed images have not: leave mix at 0")
    check_images(data, config.teacher)


def learning_rate(recipe: SplitRecipe, step: int) -> float:
    """Warm up, then fall along half a cosine to a hundredth; the same again in stage 2, from `tune_lr`."""
    first, last, height = 0, recipe.tune_from, recipe.lr
    if step >= recipe.tune_from:
        first, last, height = recipe.tune_from, recipe.steps, recipe.tune_lr
    return warm_up_and_fall(height, recipe.warmup, step, first, last)


@torch.no_grad()
def validate(networks: SplitNetworks, data: LabelledImages) -> dict[str, float]:
    """Of rounded codes of the plain images: bits an image by the density, accuracy, and PSNR in dB if there is a
    synthesis."""
    networks.eval()
    rate, right, squared = 0.0, 0, 0.0
    for first in range(0, len(data), 500):
        x, labels = data.plain(first, first + 500)
        codes = rounded_by_channel(networks.encoder(standardised(x)), networks.offset)
        rate += float(networks.density.rate_nats(by_channel(codes)).double().sum())
        right += int((networks.server(codes).argmax(1) == labels).sum())
        if networks.synthesis is not None:
            squared += float((networks.synthesis(codes).clamp(0, 1) - x).double().square().sum())
    networks.train()
    row = {"rate_bits": rate / len(data) / math.log(2), "accuracy": right / len(data)}
    if networks.synthesis is not None:
        row["psnr"] = -10 * math.log10(max(squared / data.images.numel(), 1e-10))
    return row


def step_loss(
    networks: SplitNetworks, teacher: ResNet, x: Tensor, labels: Tensor, recipe: SplitRecipe, step: int
) -> tuple[Tensor, Tensor]:
    """The loss of a batch, and its rate in nats an image."""
    objective, config = objective_of(recipe.objective), networks.config
    tuning = step >= recipe.tune_from
    with (
        torch.set_grad_enabled(not tuning),
        torch.autocast(x.device.type, torch.bfloat16, enabled=recipe.bf16),
    ):
        y = networks.encoder(standardised(x)).float()
    if not tuning and step < recipe.settle * recipe.steps:
        networks.offset.lerp_(y.detach().transpose(0, 1).flatten(1).median(1).values, 0.05)
    noisy, rounded = with_noise(y), rounded_by_channel(y, networks.offset)
    codes = noisy if step < recipe.noise * recipe.tune_from else rounded
    rate = networks.density.rate_nats(by_channel(rounded if tuning else noisy)).sum() / len(x)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=recipe.bf16):
        if tuning:
            loss = objective.tuning(networks, teacher, x, labels, rounded) + rate / config.symbols
        else:
            loss = objective.distortion(networks, teacher, x, labels, codes) + recipe.beta * rate
        if networks.synthesis is not None:
            # the head learns in full whatever it weighs; what it weighs is what the encoder hears of it
            loss = loss + relative_error(networks.synthesis(scaled_gradient(codes, recipe.reconstruct)), x)
    return loss, rate


def train(
    data: LabelledImages,
    held_out: LabelledImages,
    teacher: ResNet,
    out: Path,
    recipe: SplitRecipe,
    config: SplitConfig,
    device_name: str = "cpu",
    start: Path | None = None,
) -> Path:
    """Train until `recipe.steps`, resuming from `out`/checkpoint.pt if it is there; returns its path.

    held_out: what accuracies are told of. teacher: folded. start: the checkpoint of another student, whose networks
    this one begins with, all but the synthesis. Raises TrainingError for what cannot be run.
    """
    check(recipe, config, data, teacher)
    device = check_device(device_name)
    make_folder(out)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    teacher = teacher.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    networks = SplitNetworks(config).to(device, memory_format=torch.channels_last)
    views = data.draw(min(2000, 4 * len(data)), np.random.default_rng(0))[0].to(device)
    networks.start(views, teacher)
    if start is not None:
        begin_with(networks, start)
        networks.start_synthesis(views)
    if not objective_of(recipe.objective).learns_tail:
        networks.server.tail.load_state_dict(teacher.tail_after(config.after).state_dict())
    density = list(networks.density.parameters())
    others = [p for name, p in networks.named_parameters() if not name.startswith("density.")]
    # a density must keep pace with codes that are on the move, and its parameters are few
    optimiser = torch.optim.Adam(
        [{"params": others, "pace": 1.0}, {"params": density, "pace": DENSITY_PACE}], recipe.lr, fused=True
    )
    parts = {"networks": networks, "optimiser": optimiser}
    facts = {"config": config.as_dict(), "recipe": asdict(recipe)}
    run = Run(out, device, recipe, parts, {"rng": rng}, facts)
    step = run.resume()
    record_phase(out / "recipe.json", recipe, config, data.facts(), step)
    networks.train()
    for step in run.steps(lambda: (validate(networks, held_out), None), {recipe.tune_from}):
        tuning = step >= recipe.tune_from
        networks.encoder.requires_grad_(not tuning)
        networks.server.tail.requires_grad_(tuning or objective_of(recipe.objective).learns_tail)
        for group in optimiser.param_groups:
            group["lr"] = group["pace"] * learning_rate(recipe, step)
        x, labels = (part.to(device) for part in data.draw(recipe.batch, rng))
        if not tuning and recipe.mix and rng.random() < recipe.mix:
            x = cut_and_mixed(x, rng)[0]
        loss, rate = step_loss(networks, teacher, x, labels, recipe, step)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(networks.parameters(), recipe.clip)
        if torch.isfinite(norm):
            optimiser.step()
        run.log(loss=loss.item(), bits=rate.item() / math.log(2))
    return run.checkpoint.path


@torch.no_grad()
def begin_with(networks: SplitNetworks, start: Path) -> None:
    """Take over the networks of a checkpoint, all but a synthesis. Raises InputError, TrainingError."""
    other, _, _ = load_checkpoint(start)
    try:
        for name, network in networks.named_children():
            if name != "synthesis":
                network.load_state_dict(getattr(other, name).state_dict())
        networks.offset.copy_(other.offset)
    except RuntimeError as error:
        raise TrainingError(f"{start} is of a model of other sizes: {error}") from None


def load_checkpoint(path: Path) -> tuple[SplitNetworks, SplitRecipe, int]:
    """The networks of a checkpoint, their recipe, and how many steps they were trained. Raises InputError."""
    with reading(path, "a split model"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        networks = SplitNetworks(SplitConfig.from_dict(state["config"]))
        networks.load_state_dict(state["networks"])
        recipe = SplitRecipe(**state["recipe"])
        steps = steps_of(state)
    return networks.eval().requires_grad_(False), recipe, steps


def run(inputs: SplitInputs, out: Path, recipe: TaughtRecipe, sizes: dict[str, Any], device: str) -> None:
    """What `obverse train split` does before it exports: the teacher, in `out`/teacher, and its student."""
    learned, held_out = read_images(inputs)
    # the network sees some 32 places a side, whatever the size of the images
    stride = max(1, learned.side // 32)
    widths = tuple(recipe.width * times for times in (1, 3, 6, 12))
    network = ResNetConfig(learned.side, max(learned.classes, held_out.classes), stride, widths)
    strides, reconstructs = (2 * stride, 2, 2), recipe.reconstruct is not None
    config = SplitConfig(network, strides=strides, reconstructs=reconstructs, **sizes)
    config = SplitConfig.from_dict(config.as_dict())  # refused before a teacher is trained
    of_student = {field.name: getattr(recipe, field.name) for field in fields(SplitRecipe)}
    student = SplitRecipe(**of_student | {"reconstruct": recipe.reconstruct or 0.0})
    teaching = TeacherRecipe(
        **{
            field.name: getattr(recipe, f"teacher_{field.name}", getattr(recipe, field.name, field.default))
            for field in fields(TeacherRecipe)
        }
    )
    teacher = load_teacher(train_teacher(learned, held_out, out / "teacher", teaching, network, device))
    train(learned, held_out, teacher, out, student, config, device, inputs.start_checkpoint)
