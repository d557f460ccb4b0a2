"""Train the networks of `image-lossless`: `obverse train image-lossless --data DIR --out DIR`.

    photos ──► raster_context, as the coder runs it ──► features x, prediction p, activity, value v
    x ──► network ──► logits, means, log2 scales ──► -log2 P(v) ──► loss (bits)

The features do not depend on the networks, so they are collected once, from a share of the pixels; a step is then a
few matrix products. One network for each of the three colours of a picture and one for grayscale, trained side by side.
Rounding of the hidden activations is part of the training (straight through), that of the weights is done at export.

Photos that were JPEG files are halved in size first, which takes their block artefacts away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from obverse.codecs.image_lossless import context
from obverse.codecs.image_lossless import network as raster_network
from obverse.codecs.image_lossless import pixels as raster_code
from obverse.codecs.image_lossless.raster import ORDER
from obverse.codecs.image_lossless.recipe import LosslessInputs, RasterRecipe
from obverse.container.files import make_folder
from obverse.data.patches import image_files, open_rgb, split_files
from obverse.errors import TrainingError
from obverse.training.log import log
from obverse.training.phases import record_phase
from obverse.training.run import Run, check_device, follow
from obverse.training.schedule import half_cosine

KINDS = (("green", 3, 0), ("red", 3, 1), ("blue", 3, 2), ("gray", 1, 0))  # name, channels, which of them
LOSSY_SUFFIXES = {".jpg", ".jpeg"}


class RasterNetwork(nn.Module):
    """x (B, F), features / 32 ──► (B, 3 K): logits in nats, means in activities, log2 of scales in activities."""

    def __init__(self, features: int, recipe: RasterRecipe):
        super().__init__()
        self.components = recipe.components
        self.one = nn.Linear(features, recipe.hidden)
        self.two = nn.Linear(recipe.hidden, recipe.hidden2)
        self.out = nn.Linear(recipe.hidden2, 3 * recipe.components)
        with torch.no_grad():
            self.out.weight.mul_(0.3)
            self.out.bias.zero_()
            self.out.bias[2 * recipe.components :] = torch.linspace(-1.5, 1, recipe.components)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(activate(self.two(activate(self.one(x)))))


def activate(x: Tensor) -> Tensor:
    """What `raster_network.activate` does, with gradients that ignore the rounding."""
    x = x.clamp(0, 255 / raster_network.H_UNIT)
    return x + ((x * raster_network.H_UNIT).round() / raster_network.H_UNIT - x).detach()


def rate_bits(outputs: Tensor, p: Tensor, unit: Tensor, value: Tensor, top: int = 255) -> Tensor:
    """-log2 of the mixture's probability of `value`: (B,) bits.

    outputs: (B, 3 K) of a network; p: (B,) predictions and unit: (B,) activities, both in grey levels;
    value: (B,) 0 to top. The mixture is that of `obverse.coding.logistic_mixture`.
    """
    logits, means, scales = outputs.chunk(3, dim=1)
    means = p[:, None] + means * unit[:, None]
    scales = (unit[:, None] * torch.exp2(scales)).clamp(min=2.0**-4)
    above = (value[:, None] + 0.5 - means) / scales
    below = (value[:, None] - 0.5 - means) / scales
    last, first = (value >= top)[:, None], (value <= 0)[:, None]
    left = torch.sigmoid(above).masked_fill(last, 1.0) - torch.sigmoid(below).masked_fill(first, 0.0)
    right = torch.sigmoid(-below).masked_fill(first, 1.0) - torch.sigmoid(-above).masked_fill(last, 0.0)
    probability = (torch.softmax(logits, 1) * torch.where(below > 0, right, left)).sum(1)
    return -torch.log2(probability * (1 - 2.0**-16) + 2.0**-24)


# -- samples ------------------------------------------------------------------------------------------------


@dataclass
class Samples:
    """Pixels with what the coder knows of them: features (n, F) int16, p (n,) in 1/64, activity (n,), value (n,)."""

    features: np.ndarray
    predictions: np.ndarray
    activities: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.values)

    def batch(self, chosen: Any, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x, p, unit, value for the network and `rate_bits`."""
        activity = self.activities[chosen].astype(np.int64)
        unit = (4 + activity % 4) * 2.0 ** (activity // 4 - 5.0) / context.UNIT
        arrays = (
            self.features[chosen] / np.float32(raster_network.X_UNIT),
            self.predictions[chosen] / np.float32(context.UNIT),
            unit,
            self.values[chosen],
        )
        x, p, u, v = (torch.from_numpy(np.asarray(a, np.float32)).to(device) for a in arrays)
        return x, p, u, v


def collect(planes: np.ndarray, share: float, rng: np.random.Generator) -> list[Samples]:
    """Samples of each channel of one picture. planes: (C, H, W) uint8 as they are coded."""
    channels, height, width = planes.shape
    stride, plane = width + 2 * context.SIDE, (height + context.TOP) * (width + 2 * context.SIDE)
    near = context.neighbours(channels, plane, stride)
    counts = context.feature_counts(channels)
    keep = rng.random((height, width)) < share
    n = int(keep.sum()) * channels
    features = np.zeros((n, max(counts)), np.float32)
    p, activity, value, who = (np.zeros(n, np.int32) for _ in range(4))
    raster_code.collect(
        planes, channels, height, width, 8, near, context.workspace(channels, height, width, 8), keep, features,
        p, activity, value, who, context.PIXEL_WEIGHTS,
    )  # fmt: skip
    return [
        Samples(
            features[m, :count].astype(np.int16),
            p[m],
            activity[m].astype(np.uint8),
            value[m].astype(np.uint8),
        )
        for c, count in enumerate(counts)
        for m in (who == c,)
    ]


def pictures(path: Path) -> list[tuple[np.ndarray, bool]]:
    """What is trained on of one file, as ((H, W, 3) uint8, whether it was halved)."""
    whole = open_rgb(path)
    half = whole.resize((max(1, whole.width // 2), max(1, whole.height // 2)), Image.Resampling.LANCZOS)
    if path.suffix.lower() in LOSSY_SUFFIXES:
        return [(np.asarray(half), True)]
    return [(np.asarray(whole), False), (np.asarray(half), True)]


def collect_files(files: Sequence[Path], recipe: RasterRecipe, name: str) -> list[Samples]:
    """Samples of KINDS from all files, in their order."""
    rng = np.random.default_rng(recipe.seed)
    found: list[list[Samples]] = [[] for _ in KINDS]
    for i, path in enumerate(files):
        for rgb, halved in pictures(path):
            share = recipe.half_share if halved else recipe.share
            colours = np.ascontiguousarray(rgb[:, :, ORDER].transpose(2, 0, 1))
            gray = np.asarray(Image.fromarray(rgb).convert("L"))[None]
            for samples, place in zip(
                collect(colours, share, rng) + collect(np.ascontiguousarray(gray), share, rng),
                found,
                strict=True,
            ):
                place.append(samples)
        if (i + 1) % 20 == 0 or i + 1 == len(files):
            log(f"{name}: {i + 1} of {len(files)} photos, {sum(map(len, found[0])):,} samples a channel")
    fields = ("features", "predictions", "activities", "values")
    return [
        Samples(*(np.concatenate([getattr(s, field) for s in place]) for field in fields)) for place in found
    ]


# -- the loop -----------------------------------------------------------------------------------------------


def make_networks(recipe: RasterRecipe) -> nn.ModuleDict:
    """A network for each of KINDS."""
    return nn.ModuleDict(
        {name: RasterNetwork(context.feature_counts(channels)[c], recipe) for name, channels, c in KINDS}
    )


@torch.inference_mode()
def validate(networks: nn.ModuleDict, samples: Sequence[Samples], device: torch.device) -> dict[str, float]:
    """Mean bits of a value, for each network."""
    result = {}
    for (name, _, _), s in zip(KINDS, samples, strict=True):
        total = 0.0
        for start in range(0, len(s), 65536):
            x, p, unit, value = s.batch(slice(start, start + 65536), device)
            total += float(rate_bits(networks[name](x), p, unit, value).sum())
        result[name] = total / len(s)
    return result


def train(
    data: Sequence[Path],
    out: Path,
    recipe: RasterRecipe,
    device_name: str,
    files: tuple[list[Path], list[Path]] | None = None,
) -> Path:
    """Train until `recipe.steps`, resuming from `out`/checkpoint.pt if it is there; returns its path.

    data: folders of photos; every 40th file is kept for validation. files: these two lists, where they are known.
    Raises InputError without photos, TrainingError for what cannot be run, OutputError where it cannot be written.
    """
    device = check_device(device_name)
    learned, held_out = files or split_files(image_files(data))
    make_folder(out)
    torch.manual_seed(recipe.seed)
    networks, average = make_networks(recipe).to(device), make_networks(recipe).to(device)
    average.load_state_dict(networks.state_dict())
    optimiser = torch.optim.Adam(networks.parameters(), lr=recipe.lr, fused=True)
    parts = {"networks": networks, "average": average, "optimiser": optimiser}
    facts = {"recipe": asdict(recipe)}
    run = Run(out, device, recipe, parts, facts=facts)
    step = run.resume()
    names = [Path(folder).resolve().name for folder in data]
    record_phase(out / "recipe.json", recipe, None, names, step, photos=len(learned))
    validation = collect_files(held_out, recipe, "validation")
    training = collect_files(learned, recipe, "training")
    if min(map(len, training)) == 0 or min(map(len, validation)) == 0:
        raise TrainingError("the photos are too small to train on: add larger ones")
    rng = np.random.default_rng([recipe.seed, step])
    for step in run.steps(lambda: (validate(average, validation, device), None)):
        rate = recipe.lr * min(1, (step + 1) / recipe.warmup) * half_cosine(step, recipe.steps)
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        loss_bits = 0.0
        for (name, _, _), samples in zip(KINDS, training, strict=True):
            x, p, unit, value = samples.batch(rng.integers(0, len(samples), recipe.batch), device)
            loss = rate_bits(networks[name](x), p, unit, value).mean()
            loss.backward()
            loss_bits += float(loss.detach()) / len(KINDS)
        optimiser.step()
        follow(average, networks, recipe.ema, step)
        run.log(bits=loss_bits)
    return run.checkpoint.path


def run(inputs: LosslessInputs, out: Path, recipe: RasterRecipe, sizes: dict[str, Any], device: str) -> None:
    """What `obverse train image-lossless` does before it exports."""
    train(inputs.data, out, recipe, device, inputs.files)
