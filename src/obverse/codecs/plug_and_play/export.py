"""From a module of the user's to the networks of a stored model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.generative_model import of_module
from obverse.codecs.plug_and_play.interpreter import GraphFunction
from obverse.codecs.plug_and_play.networks import DECODE, ENCODE, Networks
from obverse.codecs.plug_and_play.trace import traced
from obverse.errors import ExportError, InputError, LimitError, ModelError

Array = npt.NDArray[Any]


def exported(module: Any, x: Array) -> Networks:
    """Encode and decode of a module as graphs that take batches of any length, and images of any size where the module
    does.

    Args:
        module: with encode(x) -> (mean, std) and decode(z).
        x: example data (N, ...), at least one item.

    Raises:
        InputError: for a module that is no such model, or data that it does not take.
        ExportError: where a graph cannot be made, or does not do what the module does.
    """
    import torch

    model = of_module(module)
    batch = np.ascontiguousarray(np.concatenate([x[:2]] * (2 if len(x) == 1 else 1)), np.float32)
    posterior = model.posterior(batch)
    model.check_decode(batch, posterior)
    made = []
    for name, example in ((ENCODE, batch), (DECODE, posterior.mean)):
        tensor = torch.from_numpy(np.array(example, np.float32))
        function = GraphFunction(*traced(module, name, tensor), name)
        try:
            again = function(example)
        except (InputError, LimitError, ModelError) as error:
            raise ExportError(f"the model's {name} cannot be stored: {error}") from error
        wanted = (posterior.mean, posterior.std) if name == ENCODE else (getattr(model, name)(example),)
        for a, b in zip(again if name == ENCODE else (again,), wanted, strict=True):
            if a.shape != b.shape or not np.allclose(a, b, rtol=1e-3, atol=1e-4):
                raise ExportError(
                    f"the exported {name} does not do what the model's does: make it deterministic"
                )
        made.append(function)
    return Networks(*made)
