"""Generative models that somebody has already trained, as a pair of functions of arrays.

    x ──► encode ──► mean, std        z ──► decode ──► x̂

Any torch module with `encode(x) -> (mean, std)` and `decode(z)` will do. A stored model keeps both as graphs, which run
without the module's Python code (`networks.py`, made by `export.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.by_name import imported, is_name, working_folder
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.errors import InputError

Array = npt.NDArray[Any]
_TORCH_ERRORS = (RuntimeError, ValueError, TypeError, AssertionError, IndexError, KeyError, AttributeError)


@dataclass(frozen=True)
class GenerativeModel:
    """Functions of arrays, float32.

    encode: a batch x to mean and std, each (N, ...). decode: z (N, ...) to a batch; None where there is no decoder.
    """

    encode: Callable[[Array], tuple[Array, Array]]
    decode: Callable[[Array], Array] | None

    def posterior(self, x: Array) -> Posterior:
        """Of a batch. Raises InputError for what is no posterior of it."""
        mean, std = self.encode(x)
        posterior = Posterior.of(mean, std)
        if posterior.mean.ndim < 2 or len(posterior.mean) != len(x):
            raise InputError(
                f"the model's encode made a mean of shape {posterior.shape} of {len(x)} items: its first axis must be "
                "that of the items, and a second one must be there"
            )
        return posterior

    def check_decode(self, x: Array, posterior: Posterior) -> None:
        """Raises InputError unless decode makes of the means of x what has the shape of x."""
        if self.decode is None:
            return
        made = self.decode(posterior.mean)
        if made.shape != x.shape:
            raise InputError(
                f"the model's decode makes shape {made.shape} of latents of shape {posterior.shape}, but they came "
                f"from data of shape {x.shape}: decode must invert the shape of encode"
            )
        if made.dtype.kind != "f" or not np.isfinite(made).all():
            raise InputError("the model's decode makes numbers that are no finite floats")


def model_of(source: Any) -> Any:
    """A torch module with encode and decode: as given, or `module:name` of it or of a function that returns it.

    Raises InputError.
    """
    found = source
    if isinstance(source, str):
        if not is_name(source):
            raise InputError(
                f"{source} is no model: give module:name of it, or of a function that returns it"
            )
        found = imported(source, "model")
        if not _is_model(found) or isinstance(found, type):
            try:
                with working_folder():
                    found = found()
            except Exception as error:
                raise InputError(f"the model {source} cannot be made: {error}") from error
    if not _is_model(found) or isinstance(found, type):
        raise InputError(
            f"{source if isinstance(source, str) else type(found).__name__} is no torch module with "
            "encode(x) -> (mean, std) and decode(z)"
        )
    return found


def _is_model(thing: Any) -> bool:
    return all(callable(getattr(thing, name, None)) for name in ("encode", "decode", "state_dict", "eval"))


def of_module(module: Any) -> GenerativeModel:
    """The model's own methods, in evaluation mode."""
    module.eval()
    return GenerativeModel(_guarded(module.encode, "encode", 2), _guarded(module.decode, "decode", 1))


def _guarded(function: Callable[..., Any], name: str, count: int) -> Any:
    """A torch function of one tensor as one of arrays; what goes wrong within becomes a sentence."""
    import torch

    def run(array: Array) -> Any:
        given = np.ascontiguousarray(array, np.float32)
        try:
            with torch.inference_mode():
                made = function(torch.from_numpy(given if given.flags.writeable else given.copy()))
        except _TORCH_ERRORS as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"the model's {name} cannot be run on an array of shape {given.shape}: {why}"
            ) from error
        parts = tuple(made) if isinstance(made, tuple | list) else (made,)
        if len(parts) != count or not all(isinstance(part, torch.Tensor) for part in parts):
            raise InputError(
                f"the model's {name} must return {'mean and std, two tensors' if count == 2 else 'one tensor'}, "
                f"not {', '.join(type(part).__name__ for part in parts)}"
            )
        arrays = tuple(part.detach().to("cpu", torch.float32).numpy() for part in parts)
        return arrays if count == 2 else arrays[0]

    return run
