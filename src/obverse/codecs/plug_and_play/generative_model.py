"""Generative models that somebody has already trained, as a pair of functions of arrays.

    x ──► encode ──► mean, std        z ──► decode ──► x̂

Any torch module with `encode(x) -> (mean, std)` and `decode(z)` will do. `exported` writes both as torch.export
programs (.pt2), which run without the module's Python code; that is how a stored model keeps them. Such an archive
may hold pickled objects, which torch would load as they are: `ExportedFunction` refuses those before torch sees them.
Nothing is ever unpickled but tensors.
"""

from __future__ import annotations

import copy
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.by_name import imported, is_name, working_folder
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.errors import ExportError, InputError, ModelError

Array = npt.NDArray[Any]
_FILES = re.compile(
    r"[^/]+/(data/weights/weight_\d+|data/constants/tensor_\d+|data/(weights|constants)/\w+_config\.json|models/\w+\.json"
    r"|data/sample_inputs/\w+\.pt|archive_format|archive_version|byteorder|\.data/\w+)"
)
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


# -- stored -------------------------------------------------------------------------------------------------------


def exported(module: Any, x: Array) -> tuple[bytes, bytes]:
    """Encode and decode of a module as .pt2 archives that take batches of any length, and images of any size where the
    module does. x: example data, at least one item. Raises InputError, ExportError.
    """
    import torch

    model = of_module(module)
    batch = np.ascontiguousarray(np.concatenate([x[:2]] * (2 if len(x) == 1 else 1)), np.float32)
    posterior = model.posterior(batch)
    model.check_decode(batch, posterior)
    made = []
    for name, example in (("encode", batch), ("decode", posterior.mean)):
        tensor = torch.from_numpy(np.array(example, np.float32))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                made.append(_export(module, name, tensor))
        except Exception as error:  # of torch.export, of many kinds
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ExportError(
                f"torch.export cannot write the model's {name}: {why}; keep data-dependent Python out of it"
            ) from error
        again = ExportedFunction(made[-1], name, 2 if name == "encode" else 1)(example)
        wanted = (posterior.mean, posterior.std) if name == "encode" else (getattr(model, name)(example),)
        for a, b in zip(again if name == "encode" else (again,), wanted, strict=True):
            if a.shape != b.shape or not np.allclose(a, b, rtol=1e-3, atol=1e-4):
                raise ExportError(
                    f"the exported {name} does not do what the model's does: make it deterministic"
                )
    return made[0], made[1]


def _export(module: Any, name: str, example: Any) -> bytes:
    import torch
    from torch import nn

    class Part(nn.Module):
        """One method of the model as a module."""

        def __init__(self) -> None:
            super().__init__()
            self.model = _used_alone(module, name, example)

        def forward(self, x: torch.Tensor) -> Any:
            made = getattr(self.model, name)(x)
            return tuple(made) if name == "encode" else made

    # batches of any length; and images or maps of any size, unless the module fixes it
    free = {axis: torch.export.Dim.AUTO for axis in (0, *range(2, example.ndim))}
    program = torch.export.export(Part().eval(), (example,), dynamic_shapes=({**free},))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _used_alone(module: Any, name: str, example: Any) -> Any:
    """A copy of the module without the parameters that this method does not use, so that none is stored twice."""
    import torch

    part = copy.deepcopy(module).eval()
    for parameter in part.parameters():
        parameter.requires_grad_(True)
    with torch.enable_grad():
        made = getattr(part, name)(example)
    outputs = [one for one in (made if isinstance(made, tuple | list) else [made]) if one.requires_grad]
    parameters = list(part.named_parameters())
    if outputs and parameters:
        ones = [torch.ones_like(one) for one in outputs]
        grads = torch.autograd.grad(outputs, [p for _, p in parameters], ones, allow_unused=True)
        for (path, _), grad in zip(parameters, grads, strict=True):
            if grad is None:
                owner, _, leaf = path.rpartition(".")
                part.get_submodule(owner).register_parameter(leaf, None)
    return part.requires_grad_(False)


@dataclass(frozen=True)
class ExportedFunction:
    """A function in a .pt2 archive, loaded at its first call. Raises ModelError for what is not one.

    name: "encode" or "decode", as errors call it. count: how many tensors it returns.
    """

    archive: bytes
    name: str
    count: int

    def __call__(self, array: Array) -> Any:
        return self._run(array)

    @cached_property
    def _run(self) -> Any:
        import torch

        _refuse_pickles(self.archive, self.name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                program = torch.export.load(io.BytesIO(self.archive)).module()
        except Exception as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ModelError(
                f"the model's {self.name} cannot be loaded: {why}; make the model again"
            ) from error
        return _guarded(program, self.name, self.count)


def _refuse_pickles(archive: bytes, name: str) -> None:
    """Raises ModelError for an archive in which torch would unpickle more than tensors."""
    import torch

    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            for entry in files.namelist():
                if not _FILES.fullmatch(entry):
                    raise ModelError(
                        f"the model's {name} holds {entry!r}, which is not loaded: it may be a program"
                    )
                if entry.endswith("_config.json"):
                    config = json.loads(files.read(entry))["config"]
                    if any(value["use_pickle"] is not False for value in config.values()):
                        raise ModelError(f"the model's {name} holds pickled objects, which are not loaded")
                elif entry.endswith(".pt") and (sample := files.read(entry)):
                    torch.load(io.BytesIO(sample), weights_only=True)
    except ModelError:
        raise
    except Exception as error:  # zip, JSON, and the many of torch.load
        raise ModelError(
            f"the model's {name} is damaged, or holds pickled objects, which are not loaded"
        ) from error
