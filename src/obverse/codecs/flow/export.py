"""From a training checkpoint to the flow that codes: calibrate, quantise to exact networks, measure, store.

Activations get a step per channel from their range on training images: features 10 bits with sign, 10 bits behind a
ReLU. Weights get 8 bits where a 3x3 convolution reads features (so that float32 holds its sums), 10 in 1x1 layers,
12 where values enter and where means, scales and weights of the mixtures come out. Couplings, which are small, have 14
bits throughout: on a white background one that rounds otherwise than in training costs many bits a value.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from obverse.codecs.flow.codec import FlowCodec
from obverse.codecs.flow.exact_networks import (
    COUPLING_MAX,
    COUPLING_STEP,
    FEATURE_MAX,
    HIDDEN_MAX,
    ExactCoupling,
    ExactFlowLevel,
    ExactIntegerFlow,
    ExactStage,
    bc_range,
    coarse_range,
    d_range,
    kept_range,
)
from obverse.codecs.flow.networks import (
    COLOURS,
    MAX_LOG_SCALE,
    MIN_LOG_SCALE,
    PREDICT_BOUND,
    UPDATE_BOUND,
    VALUE_STEP,
    Block,
    Coupling,
    IntegerFlow,
    Stage,
)
from obverse.codecs.flow.options import FlowOptions
from obverse.codecs.flow.recipe import FlowConfig, FlowInputs, FlowRecipe
from obverse.codecs.flow.train import bits_per_dimension, to_tensor
from obverse.coding.logistic_mixture import FRACTION, LOGIT, SCALE_ONE, SCALE_STEPS
from obverse.training.checkpoint import reading, steps_of
from obverse.training.export import store_trained
from obverse.training.phases import recorded_phases
from obverse.transforms.exact import ExactConv, quantise_conv
from obverse.zoo import StoredModel

SPATIAL_BITS, MIX_BITS, OUTPUT_BITS, COUPLING_BITS = 8, 10, 12, 14
MAX_BYTES = 4_000_000
LARGEST_LOGIT = 16 * LOGIT  # beyond, a component has no weight at all
QUANTILE = 0.9999  # of activations that are represented; what lies above is clipped


def load_checkpoint(path: Path) -> tuple[IntegerFlow, int]:
    """The averaged model of a checkpoint and its number of training steps."""
    with reading(path, "the flow"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        model = IntegerFlow(FlowConfig.from_dict(state["config"]))
        model.load_state_dict(state["average"])
        steps = steps_of(state)
    return model.eval(), steps


class Calibration:
    """The largest activation of each channel over the calibration images, found by hooks on the float networks.

    top: by the name of a convolution, of what it gives behind its ReLU. features: by level, of the prior's features.
    """

    def __init__(self, model: IntegerFlow, images: np.ndarray):
        self.top: dict[str, Tensor] = {}
        self.features: dict[int, Tensor] = {}
        handles = []
        for name, module in model.named_modules():
            if isinstance(module, nn.Conv2d) and ("hidden" in name or "spatial" in name):
                handles.append(module.register_forward_hook(self._relu_hook(name)))
            elif isinstance(module, Block):
                handles.append(module.register_forward_hook(self._block_hook(int(name.split(".")[1]))))
            elif name.startswith("up."):
                handles.append(module.register_forward_hook(self._up_hook(int(name.split(".")[1]))))
        try:
            with torch.no_grad():
                for first in range(0, len(images), 32):
                    model(to_tensor(images[first : first + 32], torch.device("cpu")))
        finally:
            for handle in handles:
                handle.remove()

    def _relu_hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self._keep(self.top, name, output.clamp(min=0))

        return hook

    def _block_hook(self, level: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            for features in (inputs[0], output):
                self._keep(self.features, level, features.abs())

        return hook

    def _up_hook(self, level: int) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            self._keep(self.features, level, output.abs())

        return hook

    @staticmethod
    def _keep(where: dict[Any, Tensor], key: Any, activation: Tensor) -> None:
        flat = activation.detach().float().transpose(0, 1).flatten(1)
        kept = min(flat.shape[1], max(1, round(flat.shape[1] * (1 - QUANTILE))))
        top = flat.topk(kept, dim=1).values[:, -1]
        where[key] = torch.maximum(where.get(key, torch.zeros_like(top)), top)


def step_of(top: Tensor, largest: int) -> Tensor:
    """The steps with which `largest` means `top`; silent channels must not eat up a multiplier's bits."""
    return (top / largest).clamp(min=float(top.max()) / largest / 256 + 1e-9)


@torch.no_grad()
def quantise_flow(model: IntegerFlow, images: np.ndarray) -> ExactIntegerFlow:
    """Exact networks for a trained model, calibrated on (n, 32, 32, 3) uint8 training images. Raises ExportError."""
    seen = Calibration(model, images)
    config = model.config
    scales = [step_of(seen.features[i], FEATURE_MAX) for i in range(config.levels)]
    levels, priors, up = [], [], []
    for i in range(config.levels):
        level, stages = model.levels[i], model.priors[i]
        coarse, kept, d, bc = (max(r) for r in (coarse_range(i), kept_range(i), d_range(i), bc_range(i)))
        name = f"levels.{i}"
        levels.append(
            ExactFlowLevel(
                _coupling(level.predict_bc, seen, f"{name}.predict_bc", PREDICT_BOUND, coarse),
                _coupling(level.update_ad, seen, f"{name}.update_ad", UPDATE_BOUND, bc),
                _coupling(level.predict_d, seen, f"{name}.predict_d", PREDICT_BOUND, kept),
                _coupling(level.update_a, seen, f"{name}.update_a", UPDATE_BOUND, d),
            )
        )
        sees = ((max(coarse_range(i + 1)), d_range(i)), (kept, bc_range(i)), (bc, bc_range(i)))
        priors.append(
            [
                _stage(stage, seen, f"priors.{i}.{k}", scales[i], most, coded)
                for k, (stage, (most, coded)) in enumerate(zip(stages, sees, strict=True))
            ]
        )
        if i < config.levels - 1:
            up.append(_features(model.up[i], scales[i + 1], FEATURE_MAX, scales[i], MIX_BITS))
    parts = model.last.chunk(3, 1)
    last = torch.cat(
        [parts[0] * LOGIT, parts[1] * VALUE_STEP * FRACTION, parts[2] * SCALE_STEPS + SCALE_ONE], 1
    ).round()
    low, high = _output_range(config.components, max(coarse_range(config.levels)))
    exact = ExactIntegerFlow(config, levels, priors, up, torch.minimum(torch.maximum(last, low), high))
    exact.check()
    return exact


def _numbers(low: float, high: float) -> tuple[Tensor, Tensor]:
    return torch.tensor(float(low)), torch.tensor(float(high))


def _hidden(
    conv: nn.Conv2d, input_scale: Tensor, most: int, top: Tensor, bits: int, largest: int = HIDDEN_MAX
) -> tuple[ExactConv, Tensor]:
    """A layer behind which is a ReLU, and the steps of its outputs, which are at most `largest`."""
    scale = step_of(top, largest)
    layer, _ = quantise_conv(
        conv.weight, conv.bias, input_scale, scale, *_numbers(0, largest), most, bits=bits
    )
    return layer, scale


def _features(conv: nn.Conv2d, input_scale: Tensor, most: int, scale: Tensor, bits: int) -> ExactConv:
    """A layer whose outputs are added to features."""
    reach = _numbers(-2 * FEATURE_MAX, 2 * FEATURE_MAX)
    return quantise_conv(conv.weight, conv.bias, input_scale, scale, *reach, most, bits=bits)[0]


def _coupling(
    coupling: Coupling, seen: Calibration, name: str, bound: tuple[int, ...], most: int
) -> ExactCoupling:
    inputs, outputs = coupling.linear.in_channels, coupling.linear.out_channels
    step, reach = torch.full((outputs,), 1 / COUPLING_STEP), _numbers(-(2**30), 2**30)
    linear, _ = quantise_conv(
        coupling.linear.weight,
        coupling.linear.bias,
        torch.ones(inputs),
        step,
        *reach,
        most,
        bits=COUPLING_BITS,
    )
    values = torch.full((inputs,), 1 / VALUE_STEP)
    top = seen.top[f"{name}.hidden"]
    hidden, scale = _hidden(coupling.hidden, values, most, top, COUPLING_BITS, COUPLING_MAX)
    output, _ = quantise_conv(
        coupling.output.weight * VALUE_STEP, coupling.output.bias * VALUE_STEP, scale, step, *reach, COUPLING_MAX,
        bits=COUPLING_BITS,
    )  # fmt: skip
    return ExactCoupling(linear, hidden, output, bound)


def _stage(
    stage: Stage, seen: Calibration, name: str, scale: Tensor, most: int, coded: tuple[int, ...]
) -> ExactStage:
    """most: the largest value that the stage embeds; coded: the largest that it codes, by colour."""
    values = torch.full((stage.embed.in_channels,), 1 / VALUE_STEP)
    embed = _features(stage.embed, values, most, scale, OUTPUT_BITS)
    blocks = []
    for i, block in enumerate(stage.blocks):
        spatial, inner = _hidden(
            block.spatial, scale, FEATURE_MAX, seen.top[f"{name}.blocks.{i}.spatial"], SPATIAL_BITS
        )
        blocks.append((spatial, _features(block.mix, inner, HIDDEN_MAX, scale, MIX_BITS)))
    hidden, heads = [], []
    for j in range(COLOURS):
        inputs = torch.cat([scale, torch.full((j,), 1 / VALUE_STEP)])
        largest = max(FEATURE_MAX, *coded)
        layer, inner = _hidden(stage.hidden[j], inputs, largest, seen.top[f"{name}.hidden.{j}"], MIX_BITS)
        hidden.append(layer)
        heads.append(_head(stage.heads[j], inner, coded[j]))
    return ExactStage(embed, blocks, hidden, heads)


def _head(conv: nn.Conv2d, input_scale: Tensor, most: int) -> ExactConv:
    """Logits in 1/LOGIT nat, means in 1/FRACTION, scales as indices of the ladder."""
    k = conv.out_channels // 3
    steps = torch.tensor([1 / LOGIT, 1 / (VALUE_STEP * FRACTION), 1 / SCALE_STEPS]).repeat_interleave(k)
    bias = conv.bias.clone()
    bias[2 * k :] += SCALE_ONE / SCALE_STEPS
    low, high = _output_range(k, most)
    return quantise_conv(conv.weight, bias, input_scale, steps, low, high, HIDDEN_MAX, bits=OUTPUT_BITS)[0]


def _output_range(k: int, most: int) -> tuple[Tensor, Tensor]:
    """The least and greatest logit, mean and scale of k components, (3 k,) each."""
    scales = [round(s * SCALE_STEPS) + SCALE_ONE for s in (MIN_LOG_SCALE, MAX_LOG_SCALE)]
    low = torch.tensor([-LARGEST_LOGIT, -most * FRACTION, scales[0]]).float().repeat_interleave(k)
    high = torch.tensor([LARGEST_LOGIT, most * FRACTION, scales[1]]).float().repeat_interleave(k)
    return low, high


def export_flow(
    checkpoint: Path, images: np.ndarray, out: Path, calibration: int = 512, validation: int = 256
) -> dict[str, Any]:
    """Write the model of a checkpoint to the folder `out`; returns its fingerprint and what its card says.

    images: those that were trained on, (n, 32, 32, 3) uint8; the first `calibration` give the ranges of activations,
    the last `validation`, which were kept out of training, what exactness costs. Raises ExportError.
    """
    model, steps = load_checkpoint(checkpoint)
    exact = quantise_flow(model, images[: min(calibration, len(images) - validation)])
    weights = save_safetensors(exact.export_state())
    held_out = images[-validation:]
    float_rate = bits_per_dimension(model, held_out, torch.device("cpu"))
    config = {"codec": "flow", "model": model.config.as_dict(), "steps": steps}
    trial = FlowCodec(StoredModel(out.name, weights, config, bytes(8)))
    exact_rate = float(trial.rate_bits(held_out, FlowOptions(model_only=True)).sum()) / held_out.size
    cost = 100 * (exact_rate / float_rate - 1)
    stored = store_trained(
        out,
        weights,
        config,
        about="Sets of 32x32 colour images, lossless: an integer discrete flow with a conditional prior.",
        measured=[
            f"images kept out of training: {exact_rate:.4f} bits per dimension by the exact integer networks, "
            f"{float_rate:.4f} by the float networks that were trained ({cost:+.2f} %)"
        ],
        recipe=recorded_phases(checkpoint),
        parameters=sum(p.numel() for p in model.parameters()),
        largest=MAX_BYTES,
    )
    return {
        "fingerprint": stored.fingerprint.hex(),
        "steps": steps,
        "float_rate": float_rate,
        "exact_rate": exact_rate,
    }


def export(inputs: FlowInputs, checkpoint: Path, out: Path) -> dict[str, Any]:
    """What `obverse export flow` does."""
    recipe = FlowRecipe(**recorded_phases(checkpoint)[-1]["recipe"])
    facts = export_flow(checkpoint, inputs.images, out, validation=recipe.validation)
    told = f"{facts['exact_rate']:.3f} bits per dimension on images that were kept out"
    return facts | {"summary": told}
