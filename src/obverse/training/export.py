"""What every export does at its end: the model's three files, with a card that says where the model comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from obverse.errors import ExportError
from obverse.zoo import StoredModel, store_model
from obverse.zoo.packing import pack


def store_trained(
    out: Path,
    weights: bytes,
    config: dict[str, Any],
    *,
    about: str,
    measured: Sequence[str],
    recipe: object,
    parameters: int,
    largest: int,
) -> StoredModel:
    """Write the model into the folder `out`, its name the card's title.

    Args:
        out: made if it is not there.
        weights: the bytes of a safetensors file.
        config: plain values; "codec" is the id of the codec, "steps" how many steps it was trained.
        about: a sentence or two on what the model is.
        measured: a line for each figure, on data that the model was not trained on. Results on test data are added to
            the card by hand, with the command that prints them.
        recipe: what made it, as JSON has it.
        parameters: how many numbers were trained.
        largest: bytes that the weights may take as stored.

    Raises:
        ExportError: they take more.
        OutputError: the folder cannot be written.
    """
    packed = pack(weights)
    if len(packed) > largest:
        raise ExportError(
            f"the model takes {len(packed)} bytes, more than the {largest} that it may: make it narrower"
        )
    size = f"{len(packed)} bytes, {parameters} parameters, trained {config['steps']} steps"
    lines = [f"# {out.resolve().name}", "", about, "", *(f"- {line}" for line in (size, *measured)), ""]
    lines += ["## Recipe", "", "```json", json.dumps(recipe, indent=2), "```", ""]
    return store_model(out, weights, config, "\n".join(lines), packed)
