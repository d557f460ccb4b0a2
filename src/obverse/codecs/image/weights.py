"""The tensors of a stored image model, as arrays: by part, unpacked, without torch.

int8 with a float32 step per output channel, or float16, or float32 ──► float32
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load as load_safetensors

from obverse.errors import ModelError
from obverse.zoo import StoredModel, find_model

ROW_SCALE = ".row_scale"
SHARED = ("prior", "tables")  # what tunes have of the model that they are of
PARTS = {"analysis", "synthesis", "hyper_analysis", "gains", *SHARED}

Tensors = dict[str, npt.NDArray[Any]]


def unpack_weights(packed: Mapping[str, npt.NDArray[Any]]) -> Tensors:
    """The float32 weights that `networks.pack_weights` stored."""
    unpacked = {}
    for name, value in packed.items():
        if name.endswith(ROW_SCALE):
            continue
        weight = value.astype(np.float32)
        if name + ROW_SCALE in packed:
            weight *= packed[name + ROW_SCALE].reshape(-1, 1, 1, 1)
        unpacked[name] = weight
    return unpacked


def weight_groups(model: StoredModel) -> dict[str, Tensors]:
    """The stored tensors of each part: analysis, synthesis, hyper_analysis, gains, prior, tables. They are read-only.

    Raises:
        ModelError: of a tune, where the model that it is of is not installed.
    """
    groups: dict[str, Tensors] = {}
    if (of := model.fingerprint_at("base")) is not None:
        base = find_model("image", of)
        if base is None or base.fingerprint_at("base") is not None:
            raise ModelError(
                f"the model {model.name} is a tune of model {of.hex()}, which is not installed: install it, or name "
                "the folder that holds both (OBVERSE_ZOO)"
            )
        groups = {name: part for name, part in weight_groups(base).items() if name in SHARED}
    for name, value in load_safetensors(model.weights).items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = value
    return groups


def all_groups(model: StoredModel) -> dict[str, Tensors]:
    """`weight_groups` of what is to be a whole image model. Raises ModelError for tensors of no part."""
    groups = weight_groups(model)
    if unknown := groups.keys() - PARTS:
        raise ModelError(f"the model {model.name} has tensors of no part: {', '.join(sorted(unknown)[:9])}")
    return groups
