"""Turn a training run of the bits-back codec into the model that ships: exact networks, integer tables, a card.

Quantises the averaged networks (`codecs/vae/exact_networks.py`), and measures on the validation images of the run what
that costs: the exact model's negative ELBO, and the real streams' net rate, beside the float networks' ELBO.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

from obverse.codecs.vae.codec import VaeCodec
from obverse.codecs.vae.exact_networks import quantise_vae
from obverse.codecs.vae.images import read_gray_sets
from obverse.codecs.vae.networks import VaeNetworks
from obverse.codecs.vae.recipe import STOCHASTIC, VaeConfig, VaeInputs, VaeRecipe
from obverse.codecs.vae.train import (
    binarise,
    split,
    to_tensor,
    validate,
)
from obverse.data.image_sets import Bytes
from obverse.errors import InputError
from obverse.training.checkpoint import reading, steps_of
from obverse.training.export import store_trained
from obverse.training.phases import recorded_phases
from obverse.zoo import StoredModel

MAX_BYTES = 4_000_000
CALIBRATION = 2000  # images that activation ranges are measured on


def load_checkpoint(path: Path) -> tuple[VaeNetworks, int]:
    """The averaged networks of a checkpoint and their number of training steps."""
    with reading(path, "the bits-back codec"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = VaeNetworks(VaeConfig.from_dict(state["config"]))
        model.load_state_dict(state["average"])
        steps = steps_of(state)
    return model.eval().requires_grad_(False), steps


def prepared(images: Bytes, recipe: VaeRecipe) -> tuple[Bytes, Bytes]:
    """Training and validation images as the run saw them, the former with one drawing of their binarisation."""
    training, validation = split(images)
    if recipe.binarise == STOCHASTIC:
        rng = np.random.default_rng(0)
        return binarise(training[:CALIBRATION], rng), binarise(validation, np.random.default_rng(0))
    return training[:CALIBRATION], validation


def export_vae(
    checkpoint: Path,
    data: Sequence[Path],
    out: Path,
    largest: int = MAX_BYTES,
    images: Bytes | None = None,
) -> dict[str, object]:
    """Write the model's three files into `out`; returns its fingerprint and what its card says.

    data: the sets trained on. images: of the data, where they have been read.
    Raises ExportError when a layer cannot be proven exact or the model is larger than
    `largest` bytes, InputError without a checkpoint.
    """
    networks, steps = load_checkpoint(checkpoint)
    phases = recorded_phases(checkpoint)
    try:
        recipe = VaeRecipe(**phases[-1]["recipe"])
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"recipe.json beside {checkpoint} is not the recipe of this run: {error}") from error
    calibration, validation = prepared(read_gray_sets(data) if images is None else images, recipe)
    if validation.shape[1:] != (networks.config.height, networks.config.width):
        raise InputError(
            f"the images have shape {validation.shape[1:]}, those of the run had another: give its data"
        )
    exact = quantise_vae(networks, to_tensor(calibration, torch.device("cpu")))
    weights = save_safetensors(exact.export_state())
    config = {"codec": "vae", "model": networks.config.as_dict(), "binarise": recipe.binarise, "steps": steps}
    codec = VaeCodec(StoredModel("export", weights, config, b"\0" * 8))
    float_row = validate(networks, validation, torch.device("cpu"))
    report = codec.report(validation)
    net, elbo = (
        round(report.net_rate_bits, 4),
        round(float(codec.elbo(validation).sum()) / validation.size, 4),
    )
    initial = int(report.initial_bits / max(1, -(-len(validation) // 1000)))
    latents = {name: round(value, 4) for name, value in float_row.items() if name != "elbo_bits"}
    float_elbo = round(float_row["elbo_bits"], 4)
    stored = store_trained(
        out,
        weights,
        config,
        about="Sets of small gray images, lossless, by bits-back coding. Exact networks throughout.",
        measured=[
            f"on the {len(validation)} validation images of the run, bits a pixel: net rate of real streams {net}, "
            f"negative ELBO of the exact networks {elbo}, of the float networks {float_elbo}",
            f"parts of the float ELBO, bits a pixel: {json.dumps(latents)}",
            f"a chain of 1000 images needs about {initial} initial bits",
        ],
        recipe=phases,
        parameters=sum(p.numel() for p in networks.parameters()),
        largest=largest,
    )
    return {
        "fingerprint": stored.fingerprint.hex(),
        "steps": steps,
        "float ELBO": float_elbo,
        "exact ELBO": elbo,
        "net rate": net,
    }


def export(inputs: VaeInputs, checkpoint: Path, out: Path) -> dict[str, object]:
    """What `obverse export vae` does."""
    facts = export_vae(checkpoint, inputs.data, out, images=inputs.images)
    return facts | {"summary": f"{facts['net rate']} bits a pixel"}
