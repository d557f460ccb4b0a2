"""Turn a training run of an invariant compressor into a model that codes: networks, offsets, integer tables, a card.

The tables are made here once, in double precision, and are the truth for sender and receiver from then on.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors

from obverse.codecs.invariant.codec import state_of
from obverse.codecs.invariant.networks import InvariantNetworks
from obverse.codecs.invariant.recipe import InvariantConfig, InvariantInputs, InvariantRecipe
from obverse.codecs.invariant.sources import Source, sources_of
from obverse.codecs.invariant.train import validate
from obverse.errors import InputError
from obverse.training.checkpoint import reading, steps_of
from obverse.training.export import store_trained
from obverse.training.phases import recorded_phases
from obverse.zoo import StoredModel

MAX_BYTES = 16_000_000


def load_checkpoint(path: Path) -> tuple[InvariantNetworks, InvariantRecipe, int]:
    """The networks of a checkpoint, their recipe, and how many steps they were trained. Raises InputError."""
    with reading(path, "an invariant compressor"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        networks = InvariantNetworks(InvariantConfig.from_dict(state["config"]))
        networks.load_state_dict(state["networks"])
        recipe = InvariantRecipe(**state["recipe"])
        steps = steps_of(state)
    return networks.eval().requires_grad_(False), recipe, steps


@torch.no_grad()
def shorten(networks: InvariantNetworks) -> None:
    """Round the matrices of encoder and head to bfloat16, as training with it did in every step: half of the bytes."""
    for part in (networks.encoder, networks.head):
        for parameter in part.parameters():
            if parameter.dim() > 1:
                parameter.copy_(parameter.bfloat16())


def export_invariant(checkpoint: Path, held_out: Source, out: Path, largest: int = MAX_BYTES) -> StoredModel:
    """Write the model's three files into `out`; returns the model.

    held_out: what the rates on the card are measured on. Raises ExportError for a density that cannot be tabulated or
    a model of more than `largest` bytes, InputError without a checkpoint.
    """
    networks, recipe, steps = load_checkpoint(checkpoint)
    if held_out.shape != networks.config.shape:
        raise InputError(
            f"the items have shape {held_out.shape}, those of the run had another: give its data"
        )
    if recipe.bf16:
        shorten(networks)
    clusters, tables = networks.tables()
    decoder = networks.head if networks.config.decodes else None
    weights = save_safetensors(state_of(networks.encoder, decoder, networks.offset, tables, clusters))
    row = validate(networks, recipe, held_out, min(5000, max(2, len(held_out))))
    config = {
        "codec": "invariant",
        "model": networks.config.as_dict(),
        "objective": recipe.objective,
        "beta": recipe.beta,
        "steps": steps,
        "rate_bits": round(row["rate_bits"], 4),
    }
    return store_trained(
        out,
        weights,
        config,
        about="A code for tasks: what the views of an item share is kept, which view it was is not "
        f"(codecs/invariant/objectives.py, {recipe.objective}, beta {recipe.beta}).",
        measured=[
            f"on held-out items: {config['rate_bits']} bits an item by the learned density, distortion "
            f"{row['distortion']:.4f}"
        ],
        recipe=recorded_phases(checkpoint),
        parameters=sum(p.numel() for p in networks.parameters()),
        largest=largest,
    )


def export(inputs: InvariantInputs, checkpoint: Path, out: Path) -> dict[str, object]:
    """What `obverse export invariant` does."""
    _, held_out = sources_of(inputs.items, inputs.affine, inputs.upright)
    model = export_invariant(checkpoint, held_out, out)
    return {"fingerprint": model.fingerprint.hex(), "summary": f"{model.config['rate_bits']} bits an item"}
