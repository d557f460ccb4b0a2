"""Turn a training run of a split model into a model that codes: networks, offsets, integer tables, a card.

The tables are made here once, in double precision, and are the truth for device and server from then on.
"""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save as save_safetensors

from obverse.codecs.split.codec import state_of
from obverse.codecs.split.images import LabelledImages, read_images
from obverse.codecs.split.networks import folded_server
from obverse.codecs.split.recipe import SplitInputs
from obverse.codecs.split.train import load_checkpoint, validate
from obverse.training.export import store_trained
from obverse.training.phases import recorded_phases
from obverse.zoo import StoredModel

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
    psnr = f", PSNR of its reconstructions {row['psnr']:.2f} dB" if "psnr" in row else ""
    return store_trained(
        out,
        weights,
        config,
        about="A split model: a small encoder for the device, the rest of the classifier for the server, and the "
        "integer tables of the code between them (docs/how-to/split-computing.md). Objective "
        f"{recipe.objective!r}, beta {recipe.beta}.",
        measured=[
            f"on held-out images: {config['rate_bits']} bits an image by the learned density, accuracy "
            f"{100 * row['accuracy']:.2f} %{psnr}"
        ],
        recipe=recorded_phases(checkpoint),
        parameters=sum(p.numel() for p in networks.parameters()),
        largest=largest,
    )


def export(inputs: SplitInputs, checkpoint: Path, out: Path) -> dict[str, object]:
    """What `obverse export split` does."""
    model = export_split(checkpoint, read_images(inputs)[1], out)
    return {"fingerprint": model.fingerprint.hex(), "summary": f"{model.config['rate_bits']} bits an image"}
