"""Models that were stored before there were graphs: their networks are archives of torch.export (.pt2).

    network.encode, network.decode ──► torch.export.load, which may run code ──► program ──► graph.*, network.*.*

Grids and tables stay as they are, and so does what files hold. The new model names the old one's fingerprint among
those that it replaces, so that it reads the old one's files.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_safetensors
from safetensors.numpy import save as save_safetensors

from obverse.codecs.plug_and_play.interpreter import GraphFunction
from obverse.codecs.plug_and_play.model import is_archived
from obverse.codecs.plug_and_play.networks import DECODE, ENCODE, Networks
from obverse.codecs.plug_and_play.trace import of_program
from obverse.errors import ExportError, InputError, ModelError
from obverse.trust import require_trust
from obverse.zoo import CARD, StoredModel, load_model_from, store_model

Array = npt.NDArray[Any]


def convert(folder: Path, out: Path | None = None, *, trust: bool = False) -> StoredModel:
    """Store a model's networks as graphs.

    Args:
        folder: of the model, whose networks are archives of torch.export.
        out: folder of the new one; by default the same.
        trust: whether these may be loaded. They may run any code.

    Returns:
        The new model, which reads the files of the old one.

    Raises:
        InputError: where it is not to be trusted, or there is nothing to convert.
        ModelError: for a damaged model.
        ExportError: where a network uses what a graph cannot hold.
        OutputError: where it cannot be written.
    """
    model = load_model_from(folder)
    try:
        arrays = load_safetensors(model.weights)
    except SafetensorError as error:
        raise ModelError(f"the model {model.name} is damaged ({error})") from None
    if model.codec != "plug-and-play" or not is_archived(arrays):
        raise InputError(f"{folder} holds no networks of torch.export: there is nothing to convert")
    require_trust(trust, folder, "holds programs of torch.export")
    functions = [_function(arrays.pop(f"network.{part}"), part) for part in (ENCODE, DECODE)]
    weights = save_safetensors(arrays | Networks(*functions).arrays())
    replaces = [model.fingerprint.hex(), *(one.hex() for one in model.replaces)]
    config = model.config | {"replaces": replaces}
    card = folder / CARD
    told = card.read_text("utf-8") if card.is_file() else f"# {model.name}: a model for plug-and-play\n"
    told += f"\nConverted of the model {model.fingerprint.hex()}, whose files it reads.\n"
    return store_model(out or folder, weights, config, told)


def _function(archive: Array, name: str) -> GraphFunction:
    """An archive as a graph, tried where the archive has an example. Raises ModelError, ExportError."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(io.BytesIO(archive.tobytes()))
            run = program.module()
    except Exception as error:  # of torch.export, of many kinds
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the model's {name} cannot be loaded: {why}; make the model again") from error
    function = GraphFunction(*of_program(program, name, "model."), name)
    given = program.example_inputs
    example = given[0][0] if given and given[0] else None
    if isinstance(example, torch.Tensor):
        with torch.inference_mode():
            made = run(example)
        wanted = [one.numpy() for one in (made if isinstance(made, tuple) else (made,))]
        again = function(example.numpy())
        for a, b in zip(again if isinstance(again, tuple) else (again,), wanted, strict=True):
            if a.shape != b.shape or not np.allclose(a, b, rtol=1e-3, atol=1e-4):
                raise ExportError(f"the converted {name} does not do what the old one does")
    return function
