"""Train the teacher of split computing, a small residual network: the first part of `obverse train split`.

    images ──► views, half of them cut and mixed ──► network ──► cross-entropy with soft labels

SGD with momentum along one rise and one fall of the learning rate. What is kept is the network with its normalisations
folded into its convolutions. A run killed at any moment resumes from its last checkpoint.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from obverse.codecs.split.images import LabelledImages, cut_and_mixed
from obverse.codecs.split.recipe import TeacherRecipe
from obverse.codecs.split.resnet import ResNet, folded
from obverse.codecs.split.sizes import ResNetConfig
from obverse.container.files import make_folder
from obverse.errors import TrainingError
from obverse.training.checkpoint import reading
from obverse.training.phases import record_phase
from obverse.training.run import Run, check_device
from obverse.training.schedule import half_cosine


def check_images(data: LabelledImages, config: ResNetConfig) -> None:
    """Raise TrainingError for images that the network cannot take."""
    if data.side != config.side or data.classes > config.classes:
        raise TrainingError(
            f"the images have {data.side} pixels a side and {data.classes} classes, the network is for {config.side} "
            f"pixels and {config.classes} classes"
        )


def one_cycle(step: int, steps: int, warmup: float) -> float:
    """What the learning rate is multiplied by: up linearly over a share of the steps, then down along half a cosine."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return half_cosine(step - rise, steps - rise)


@torch.no_grad()
def accuracy(network: torch.nn.Module, data: LabelledImages) -> float:
    """Share of the images whose class the network tells."""
    network.eval()
    right = 0
    for first in range(0, len(data), 500):
        x, labels = data.plain(first, first + 500)
        right += int((network(x).argmax(1) == labels).sum())
    network.train()
    return right / len(data)


def teacher_loss(
    network: ResNet, x: Tensor, labels: Tensor, recipe: TeacherRecipe, rng: np.random.Generator
) -> Tensor:
    """Mean cross-entropy in nats."""
    if rng.random() >= recipe.mix:
        return functional.cross_entropy(network(x).float(), labels, label_smoothing=recipe.smoothing)
    mixed, other, kept = cut_and_mixed(x, rng)
    logits = network(mixed).float()
    own = functional.cross_entropy(logits, labels, label_smoothing=recipe.smoothing)
    pasted = functional.cross_entropy(logits, labels[other], label_smoothing=recipe.smoothing)
    return kept * own + (1 - kept) * pasted


def train_teacher(
    data: LabelledImages,
    held_out: LabelledImages,
    out: Path,
    recipe: TeacherRecipe,
    config: ResNetConfig,
    device_name: str = "cpu",
    start: ResNet | None = None,
) -> Path:
    """Train until `recipe.steps`, resuming from `out`/checkpoint.pt if it is there; returns its path.

    held_out: what accuracies are told of. start: a network of other images (`load_network`) whose layers, all but the
    stem, the new one begins with. Raises TrainingError for what cannot be run.
    """
    check_images(data, config)
    device = check_device(device_name)
    make_folder(out)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    network = ResNet(config).to(device, memory_format=torch.channels_last)
    if start is not None:
        try:
            network.tail.load_state_dict(start.tail.state_dict())
        except RuntimeError:
            raise TrainingError(
                "the network to start from has other layers: give one of the same widths and blocks"
            ) from None
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.decay}, {"params": free}],
        recipe.lr, recipe.momentum, nesterov=True,
    )  # fmt: skip
    parts = {"network": network, "optimiser": optimiser}
    facts = {"config": config.as_dict(), "recipe": asdict(recipe)}
    run = Run(out, device, recipe, parts, {"rng": rng}, facts)
    step = run.resume()
    record_phase(out / "recipe.json", recipe, config, data.facts(), step)
    network.train()
    for step in run.steps(lambda: ({"accuracy": accuracy(network, held_out)}, None)):
        for group in optimiser.param_groups:
            group["lr"] = recipe.lr * one_cycle(step, recipe.steps, recipe.warmup)
        x, labels = (part.to(device) for part in data.draw(recipe.batch, rng))
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            loss = teacher_loss(network, x, labels, recipe, rng)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the teacher's loss is not finite at step {step + 1}: choose a smaller lr")
        run.log(loss=loss.item())
    return run.checkpoint.path


def load_network(path: Path) -> ResNet:
    """The network of a checkpoint as it was trained, with its normalisations. Raises InputError."""
    with reading(path, "a teacher"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        network = ResNet(ResNetConfig.from_dict(state["config"]))
        network.load_state_dict(state["network"])
    return network.eval().requires_grad_(False)


def load_teacher(path: Path) -> ResNet:
    """The network of a checkpoint, folded. Raises InputError."""
    return folded(load_network(path))
