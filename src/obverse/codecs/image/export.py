"""From a training checkpoint to the model that ships: `obverse export`.

Quantises what the decoder parses with to exact networks, packs the rest, builds the Gaussian tables once,
and measures what the exactness costs on the validation images of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor

from obverse.codecs.image.exact_prior import ExactFourStep, export_exact
from obverse.codecs.image.latents import FRACTION, LEVELS, Z_MAX
from obverse.codecs.image.model import ImageModel
from obverse.codecs.image.networks import ImageNetworks, as_tensors, pack_weights
from obverse.codecs.image.prior import take_slice
from obverse.codecs.image.recipe import ImageInputs, ImageModelConfig, ImageRecipe
from obverse.codecs.image.scales import SCALES, scale
from obverse.codecs.image.weights import SHARED, weight_groups
from obverse.coding import TableFamily
from obverse.data.patches import central_crop, open_rgb, split_sets
from obverse.training.checkpoint import reading, steps_of
from obverse.training.export import store_trained
from obverse.training.log import log
from obverse.training.phases import recorded_phases
from obverse.zoo import StoredModel, stored_model

TABLE_PRECISION = 24
MAX_BYTES = 8_000_000


def load_checkpoint(path: Path) -> tuple[ImageModel, int]:
    """The averaged model of a checkpoint and its number of training steps."""
    with reading(path, "the image codec"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = ImageModel(ImageModelConfig(**state["config"]))
        model.load_state_dict(state["average"])
        steps = steps_of(state)
    return model.eval(), steps


@torch.no_grad()
def calibration_samples(
    model: ImageModel,
    files: Sequence[Path],
    progress: Callable[[int, int], None],
    quality: float | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """Gained latents of central crops, with their quality in [0, 1]: the one given, or spread over the range."""
    samples = []
    for i, path in enumerate(files):
        image = np.asarray(open_rgb(path))
        x = torch.from_numpy(central_crop(image, 512)).permute(2, 0, 1)[None].float() / 255
        t = torch.tensor([(i + 0.5) / len(files) if quality is None else quality])
        samples.append((model.analysis(x, t) * torch.exp(model.log_gain(t)), t))
        progress(i + 1, len(files))
    return samples


def export_image(
    checkpoint: Path,
    data: Sequence[Path],
    out: Path,
    progress: Callable[[int, int], None] = lambda i, n: None,
    validation: Sequence[Path] = (),
    base: StoredModel | None = None,
    encoder_of: StoredModel | None = None,
) -> dict[str, object]:
    """Write `out`/model.safetensors.xz, config.json and card.md; returns its fingerprint and what its card says.

    data: folders of training images, to calibrate activation ranges on; validation: those given to the training.
    base: the model that the run tunes, whose prior and tables are not stored again. encoder_of: the model whose decoder
    the run kept: it is stored as it is there, to the last bit.
    Images kept for validation are left out of the one and measured on, as the recipe says which.
    Raises ExportError when a layer cannot be proven exact or the result is larger than 8 MB.
    """
    model, steps = load_checkpoint(checkpoint)
    phases = recorded_phases(checkpoint)
    sets, kept = split_sets(data, validation, phases[-1]["recipe"].get("hold_out", ImageRecipe.hold_out))
    training = [path for files in sets for path in files]
    chosen = training[:: max(1, len(training) // 48)][:48]
    of = base or encoder_of
    if of is None:
        prior = export_exact(model.prior, calibration_samples(model, chosen, progress))
        tables = TableFamily.gaussian([scale(i) for i in range(SCALES)], precision=TABLE_PRECISION)
    else:
        networks = ImageNetworks.load(of)
        prior, tables = networks.prior, networks.tables
    groups: dict[str, dict[str, Tensor]] = {
        "analysis": pack_weights(model.analysis.state_dict()),
        "hyper_analysis": pack_weights(model.prior.analysis.state_dict()),
        "gains": pack_weights(
            {k: v for k, v in model.state_dict().items() if k.startswith(("log_gain", "log_inverse_gain"))}
        ),
    }
    if encoder_of is not None:
        parts = {name: as_tensors(part) for name, part in weight_groups(encoder_of).items()}
        groups |= {name: parts[name] for name in ("synthesis", *SHARED)}
        groups["gains"] |= {k: v for k, v in parts["gains"].items() if k.startswith("log_inverse_gain")}
    else:
        groups["synthesis"] = pack_weights(model.synthesis.state_dict())
    if of is None:
        groups["prior"] = prior.export_state()
        groups["tables"] = {
            key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in tables.state().items()
        }
    flat = {f"{group}/{name}": value for group, part in groups.items() for name, value in part.items()}
    weights = save_safetensors(flat)
    config = {"codec": "image", "model": model.config.as_dict(), "steps": steps}
    about = "Photos, lossy, any rate. Mean-scale hyperprior with four-step context over a learned block transform."
    if base is not None:
        config |= {"base": base.fingerprint.hex(), "tune": phases[-1]["recipe"]["tune"]}
        about = f"Photos, lossy, any rate: {base.name} tuned for {config['tune']}, with its prior and tables."
    if encoder_of is not None:
        config |= {"decoder": encoder_of.fingerprint.hex()}
        about += f" The decoder is that of model {encoder_of.fingerprint.hex()}, whose files these are."
    cost = exactness_cost(model, prior, tables, kept[:: max(1, len(kept) // 6)][:6])
    stored = store_trained(
        out,
        weights,
        config,
        about=about,
        measured=[f"rate lost by exact integer networks, per cent: {cost}"],
        recipe=phases,
        parameters=sum(p.numel() for p in model.parameters()),
        largest=MAX_BYTES,
    )
    return {"fingerprint": stored.fingerprint.hex(), "steps": steps, "exactness_cost": cost, "phases": phases}


def export(inputs: ImageInputs, checkpoint: Path, out: Path) -> dict[str, object]:
    """What `obverse export image` does."""
    return export_image(
        checkpoint,
        inputs.data,
        out,
        lambda i, n: log(f"calibrating: {i} of {n} photos") if i % 8 == 0 else None,
        inputs.validation or [],
        None if inputs.tune_of is None else stored_model(inputs.tune_of),
        None if inputs.encoder_of is None else stored_model(inputs.encoder_of),
    )


@torch.no_grad()
def exactness_cost(
    model: ImageModel, prior: ExactFourStep, tables: TableFamily, files: Sequence[Path]
) -> dict[str, float]:
    """By how many per cent the latents' rate under the exact prior exceeds that of the float prior with
    unquantised scales, at three qualities, on validation images."""
    cost = {}
    for level in (LEVELS // 10, LEVELS // 2, LEVELS * 9 // 10):
        exact_bits = float_bits = 0.0
        for y, t in calibration_samples(model, files, lambda i, n: None, level / LEVELS):
            float_bits += float(model.prior(y, t)[1])
            z = model.prior.analysis(y).round().clamp(-Z_MAX, Z_MAX)

            def coder(k: int, mean: Tensor, index: Tensor, y: Tensor = y) -> Tensor:
                nonlocal exact_bits
                residual = (take_slice(y, k)[0] - mean / FRACTION).round().to(torch.int32)
                exact_bits += float(tables.bits(residual.numpy(), index.numpy()).sum())
                return residual

            prior.run(z, level, coder)
        cost[f"quality {1 + level / 20:g}"] = round(100 * (exact_bits / float_bits - 1), 2)
    return cost
