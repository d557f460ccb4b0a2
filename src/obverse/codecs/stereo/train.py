"""Train the stereo codec's fusion network: `obverse train stereo --data DIR --out DIR`.

The image codec stays as it is: its files are what the stereo codec writes. What is learned is how the decoder
uses the left view. The right views are therefore coded once, at several qualities, and kept beside the
checkpoint; a step then costs the fusion network alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from obverse.codecs.image.train import to_tensor
from obverse.codecs.stereo.codec import image_decoder
from obverse.codecs.stereo.crops import (
    Bytes,
    Crops,
    CropSampler,
    Decode,
    key_of,
    load_scenes,
    photo_files,
    real_scenes,
    save_scenes,
    synthetic_scenes,
)
from obverse.codecs.stereo.fusion import Fused, StereoFusion, correlate_rows
from obverse.codecs.stereo.pairs import PairFiles, pair_files, read_pair
from obverse.codecs.stereo.recipe import CELL, StereoConfig, StereoInputs, StereoRecipe
from obverse.container.files import make_folder
from obverse.errors import InputError
from obverse.training.log import log
from obverse.training.phases import record_phase
from obverse.training.run import Run, check_device, follow
from obverse.training.schedule import warm_up_stay_fall
from obverse.transforms.blocks import space_to_depth

QUALITIES = (1.0, 3.0, 6.0, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 52.0, 70.0, 90.0)
VALIDATION_QUALITIES = (1.0, 10.0, 20.0, 30.0, 52.0)


def to_unit(quality: np.ndarray) -> Tensor:
    """Quality 1 to 100 -> [0, 1], as the networks take it."""
    return torch.from_numpy((quality.astype(np.float32) - 1) / 99)


def matching_cost(right: Tensor, left: Tensor, disparities: int) -> Tensor:
    """How badly each disparity explains the original right view: (B, D, H/4, W/4), 0 where it does not matter.

    Squared differences of 2x2 means within cells of four pixels, over a neighbourhood of 3x3 cells, each cut
    off at what a wrong match typically gives, and less the least of all disparities.
    """
    cells = [
        space_to_depth(F.avg_pool2d(view.mean(1, keepdim=True), 2), CELL // 2) - 0.5 for view in (right, left)
    ]
    energy = [cell.pow(2).sum(1, keepdim=True) for cell in cells]
    ones = torch.ones_like(energy[0])
    cost = energy[0] + correlate_rows(ones, energy[1], disparities) - 2 * correlate_rows(*cells, disparities)
    # beyond the end of the left view there is nothing to match
    outside = correlate_rows(ones, torch.ones_like(energy[1]), disparities) == 0
    cost = cost.masked_fill(outside, 0.04).clamp(0, 0.04)
    cost = F.avg_pool2d(cost, 3, 1, 1, count_include_pad=False)
    return cost - cost.amin(dim=1, keepdim=True)


def loss_of(
    out: Fused, x: Tensor, right: Tensor, left: Tensor, recipe: StereoRecipe
) -> tuple[Tensor, dict[str, float]]:
    """Squared error relative to that of the decoded view, so that no quality and no image dominates, plus two
    guides for the alignment: the warped left view's absolute error, and the mean matching cost under the attention."""
    before = (x - right).pow(2).mean(dim=(1, 2, 3))
    after = (out.x - right).pow(2).mean(dim=(1, 2, 3))
    reference = before.clamp(min=0.25 * float(before.mean())).clamp(min=2e-6)
    main = (after / reference).mean()
    warped = ((out.aligned - right).abs().clamp(max=0.3).mean(dim=(1, 2, 3)) / reference.sqrt()).mean()
    cost = matching_cost(right, left, out.attention.shape[1])
    match = (out.attention * cost).sum(1).mean() / 0.005
    loss = main + recipe.warp_weight * warped + recipe.match_weight * match
    gain = -10 * torch.log10(after.detach() / before.clamp(min=1e-8))
    return loss, {
        "loss": loss.item(),
        "main": main.item(),
        "warped": warped.item(),
        "match": match.item(),
        "gain": gain.mean().item(),
    }


def prepare(
    data: Sequence[Path], out: Path, recipe: StereoRecipe, decode: Decode
) -> tuple[CropSampler, list[PairFiles]]:
    """The sampler, and the pair kept for validation: the last one that may be trained on.

    Coding the right views takes a few minutes; `out`/scenes.npz keeps them for a resumed run. They are made anew where
    the files of the data, or what is made of them, are others.
    """
    pairs = []
    for folder in data:
        if not Path(folder).is_dir():
            raise InputError(f"there is no folder {folder}")
        if any(Path(folder).rglob("*_left.*")):
            found = pair_files([folder])
            pairs += found[: len(found) - recipe.keep_out]
    if len(pairs) < 2:
        raise InputError("training needs at least two stereo pairs: one of them is kept for validation")
    cache = out / "scenes.npz"
    photos = photo_files(data) if recipe.synthetic else []
    views = [view for files in pairs[:-1] for view in (files.left, files.right)]
    key = key_of([*views, *photos], len(views), QUALITIES, recipe.synthetic, recipe.seed)
    scenes = load_scenes(cache, key) if cache.exists() else None
    if scenes is None:
        scenes = real_scenes(pairs[:-1], QUALITIES, decode)
        log(f"{len(pairs) - 1} pairs coded")
        if photos:
            rng = np.random.default_rng(recipe.seed)
            scenes += synthetic_scenes(photos, recipe.synthetic, QUALITIES, decode, rng)
        save_scenes(scenes, cache, key)
    log(f"{sum(not s.synthetic for s in scenes)} scenes, {sum(s.synthetic for s in scenes)} synthetic ones")
    return CropSampler(scenes, recipe.height, recipe.width, recipe.margin, recipe.seed), pairs[-1:]


@torch.no_grad()
def validate(
    model: StereoFusion, pairs: Sequence[PairFiles], decode: Decode, device: torch.device
) -> list[dict[str, float]]:
    """PSNR in dB before and after fusion, mean over the pairs, at each of VALIDATION_QUALITIES."""
    model.eval()
    rows = []
    for quality in VALIDATION_QUALITIES:
        before, after, warped = [], [], []
        for files in pairs:
            left, right = read_pair(files)
            height, width = (length // 8 * 8 for length in right.shape[:2])
            views: list[Bytes] = [decode(right, quality), right, left]
            views = [v if v.ndim == 3 else np.repeat(v[:, :, None], 3, 2) for v in views]
            x, target, y = (to_tensor(v[None, :height, :width], device) for v in views)
            out = model(x, y, to_unit(np.array([quality])).to(device))
            for values, image in ((before, x), (after, out.x.clamp(0, 1)), (warped, out.aligned)):
                values.append(float(-10 * torch.log10((image - target).pow(2).mean())))
        rows.append(
            {
                "quality": quality,
                "before": float(np.mean(before)),
                "after": float(np.mean(after)),
                "warped": float(np.mean(warped)),
            }
        )
    model.train()
    return rows


def tensors(crops: Crops, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    x, right, left = (to_tensor(a, device) for a in (crops.x, crops.right, crops.left))
    return x, right, left, to_unit(crops.quality).to(device)


def train(
    data: Sequence[Path],
    out: Path,
    recipe: StereoRecipe,
    config: StereoConfig,
    decode: Decode,
    device_name: str,
) -> Path:
    """Train until `recipe.steps`, resuming from `out`/checkpoint.pt if it is there; returns its path.

    data: folders of stereo pairs and of photos, told apart by their names. decode: the image codec (the
    training knows no codec). Raises InputError without pairs, TrainingError for what cannot be run.
    """
    device = check_device(device_name)
    make_folder(out)
    torch.manual_seed(recipe.seed)
    sampler, validation = prepare(data, out, recipe, decode)
    model = StereoFusion(config).to(device, memory_format=torch.channels_last)
    average = StereoFusion(config).to(device, memory_format=torch.channels_last)
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.Adam(model.parameters(), lr=recipe.lr, fused=True)
    parts = {"model": model, "average": average, "optimiser": optimiser}
    facts = {"config": config.as_dict()}
    run = Run(out, device, recipe, parts, {"sampler": sampler.rng}, facts, every=50)
    names = [Path(folder).resolve().name for folder in data]
    record_phase(out / "recipe.json", recipe, config, names, run.resume())

    def validation_row() -> tuple[dict[str, object], str]:
        rows = validate(average, validation, decode, device)
        told = "  ".join(
            f"q{r['quality']:g} {r['before']:.2f} -> {r['after']:.2f} dB (warped {r['warped']:.2f})"
            for r in rows
        )
        return {"rows": rows}, told

    for step in run.steps(validation_row):
        rate = warm_up_stay_fall(recipe, step)
        for group in optimiser.param_groups:
            group["lr"] = rate
        share = 0.7 if step < recipe.beginning * recipe.steps else recipe.synthetic_share
        x, right, left, t = tensors(sampler.batch(recipe.batch, share), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            result = model(x, left, t)
        loss, values = loss_of(result, x, right, left, recipe)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        if torch.isfinite(norm):
            optimiser.step()
        follow(average, model, recipe.ema, step)
        run.log(**values, norm=float(norm))
    return run.checkpoint.path


def run(inputs: StereoInputs, out: Path, recipe: StereoRecipe, sizes: dict[str, Any], device: str) -> None:
    """What `obverse train stereo` does before it exports."""
    train(inputs.data, out, recipe, StereoConfig(**sizes), image_decoder(), device)
