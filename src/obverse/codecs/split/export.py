"""Turn a training run of a split model into a model that codes: networks, offsets, integer tables, a card.

The tables are made here once, in double precision, and are the truth for device and server from then on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save as save_safetensors

from obverse.codecs.split.codec import state_of
from obverse.codecs.split.images import LabelledImages
from obverse.codecs.split.networks import folded_server
from obverse.codecs.split.train import load_checkpoint, validate
from obverse.errors import ExportError
from obverse.training.run import recorded_phases
from obverse.zoo import StoredModel, pack, store_model

MAX_BYTES = 16_000_000


def export_split(
    checkpoint: Path, held_out: LabelledImages, out: Path, largest: int = MAX_BYTES
) -> StoredModel:
    """Write the model's three files into `out`; returns the model.

    held_out: what the figures on the card are measured on. Raises ExportError for a density that cannot be tabulated or
    a model of more than `largest` bytes, InputError without a checkpoint.
    """
    networks, recipe, steps = load_checkpoint(checkpoint)
    parts = {
        "encoder": networks.encoder.state_dict(),
        "server": folded_server(networks.config, networks.server).state_dict(),
    }
    if networks.synthesis is not None:
        parts["synthesis"] = networks.synthesis.state_dict()
    weights = save_safetensors(state_of(parts, networks.offset, networks.density.tables(networks.offset)))
    size = len(pack(weights))
    if size > largest:
        raise ExportError(
            f"the model takes {size} bytes, more than the {largest} that it may: make it narrower"
        )
    row = validate(networks, held_out)
    config = {
        "codec": "split",
        "model": networks.config.as_dict(),
        "objective": recipe.objective,
        "beta": recipe.beta,
        "reconstruct": recipe.reconstruct,
        "steps": steps,
        "rate_bits": round(row["rate_bits"], 3),
    }
    phases = recorded_phases(checkpoint)
    return store_model(out, weights, config, card(out.resolve().name, config, row, size, phases))


def card(name: str, config: dict[str, Any], row: dict[str, float], size: int, phases: object) -> str:
    """The model card; results of experiments are added by hand, with the command that prints them."""
    psnr = f", PSNR of its reconstructions {row['psnr']:.2f} dB" if "psnr" in row else ""
    lines = [
        f"# {name}",
        "",
        "A split model: a small encoder for the device, the rest of the classifier for the server, and the integer "
        "tables of the code between them (docs/how-to/split-computing.md).",
        "",
        f"- {size} bytes, objective {config['objective']!r}, {config['steps']} training steps, beta {config['beta']}",
        f"- on held-out images: {config['rate_bits']} bits an image by the learned density, accuracy "
        f"{100 * row['accuracy']:.2f} %{psnr}",
        "",
        "## Recipe",
        "",
        "```json",
        json.dumps(phases, indent=2),
        "```",
        "",
    ]
    return "\n".join(lines)
