"""From a checkpoint of `obverse train image-lossless` to the model that the codec reads.

The float networks become integers that are proven to stay exact; then photos that were kept for validation are
coded for real, and the card says what that came to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save
from torch import nn

from obverse.codecs.image_lossless.network import W_BITS, Networks, checked
from obverse.codecs.image_lossless.raster import RasterModel
from obverse.codecs.image_lossless.recipe import LosslessInputs, RasterRecipe
from obverse.codecs.image_lossless.train import KINDS, make_networks
from obverse.data.patches import image_files, open_rgb, split_files
from obverse.errors import TrainingError
from obverse.training.checkpoint import steps_of
from obverse.training.export import store_trained
from obverse.training.log import log
from obverse.training.phases import recorded_phases
from obverse.zoo import StoredModel

MAX_BYTES = 4_000_000


def exact_networks(networks: nn.ModuleDict) -> Networks:
    """Float networks as integers, proven to stay exact. Raises ExportError."""
    layers: dict[str, list[np.ndarray]] = {name: [] for name in Networks._fields}
    widest = max(network.one.in_features for network in networks.values())
    for name, _, _ in KINDS:
        network = networks[name]
        for field in ("one", "two", "out"):
            linear = getattr(network, field)
            weight = linear.weight.detach().cpu().double().numpy().T * 2.0**W_BITS
            bias = linear.bias.detach().cpu().double().numpy() * 2.0 ** (W_BITS + 5)
            if field == "one":
                weight = np.pad(weight, ((0, -(-widest // 8) * 8 - len(weight)), (0, 0)))
            if field == "out":  # the sums are floored after these shifts: to the nearest instead
                k = network.components
                bias = bias + np.concatenate([np.full(k, 2.0**10), np.zeros(k), np.full(k, 2.0**11)])
            layers[field].append(weight.round())
            layers[f"{field}_bias"].append(bias.round())
    return checked(Networks(**{k: np.ascontiguousarray(np.stack(v), np.float32) for k, v in layers.items()}))


def read_checkpoint(path: Path) -> tuple[nn.ModuleDict, dict[str, Any]]:
    """The averaged networks of a checkpoint, and the rest of it. Raises TrainingError."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        networks = make_networks(RasterRecipe(**state["recipe"]))
        networks.load_state_dict(state["average"])
        steps_of(state)
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise TrainingError(f"{path} is no checkpoint of image-lossless: {error}") from error
    return networks, state


def measure(model: RasterModel, files: Sequence[Path]) -> dict[str, float]:
    """Code the photos at half their size: real bits a value in colour and in gray, and PNG's and WebP's beside."""
    from io import BytesIO

    sums = dict.fromkeys(("colour", "gray", "png", "webp"), 0)
    values = 0
    for path in files:
        whole = open_rgb(path)
        half = whole.resize((max(1, whole.width // 2), max(1, whole.height // 2)), Image.Resampling.LANCZOS)
        planes = np.asarray(half).transpose(2, 0, 1)
        data = model.encode(planes)
        if not np.array_equal(model.decode(data, *planes.shape), planes):
            raise TrainingError(f"{path} does not come back as it was: the model cannot be used")
        sums["colour"] += len(data)
        sums["gray"] += len(model.encode(np.asarray(half.convert("L"))[None]))
        for kind, options in (("png", {"optimize": True}), ("webp", {"lossless": True, "method": 6})):
            buffer = BytesIO()
            half.save(buffer, kind, **options)
            sums[kind] += len(buffer.getvalue())
        values += planes.size
    return {name: 8 * total / (values / 3 if name == "gray" else values) for name, total in sums.items()}


def export_image_lossless(
    checkpoint: Path, data: Sequence[Path], out: Path, held_out: list[Path] | None = None
) -> StoredModel:
    """Write the model folder `out`. data: the folders that were trained on, for their validation photos, `held_out`."""
    networks, state = read_checkpoint(checkpoint)
    model = RasterModel(exact_networks(networks))
    held_out = split_files(image_files(data))[1] if held_out is None else held_out
    bits = measure(model, held_out)
    if not all(math.isfinite(b) for b in bits.values()):
        raise TrainingError("there are no photos to measure the model on")
    log("held-out photos at half size, bits a value: " + "  ".join(f"{k} {b:.4f}" for k, b in bits.items()))
    recipe = RasterRecipe(**state["recipe"])
    config = {
        "codec": "image-lossless",
        "features": {"colour": len(model.networks.one[0]), "hidden": [recipe.hidden, recipe.hidden2]},
        "components": recipe.components,
        "steps": state["step"],
    }
    return store_trained(
        out,
        save(model.state()),
        config,
        about="Distributions of pixels for the codec `image-lossless`: least squares over the neighbourhood, and for "
        f"each colour a network of {recipe.hidden} and {recipe.hidden2} hidden units that gives a mixture of "
        f"{recipe.components} logistics, integers when they run.",
        measured=[
            f"on {len(held_out)} photos of the training folders that were not trained on, halved in size, bits a value "
            f"(colour: a third of a pixel) from real messages: colour {bits['colour']:.4f}, gray {bits['gray']:.4f}; "
            f"beside it WebP lossless (method 6) {bits['webp']:.4f} and PNG {bits['png']:.4f} in colour"
        ],
        recipe=recorded_phases(checkpoint),
        parameters=sum(p.numel() for p in networks.parameters()),
        largest=MAX_BYTES,
    )


def export(inputs: LosslessInputs, checkpoint: Path, out: Path) -> dict[str, object]:
    """What `obverse export image-lossless` does."""
    model = export_image_lossless(checkpoint, inputs.data, out, inputs.files[1])
    return {"fingerprint": model.fingerprint.hex()}
