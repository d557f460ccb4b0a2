"""The two networks of a stored model: graphs as JSON, and their weights, among the tensors of a safetensors file.

graph.encode, graph.decode                     uint8, JSON (`graph.py`)
network.encode.NAME, network.decode.NAME       tensors that one of them needs
network.both.NAME                              tensors that both need, stored once
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.plug_and_play.generative_model import GenerativeModel
from obverse.codecs.plug_and_play.graph import Graph
from obverse.codecs.plug_and_play.interpreter import GraphFunction
from obverse.codecs.plug_and_play.operators import DTYPES
from obverse.errors import ModelError

Array = npt.NDArray[Any]
ENCODE, DECODE, BOTH = "encode", "decode", "both"
OUTPUTS = {ENCODE: 2, DECODE: 1}  # how many tensors each returns


@dataclass(frozen=True)
class Networks:
    """What a stored model does with data and latents.

    Attributes:
        encode: a batch x to mean and std, each (N, ...).
        decode: z (N, ...) to a batch.
    """

    encode: GraphFunction
    decode: GraphFunction

    @property
    def model(self) -> GenerativeModel:
        """As functions of arrays."""
        return GenerativeModel(self.encode, self.decode)

    def arrays(self) -> dict[str, Array]:
        """What is stored, by the names above."""
        parts = {ENCODE: self.encode, DECODE: self.decode}
        made = {
            f"graph.{part}": np.frombuffer(function.graph.to_json(), np.uint8)
            for part, function in parts.items()
        }
        shared = {
            name
            for name, array in self.encode.weights.items()
            if _equal(array, self.decode.weights.get(name))
        }
        for part, function in parts.items():
            for name, array in function.weights.items():
                made[f"network.{BOTH if name in shared else part}.{name}"] = array
        return made

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Networks:
        """What `arrays` gave, whoever wrote it.

        Raises:
            ModelError: for what is not that.
        """
        functions, used = [], set()
        for part in (ENCODE, DECODE):
            text = arrays.get(f"graph.{part}")
            if text is None or text.dtype != np.uint8 or text.ndim != 1:
                raise ModelError(f"it has no graph of its {part}")
            weights = {}
            for origin in (BOTH, part):
                prefix = f"network.{origin}."
                weights |= {name.removeprefix(prefix): name for name in arrays if name.startswith(prefix)}
            graph = Graph.from_json(text.tobytes(), weights)
            if len(graph.output) != OUTPUTS[part]:
                raise ModelError(f"its {part} returns {len(graph.output)} tensors, not {OUTPUTS[part]}")
            for key in weights.values():
                if str(arrays[key].dtype) not in DTYPES:
                    raise ModelError(
                        f"its tensor {key[:80]} is of {arrays[key].dtype}, which no network takes"
                    )
            needed = {name: weights[name] for name in sorted(graph.weights)}
            used.update(needed.values())
            functions.append(GraphFunction(graph, {name: arrays[key] for name, key in needed.items()}, part))
        extra = [name for name in arrays if name.startswith("network.") and name not in used]
        if extra:
            raise ModelError(f"it has tensors that no network uses: {extra[0][:80]}")
        return cls(*functions)


def _equal(a: Array, b: Array | None) -> bool:
    return b is not None and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
