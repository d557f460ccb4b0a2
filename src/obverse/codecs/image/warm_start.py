"""Begin the training of an image model where a stored one ended: `obverse train image --warm-start image`.

transforms, hyper-analysis, gains    unpacked; what the new model has more of starts so that it changes nothing
prior                                from exact integers back to floats

The integers of the exact prior stand for activations whose units were measured at export and are not stored. Any
units do, since a network of ReLUs is positively homogeneous: those are taken that make the weights which write a
hidden channel as large as those which read it, so that one learning rate suits both.
"""

from __future__ import annotations

import torch
from torch import Tensor

from obverse.codecs.image.exact_prior import ExactFourStep
from obverse.codecs.image.latents import CONTEXT_STEP, FRACTION
from obverse.codecs.image.model import ImageModel
from obverse.codecs.image.networks import as_tensors
from obverse.codecs.image.weights import unpack_weights, weight_groups
from obverse.errors import InputError
from obverse.transforms.exact import ExactConv
from obverse.zoo import StoredModel

ROUNDS = 60  # of balancing units: far more than they need to settle
Layers = dict[str, list[Tensor]]


def float_layer(layer: ExactConv) -> list[Tensor]:
    """weight (out, in, k, k) and bias (out,) in float64, that map its integers to its integers, not rounded."""
    scale = layer.multiplier.flatten() * 2.0**-layer.shift
    return [layer.weight.double() * scale.view(-1, 1, 1, 1), layer.bias.double() * scale]


def balance(layers: Layers, writers: list[str], readers: list[tuple[str, int]], groups: int = 1) -> float:
    """Change the units of the hidden channels between layers; returns by what factor at most.

    writers: names of layers that compute the channels; readers: of layers that take them in, each with the place of
    the first channel among its inputs. groups: depth_to_space cuts the outputs into so many, which share units.
    """
    count = layers[writers[0]][0].shape[0] // groups
    written = [layers[name][0].view(groups, count, -1).pow(2).mean(dim=(0, 2)) for name in writers]
    read = [
        layers[name][0][:, first : first + count].transpose(0, 1).flatten(1).pow(2) for name, first in readers
    ]
    size, read_size = sum(written) / len(written), torch.cat(read, 1).mean(1)
    unit = ((size + 1e-12) / (read_size + 1e-12)).pow(0.25)  # of the new units, in old ones
    for name in writers:
        layers[name] = [part / unit.repeat(groups).view(-1, *[1] * (part.dim() - 1)) for part in layers[name]]
    for name, first in readers:
        layers[name][0][:, first : first + count] *= unit.view(1, -1, 1, 1)
    return float(torch.maximum(unit, 1 / unit).max())


@torch.no_grad()
def float_prior(exact: ExactFourStep) -> dict[str, Tensor]:
    """The state of the `FourStepHyperprior`, but for its analysis, that codes as `exact` does up to rounding."""
    layers: Layers = {
        "synthesis.conv1": float_layer(exact.conv1),
        "synthesis.conv2": float_layer(exact.conv2),
    }
    features = exact.conv2.weight.shape[0]
    context = {}
    for k, part in enumerate(exact.slices):
        for name in ("reduce", "spatial", "mix", "head"):
            if (layer := getattr(part, name)) is not None:
                layers[f"slices.{k}.{name}"] = float_layer(layer)
        if k:
            layers[f"slices.{k}.reduce"][0] *= FRACTION / CONTEXT_STEP  # it reads latents, not their quarters
            context[k] = (f"slices.{k}.reduce", f"slices.{k}.spatial")
        means = layers[f"slices.{k}.head"][0].shape[0] // 2
        for tensor in layers[f"slices.{k}.head"]:
            tensor[:means] /= FRACTION
    # the biases of each quality are balanced with the layer that they are added in
    scale = exact.conv1.multiplier.flatten() * 2.0**-exact.conv1.shift
    layers["synthesis.conv1"].append((exact.quality.double() * scale).T)
    mixes = [(f"slices.{k}.mix", 0) for k in range(len(exact.slices))]
    for _ in range(ROUNDS):
        balance(layers, ["synthesis.conv1"], [("synthesis.conv2", 0)], groups=4)
        balance(layers, ["synthesis.conv2"], mixes)
        for k in range(len(exact.slices)):
            if k:
                reduce, spatial = context[k]
                balance(layers, [reduce], [(spatial, 0)])
                balance(layers, [spatial], [(f"slices.{k}.mix", features)])
            balance(layers, [f"slices.{k}.mix"], [(f"slices.{k}.head", 0)])
    state = {"synthesis.quality.anchors": layers["synthesis.conv1"].pop().T}
    for name, (weight, bias) in layers.items():
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    state["z_index.anchors"] = exact.z_index.double() / 64
    return {name: value.float().contiguous() for name, value in state.items()}


def stored_state(model: StoredModel) -> dict[str, Tensor]:
    """The state of the `ImageModel` of the same sizes. Raises InputError for a model of another codec."""
    try:
        groups = weight_groups(model)
        parts = {
            "analysis.": as_tensors(unpack_weights(groups["analysis"])),
            "synthesis.": as_tensors(unpack_weights(groups["synthesis"])),
            "prior.analysis.": as_tensors(unpack_weights(groups["hyper_analysis"])),
            "prior.": float_prior(ExactFourStep.from_state(as_tensors(groups["prior"]))),
            "": as_tensors(unpack_weights(groups["gains"])),
        }
    except KeyError as error:
        raise InputError(
            f"the model {model.name!r} is not one of the image codec: it lacks {error}"
        ) from error
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}


@torch.no_grad()
def warm_start(model: ImageModel, stored: StoredModel) -> None:
    """Give `model` the weights of a stored one.

    Where `model` has more residual blocks, or wider ones, it computes the same: blocks that the stored one lacks keep
    what they were initialised with, a branch of zero, and what is wider is read with weights of zero. Blocks of the
    stored model beyond those of `model` are left out. Raises InputError where anything else differs in size.
    """
    state = stored_state(stored)
    own = model.state_dict()
    for name, target in own.items():
        source = state.get(name)
        if source is None:
            if is_block(name):
                continue  # a new block
            raise InputError(f"the model {stored.name!r} cannot be started from: it lacks {name}")
        fits = source.dim() == target.dim() and all(
            a <= b for a, b in zip(source.shape, target.shape, strict=True)
        )
        if not fits or (source.shape != target.shape and not is_block(name)):
            raise InputError(
                f"the model {stored.name!r} cannot be started from: {name} is {tuple(source.shape)} there, "
                f"{tuple(target.shape)} here"
            )
        if target.dim() == 4:
            target[: source.shape[0], source.shape[1] :] = 0  # old channels do not read new ones
        target[tuple(slice(length) for length in source.shape)] = source.to(target.device)
    unknown = [name for name in state if name not in own and not is_block(name)]
    if unknown:
        raise InputError(f"the model {stored.name!r} cannot be started from: {unknown[0]} has no place here")


def is_block(name: str) -> bool:
    """Whether a weight is one of the residual blocks of a transform."""
    parts = name.split(".")
    return parts[0] in {"analysis", "synthesis"} and parts[1] in {"fine", "coarse"}
