"""Offset and integer tables of codes that are rounded floats, as models store them.

z ──► round(z - offset) = q ──► TableFamily ──► file          offset and "tables.*" among the tensors of a model
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from obverse.codecs.model_codec import part_of
from obverse.coding import TableFamily
from obverse.errors import ModelError, TableError


def tensors_of(part: str, family: TableFamily) -> dict[str, Tensor]:
    """The tables as tensors of a model; `family_of` reads them."""
    return {
        f"{part}.{name}": torch.from_numpy(array.astype(np.int32)) for name, array in family.state().items()
    }


def family_of(tensors: dict[str, Tensor], part: str, count: int, name: str) -> TableFamily:
    """The `count` tables of this part. name: of the model, as errors say it. Raises ModelError."""
    try:
        stored = part_of(tensors, part)
        family = TableFamily.from_state({kind: t.numpy().astype(np.int64) for kind, t in stored.items()})
    except (KeyError, ValueError, TypeError, TableError) as error:
        raise ModelError(f"the model {name} has no whole {part}: {error}") from None
    if len(family) != count:
        raise ModelError(f"the model {name} has {len(family)} {part}, not {count}")
    return family


def offset_of(tensors: dict[str, Tensor], count: int, name: str) -> npt.NDArray[np.float64]:
    """(count,) what is added to the integers. name: of the model. Raises ModelError."""
    offset = tensors.get("offset")
    if offset is None or offset.shape != (count,) or not bool(torch.isfinite(offset).all()):
        raise ModelError(f"the model {name} is damaged: it has no offset for each code")
    return offset.double().numpy()
