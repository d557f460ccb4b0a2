"""Train the image codec: `obverse train image --data DIR --out DIR`.

One loop, read top to bottom: draw patches and qualities, minimise rate + lambda * distortion (Balle et
al., ICLR 2018, eq. 4), checkpoint. A run killed at any moment resumes from its last checkpoint with
the same random numbers as if it had not been.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from obverse.codecs.image.judges import distortion
from obverse.codecs.image.model import ImageModel, lmbda_of
from obverse.codecs.image.quality import LMBDA_MAX, LMBDA_MIN
from obverse.codecs.image.recipe import ImageInputs, ImageModelConfig, ImageRecipe
from obverse.codecs.image.transform import block_statistics
from obverse.codecs.image.warm_start import warm_start
from obverse.container.files import make_folder
from obverse.data.patches import PatchSampler, central_crop, open_rgb, split_sets
from obverse.errors import InputError, TrainingError
from obverse.metrics.distortion import MS_SSIM_MIN_SIDE
from obverse.training.log import log
from obverse.training.phases import record_phase
from obverse.training.progress import validations
from obverse.training.run import Run, check_device, follow
from obverse.training.schedule import warm_up_stay_fall
from obverse.zoo import StoredModel, stored_model


def sample_quality(batch: int, rng: np.random.Generator) -> Tensor:
    """One quality for each sample of a batch, stratified over [0, 1]."""
    t = (rng.permutation(batch) + rng.random(batch)) / batch
    return torch.from_numpy(t.astype(np.float32))


def loss_of(
    out: dict[str, Tensor], x: Tensor, t: Tensor, tune: str = "psnr"
) -> tuple[Tensor, dict[str, float]]:
    """Mean over the batch of (bpp + lambda distortion) / sqrt(lambda), so that no quality dominates."""
    pixels = x.shape[2] * x.shape[3]
    bpp = (out["y_bits"] + out["z_bits"]) / pixels
    mse = (out["x_hat"].float() - x).pow(2).mean(dim=(1, 2, 3))
    lmbda = lmbda_of(t)
    weight = torch.sqrt(math.sqrt(LMBDA_MIN * LMBDA_MAX) / lmbda)
    loss = ((bpp + lmbda * distortion(tune, x, out["x_hat"], t)) * weight).mean()
    return loss, {
        "loss": loss.item(),
        "bpp": bpp.mean().item(),
        "z_bpp": (out["z_bits"] / pixels).mean().item(),
        "psnr": (-10 * torch.log10(mse.detach().clamp(min=1e-8))).mean().item(),
    }


def to_tensor(batch: np.ndarray, device: torch.device) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float in [0, 1], channels_last."""
    return torch.from_numpy(batch).to(device).permute(0, 3, 1, 2).float().div_(255)


def validation_crops(files: Sequence[Path]) -> list[np.ndarray]:
    """The middle of each image, at most 384 pixels a side, (H, W, 3) uint8.

    Those that have less than 64 pixels a side are left out.

    Raises:
        InputError: where none is left.
    """
    crops = [central_crop(np.asarray(open_rgb(path)), 384) for path in files]
    large = [crop for crop in crops if crop.size]
    if not large:
        raise InputError(
            f"no image that is kept for validation has 64 pixels a side, as {files[0]}: give larger ones "
            "(--validation), or keep others (--hold-out)"
        )
    if len(large) < len(crops):
        log(f"{len(crops) - len(large)} images of less than 64 pixels a side are not validated on")
    return large


@torch.no_grad()
def validate(
    model: ImageModel, images: Sequence[np.ndarray], device: torch.device, tune: str = "psnr"
) -> list[dict[str, float]]:
    """Mean bpp and PSNR (dB) at five qualities, rounded latents, estimated rates."""
    model.eval()
    rows = []
    for quality in (0.1, 0.3, 0.5, 0.7, 0.9):
        bpp, psnr, loss = [], [], []
        for image in images:
            x = to_tensor(image[None], device)
            out = model(x, torch.tensor([quality], device=device))
            shown = {**out, "x_hat": out["x_hat"].clamp(0, 1)}
            _, values = loss_of(shown, x, torch.tensor([quality], device=device), tune)
            bpp.append(values["bpp"])
            psnr.append(values["psnr"])
            loss.append(values["loss"])
        rows.append(
            {
                "t": quality,
                "bpp": float(np.mean(bpp)),
                "psnr": float(np.mean(psnr)),
                "loss": float(np.mean(loss)),
            }
        )
    model.train()
    return rows


def parameter_groups(model: ImageModel, recipe: ImageRecipe) -> list[dict[str, object]]:
    """Each group's lr is `scale` times the recipe's: less for the block transform, which starts close to
    its optimum, more for the table indices of z, which count in steps of 13 %. What is kept is in none."""
    groups: dict[float, list[torch.nn.Parameter]] = {1.0: [], recipe.linear_lr: [], recipe.index_lr: []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name.split(".")[1] in {"dct", "merge", "split", "idct"}:
            groups[recipe.linear_lr].append(parameter)
        else:
            groups[recipe.index_lr if "z_index" in name else 1.0].append(parameter)
    return [{"params": parameters, "scale": scale} for scale, parameters in groups.items() if parameters]


def keep_decoder(model: ImageModel) -> None:
    """Leave what decoders run as it is: the prior, but for the analysis, the synthesis and its gains."""
    keep_prior(model)
    model.synthesis.requires_grad_(False)
    model.log_inverse_gain.requires_grad_(False)


def keep_prior(model: ImageModel) -> None:
    """Leave what a tune shares with its model as it is: the prior, but for the analysis that only encoders run."""
    model.prior.requires_grad_(False)
    model.prior.analysis.requires_grad_(True)


def plot_validation(out: Path) -> None:
    """`out`/validation.png: validation loss over the steps, and the last rate-distortion curve."""
    from matplotlib.figure import Figure

    lines = validations(out, "rows")
    if not lines:
        return
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(
        [line["step"] for line in lines], [np.mean([r["loss"] for r in line["rows"]]) for line in lines]
    )
    left.set(xlabel="training step", ylabel="validation loss")
    for line in (lines[0], lines[-1]):
        rows = line["rows"]
        right.plot([r["bpp"] for r in rows], [r["psnr"] for r in rows], "o-", label=f"step {line['step']}")
    right.set(xlabel="bits per pixel (estimated)", ylabel="PSNR (dB)")
    right.legend()
    figure.savefig(out / "validation.png", dpi=100)


def train(
    data: Sequence[Path],
    out: Path,
    recipe: ImageRecipe,
    config: ImageModelConfig,
    device_name: str,
    validation: Sequence[Path] = (),
    start: StoredModel | None = None,
    tune_of: StoredModel | None = None,
    encoder_of: StoredModel | None = None,
) -> Path:
    """Train until `recipe.steps`, resuming from `out`/checkpoint.pt if it is there; returns its path.

    device_name: "cpu" or "cuda". validation: folders of which some images are kept, as `split_sets` says. start: the
    model whose weights a new run begins with; tune_of: likewise, without start, and its prior is kept; encoder_of:
    likewise, and all that decoders run is kept.

    Raises InputError without images, TrainingError for what cannot be run.
    """
    device = check_device(device_name)
    if recipe.tune == "ssim" and recipe.patch <= MS_SSIM_MIN_SIDE:
        raise TrainingError(
            f"MS-SSIM is measured above {MS_SSIM_MIN_SIDE} pixels: a patch of {recipe.patch} is too small"
        )
    make_folder(out)
    torch.manual_seed(recipe.seed)
    training, kept = split_sets(data, validation, recipe.hold_out)
    files = [path for files in training for path in files]
    sets = [which for which, files in enumerate(training) for _ in files] if recipe.by_set else None
    sampler = PatchSampler(files, recipe.patch, recipe.seed, lambda i, n: None, sets, recipe.scale_low)
    crops = validation_crops(kept)
    log(f"{len(files)} images to train on, {len(crops)} to validate")

    model = ImageModel(config).to(device, memory_format=torch.channels_last)
    average = ImageModel(config).to(device, memory_format=torch.channels_last)
    if tune_of is not None:
        keep_prior(model)
    if encoder_of is not None:
        keep_decoder(model)
    optimiser = torch.optim.Adam(parameter_groups(model, recipe), fused=True)
    parts = {"model": model, "average": average, "optimiser": optimiser}
    sizes = {"config": config.as_dict()}
    run = Run(out, device, recipe, parts, {"sampler": sampler.rng}, sizes)
    step = run.resume()
    source = start or tune_of or encoder_of
    if step == 0:
        statistics = block_statistics(to_tensor(sampler.batch(1024), torch.device("cpu")))
        model.analysis.initialise(*statistics)
        model.synthesis.initialise(*statistics)
        if source is not None:
            warm_start(model, source)
        average.load_state_dict(model.state_dict())
    names = [Path(folder).resolve().name for folder in data]
    facts: dict[str, object] = {"validation": [f"{path.parent.name}/{path.name}" for path in kept]}
    if start is not None:
        facts |= {"warm_start": start.fingerprint.hex()}
    if tune_of is not None:
        facts |= {"tune_of": tune_of.fingerprint.hex()}
    if encoder_of is not None:
        facts |= {"encoder_of": encoder_of.fingerprint.hex()}
    record_phase(out / "recipe.json", recipe, config, names, step, **facts)
    model.train()

    def validation_row() -> tuple[dict[str, object], str]:
        rows = validate(average, crops, device, recipe.tune)
        points = "  ".join(f"{r['bpp']:.3f} bpp {r['psnr']:.2f} dB" for r in rows)
        return {"rows": rows}, f"{points}  loss {np.mean([r['loss'] for r in rows]):.4f}"

    for step in run.steps(validation_row, first=source is not None):
        rate = warm_up_stay_fall(recipe, step)
        for group in optimiser.param_groups:
            group["lr"] = rate * group["scale"]
        x = to_tensor(sampler.batch(recipe.batch), device)
        t = sample_quality(recipe.batch, sampler.rng).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=recipe.bf16):
            result = model(x, t)
        loss, values = loss_of(result, x, t, recipe.tune)
        optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        if torch.isfinite(norm):
            optimiser.step()
        follow(average, model, recipe.ema, step)
        run.log(f" lr {rate:.2e}", **values, norm=float(norm))
    plot_validation(out)
    return run.checkpoint.path


def run(inputs: ImageInputs, out: Path, recipe: ImageRecipe, sizes: dict[str, Any], device: str) -> None:
    """What `obverse train image` does before it exports."""
    start = None if inputs.warm_start is None else stored_model(inputs.warm_start)
    base = None if inputs.tune_of is None else stored_model(inputs.tune_of)
    config = ImageModelConfig(**sizes)
    if base is not None:
        own = sizes_of(base)
        if config not in (own, ImageModelConfig()):
            raise TrainingError(f"a tune has the sizes of its model {base.name!r}: leave them out")
        if start is not None and start.config.get("base") != base.fingerprint.hex():
            raise TrainingError(
                f"{start.name!r} is no tune of {base.name!r}: begin with one, or with the model itself"
            )
        config = own
    encoder_of = None if inputs.encoder_of is None else stored_model(inputs.encoder_of)
    if encoder_of is not None:
        config = encoder_sizes(encoder_of, config)
        if base is not None or start is not None:
            raise TrainingError("give one of --encoder-of, --tune-of and --warm-start: each begins elsewhere")
    train(inputs.data, out, recipe, config, device, inputs.validation or [], start, base, encoder_of)


def encoder_sizes(base: StoredModel, wanted: ImageModelConfig) -> ImageModelConfig:
    """Those of an encoder for the decoder of `base`: of the analysis as wanted, of all else as they are.

    Raises TrainingError where others are wanted for what decoders run.
    """
    own = sizes_of(base)
    if wanted == ImageModelConfig():
        return own
    analysis = {name: value for name, value in asdict(wanted).items() if name.startswith("analysis_")}
    config = replace(own, **analysis)
    if wanted not in (config, ImageModelConfig(**analysis)):
        raise TrainingError(f"decoders of {base.name!r} have its sizes: give only those of the analysis")
    return config


def sizes_of(model: StoredModel) -> ImageModelConfig:
    """Of a stored model of the codec. Raises InputError for one of another."""
    try:
        return ImageModelConfig(**model.config["model"])
    except (KeyError, TypeError):
        raise InputError(f"the model {model.name!r} is not one of the image codec") from None
