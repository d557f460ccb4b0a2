"""Train the integer flow: `obverse train flow --data IMAGES --out DIR`.

One loop: draw images, minimise their bits under flow and prior, checkpoint. A run killed at any moment resumes from
its last checkpoint with the same random numbers as if it had not been.

A flow of this size overfits some thousand images. Two things help: images are mirrored at random, and part of each
batch, less and less as training goes on, are 32x32 crops of photos scaled down by 2 to 6.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from obverse.codecs.flow.networks import IntegerFlow
from obverse.codecs.flow.recipe import FlowConfig, FlowInputs, FlowRecipe
from obverse.container.files import make_folder
from obverse.data.patches import image_files, open_rgb
from obverse.errors import InputError, TrainingError
from obverse.training.log import log
from obverse.training.phases import record_phase
from obverse.training.run import Run, check_device, follow
from obverse.training.schedule import warm_up_stay_fall

SIDE = 32


def photo_crops(files: Sequence[Path], each: int, seed: int) -> np.ndarray:
    """(n, 32, 32, 3) uint8: `each` crops of every photo, at 5 scales drawn from 1/6 to 1/2.

    Raises InputError for a file that is no image.
    """
    rng = np.random.default_rng(seed)
    crops = []
    for path in files:
        photo = open_rgb(path)
        smallest = max(SIDE / min(photo.size), 1 / 6)
        for i in range(5):
            factor = float(np.exp(rng.uniform(np.log(min(smallest, 1.0)), np.log(max(smallest, 0.5)))))
            size = [max(SIDE, round(side * factor)) for side in photo.size]
            kind = (Image.Resampling.LANCZOS, Image.Resampling.BICUBIC, Image.Resampling.BOX)[i % 3]
            small = np.asarray(photo.resize((size[0], size[1]), kind))
            for _ in range(max(1, each // 5)):
                top, left = (int(rng.integers(0, n - SIDE + 1)) for n in small.shape[:2])
                crops.append(small[top : top + SIDE, left : left + SIDE])
    return np.stack(crops) if crops else np.empty((0, SIDE, SIDE, 3), np.uint8)


class Batches:
    """Random batches: images in the order of a shuffle, photo crops at random, each mirrored or not."""

    def __init__(self, images: np.ndarray, photos: np.ndarray, recipe: FlowRecipe):
        self.images, self.photos, self.recipe = images, photos, recipe
        self.rng = np.random.default_rng(recipe.seed)
        self.order = np.empty(0, np.int64)

    def draw(self, step: int) -> np.ndarray:
        """(batch, 32, 32, 3) uint8."""
        recipe = self.recipe
        share = recipe.photo_share * max(0.0, 1 - step / recipe.steps) if len(self.photos) else 0.0
        from_photos = int(self.rng.binomial(recipe.batch, share))
        while len(self.order) < recipe.batch:
            self.order = np.concatenate([self.order, self.rng.permutation(len(self.images))])
        chosen, self.order = np.split(self.order, [recipe.batch - from_photos])
        batch = [self.images[chosen]]
        if from_photos:
            batch.append(self.photos[self.rng.integers(0, len(self.photos), from_photos)])
        x = np.concatenate(batch)
        mirror = self.rng.random(recipe.batch) < 0.5
        x[mirror] = x[mirror, :, ::-1]
        return x

    def state_dict(self) -> dict[str, Any]:
        """Where the shuffle and the random numbers are."""
        return {"rng": json.dumps(self.rng.bit_generator.state), "order": torch.from_numpy(self.order)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.rng.bit_generator.state = json.loads(state["rng"])
        self.order = state["order"].numpy()


def to_tensor(images: np.ndarray, device: torch.device) -> Tensor:
    """(B, 32, 32, 3) uint8 -> (B, 3, 32, 32) floats 0..255, channels_last."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()


@torch.no_grad()
def bits_per_dimension(model: IntegerFlow, images: np.ndarray, device: torch.device) -> float:
    """Mean over images, of the float networks."""
    bits = 0.0
    for first in range(0, len(images), 64):
        bits += float(model(to_tensor(images[first : first + 64], device)))
    return bits / max(1, images.size)


def parameter_groups(model: IntegerFlow, recipe: FlowRecipe) -> list[dict[str, Any]]:
    """Each group's lr is `scale` times the recipe's."""
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        scale = 1.0
        if name == "last":
            scale = recipe.last_lr
        elif ".linear." in name:
            scale = recipe.linear_lr
        elif name.startswith("levels."):
            scale = recipe.coupling_lr
        groups.setdefault(scale, []).append(parameter)
    return [{"params": parameters, "scale": scale} for scale, parameters in groups.items()]


def check(images: np.ndarray, recipe: FlowRecipe) -> None:
    """Raise InputError for images that cannot be trained on, TrainingError for a recipe that cannot be run."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (SIDE, SIDE, 3):
        raise InputError(
            f"the flow is trained on (n, 32, 32, 3) uint8 images, not {images.shape} {images.dtype}: scale or crop them"
        )
    if recipe.validation >= len(images):
        raise TrainingError(
            f"{len(images)} images are too few: {recipe.validation} of them are kept out for validation; "
            "give more, or keep fewer out"
        )


def train(
    images: np.ndarray,
    photos: Sequence[Path],
    out: Path,
    recipe: FlowRecipe,
    config: FlowConfig | None = None,
    device_name: str = "cpu",
) -> Path:
    """Train until `recipe.steps`, resuming from `out`/checkpoint.pt if it is there; returns its path.

    images: (n, 32, 32, 3) uint8. photos: folders of photos for more crops, or none. device_name: "cpu" or "cuda".
    Raises InputError for images that do not fit, TrainingError for what cannot be run, OutputError.
    """
    config = config or FlowConfig()
    check(images, recipe)
    device = check_device(device_name)
    make_folder(out)
    torch.manual_seed(recipe.seed)
    training, held_out = images[: -recipe.validation], images[-recipe.validation :]
    crops = photo_crops(image_files(photos) if photos else [], recipe.photo_crops, recipe.seed)
    batches = Batches(training, crops, recipe)
    log(f"{len(training)} images and {len(crops)} crops of photos to train on, {len(held_out)} to validate")

    def network() -> IntegerFlow:
        return IntegerFlow(config).to(device, memory_format=torch.channels_last)

    model, average = network(), network()
    optimiser = torch.optim.Adam(parameter_groups(model, recipe), fused=True)
    parts = {"model": model, "average": average, "optimiser": optimiser, "batches": batches}
    facts = {"config": config.as_dict()}
    run = Run(out, device, recipe, parts, facts=facts)
    average.load_state_dict(model.state_dict())
    step = run.resume()
    counts = {"images": len(training), "photo_crops": len(crops)}
    record_phase(out / "recipe.json", recipe, config, counts, step)
    for step in run.steps(
        lambda: ({"bits_per_dimension": bits_per_dimension(average, held_out, device)}, None)
    ):
        for group in optimiser.param_groups:
            group["lr"] = warm_up_stay_fall(recipe, step) * group["scale"]
        x = to_tensor(batches.draw(step), device)
        loss = model.bits_per_dimension(x, recipe.bf16)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        if torch.isfinite(norm):
            optimiser.step()
        follow(average, model, recipe.ema, step)
        run.log(bits_per_dimension=loss.item(), norm=norm.item())
    return run.checkpoint.path


def run(inputs: FlowInputs, out: Path, recipe: FlowRecipe, sizes: dict[str, Any], device: str) -> None:
    """What `obverse train flow` does before it exports."""
    images = inputs.images
    train(images, inputs.photos or [], out, recipe, FlowConfig(**sizes), device)
