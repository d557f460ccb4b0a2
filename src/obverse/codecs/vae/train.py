"""Train the bits-back codec: `obverse train vae --data IMAGES --out DIR`.

Minimises the negative ELBO in bits a pixel (Kingma and Welling, "Auto-encoding variational Bayes", ICLR 2014), which
is the net rate that bits-back coding reaches:

    -log p(x|z) + log q(z|x) - log p(z),   z ~ q(z|x)

The weight of the latents' part rises to 1 over the first steps, so that the latents find something to say before the
pixels' networks learn to do without; for an upper layer later than for the first one. A run killed at any moment
resumes from its last checkpoint with the same random numbers as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from obverse.codecs.vae.images import read_gray_sets
from obverse.codecs.vae.networks import VaeNetworks
from obverse.codecs.vae.recipe import AS_IS, STOCHASTIC, VaeConfig, VaeInputs, VaeRecipe
from obverse.container.files import make_folder
from obverse.data.image_sets import Bytes
from obverse.errors import TrainingError, UnsupportedInputError
from obverse.training.log import log
from obverse.training.phases import record_phase
from obverse.training.run import Run, check_device, follow


def learning_rate(recipe: VaeRecipe, step: int) -> float:
    """Warm up, stay, and fall along half a cosine."""
    rate = recipe.lr * min(1.0, (step + 1) / recipe.warmup)
    left = (recipe.steps - step) / max(1.0, recipe.decay * recipe.steps)
    return rate * 0.5 * (1 - math.cos(math.pi * min(1.0, left)))


def kl_weights(recipe: VaeRecipe, step: int, layers: int) -> Tensor:
    """(layers,) weights of the latents' parts of the loss."""
    first = recipe.kl_start + (1 - recipe.kl_start) * step / recipe.kl_steps
    upper = recipe.upper_kl_start + (1 - recipe.upper_kl_start) * step / recipe.upper_kl_steps
    return torch.tensor([first] + [upper] * (layers - 1)).clamp(max=1.0)


def binarise(images: Bytes, rng: np.random.Generator) -> Bytes:
    """Each pixel 1 with the probability pixel / 255, else 0: how the binarised MNIST of the literature is made."""
    return (rng.random(images.shape) < images.astype(np.float64) / 255).astype(np.uint8)


def split(images: Bytes) -> tuple[Bytes, Bytes]:
    """Images to train on, and the last twentieth, at most 2000, to validate on."""
    held = min(2000, max(1, len(images) // 20))
    if len(images) < 100:
        raise TrainingError(f"{len(images)} images are too few to learn from: give at least 100")
    return images[:-held], images[-held:]


def draw(images: Bytes, recipe: VaeRecipe, rng: np.random.Generator) -> Bytes:
    """A batch: random images, moved and binarised as the recipe says."""
    batch = images[rng.integers(0, len(images), recipe.batch)]
    if recipe.shift:
        dy, dx = rng.integers(-recipe.shift, recipe.shift + 1, 2)
        moved = np.zeros_like(batch)
        height, width = batch.shape[1:]
        moved[:, max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = batch[
            :, max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)
        ]
        batch = moved
    return binarise(batch, rng) if recipe.binarise == STOCHASTIC else batch


def to_tensor(batch: Bytes, device: torch.device) -> Tensor:
    """(B, H, W) uint8 -> (B, 1, H, W) whole numbers as floats."""
    return torch.from_numpy(batch).to(device).unsqueeze(1).float()


@torch.no_grad()
def validate(model: VaeNetworks, images: Bytes, device: torch.device) -> dict[str, float]:
    """Negative ELBO and its parts in bits a pixel, in floats; the same posterior samples every time."""
    noise = torch.Generator(device).manual_seed(0)
    sums = np.zeros(1 + len(model.config.latents))
    for first in range(0, len(images), 200):
        out = model(to_tensor(images[first : first + 200], device), noise)
        sums += [float(out["pixels"].double().sum()), *out["kl"].double().sum(0).tolist()]
    parts = sums / images.size / math.log(2)
    names = ["pixels", *(f"z{i + 1}" for i in range(len(parts) - 1))]
    return {"elbo_bits": float(parts.sum())} | dict(zip(names, parts.tolist(), strict=True))


def check(recipe: VaeRecipe, config: VaeConfig, images: Bytes) -> None:
    """Raise TrainingError or UnsupportedInputError for what cannot be run here."""
    if recipe.shift >= min(config.height, config.width):
        raise TrainingError(f"images of {config.height}x{config.width} cannot be moved by {recipe.shift}")
    if images.shape[1:] != (config.height, config.width):
        raise UnsupportedInputError(
            f"the images are {images.shape[1:]}, the model is for {(config.height, config.width)}"
        )
    if recipe.binarise == STOCHASTIC and config.levels != 2:
        raise TrainingError("a model of binarised images has 2 levels")
    if recipe.binarise == AS_IS and int(images.max()) >= config.levels:
        raise UnsupportedInputError(
            f"pixels reach {images.max()}, a model of {config.levels} levels codes 0 to {config.levels - 1}: choose "
            "more levels, or binarise them"
        )


def train(
    data: Sequence[Path],
    out: Path,
    recipe: VaeRecipe,
    config: VaeConfig,
    device_name: str,
    images: Bytes | None = None,
) -> Path:
    """Train until `recipe.steps`, resuming from `out`/checkpoint.pt if it is there; returns its path.

    device_name: "cpu" or "cuda". images: of the data, where they have been read.
    Raises InputError for the data, TrainingError for what cannot be run.
    """
    images = read_gray_sets(data) if images is None else images
    check(recipe, config, images)
    device = check_device(device_name)
    make_folder(out)
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    training, validation = split(images)
    if recipe.binarise == STOCHASTIC:
        validation = binarise(validation, np.random.default_rng(0))
    log(f"{len(training)} images to train on, {len(validation)} to validate")

    model = VaeNetworks(config).to(device, memory_format=torch.channels_last)
    average = VaeNetworks(config).to(device, memory_format=torch.channels_last)
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.Adam(model.parameters(), recipe.lr, fused=True)
    parts = {"model": model, "average": average, "optimiser": optimiser}
    facts = {"config": config.as_dict()}
    run = Run(out, device, recipe, parts, {"rng": rng}, facts)
    step = run.resume()
    names = ["/".join(Path(source).resolve().parts[-2:]) for source in data]
    record_phase(out / "recipe.json", recipe, config, names, step, images=len(training))
    per_image = config.height * config.width * math.log(2)
    for step in run.steps(lambda: (validate(average, validation, device), None)):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step)
        weights = kl_weights(recipe, step, len(config.latents)).to(device)
        x = to_tensor(draw(training, recipe, rng), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            result = model(x)
        pixels, kl = result["pixels"].mean() / per_image, result["kl"].mean(0) / per_image
        loss = pixels + (weights * kl).sum()
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        if torch.isfinite(norm):
            optimiser.step()
        follow(average, model, recipe.ema, step)
        layers = {f"z{i + 1}": value for i, value in enumerate(kl.tolist())}
        run.log(pixels=pixels.item(), norm=norm.item(), **layers)
    return run.checkpoint.path


def run(inputs: VaeInputs, out: Path, recipe: VaeRecipe, sizes: dict[str, Any], device: str) -> None:
    """What `obverse train vae` does before it exports: binary images have one bit a pixel."""
    height, width = inputs.images.shape[1:]
    if recipe.binarise == STOCHASTIC:
        sizes = {"levels": 2} | sizes
    if sizes.get("levels") == 2:
        sizes = {"components": 1} | sizes
    train(inputs.data, out, recipe, VaeConfig(height, width, **sizes), device, inputs.images)
