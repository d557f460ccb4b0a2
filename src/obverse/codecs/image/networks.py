"""The shipped networks of the image codec: what `codecs/image/export.py` wrote, ready to run.

analysis, hyper_analysis    floats, encoder only
prior                       exact integers, both sides
synthesis                   floats, synthesises what was parsed
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from obverse.codecs.image.decoder import WINDOW
from obverse.codecs.image.exact_prior import ExactFourStep
from obverse.codecs.image.latents import LEVELS
from obverse.codecs.image.prior import HyperAnalysis
from obverse.codecs.image.recipe import ImageModelConfig
from obverse.codecs.image.transform import Analysis, Synthesis
from obverse.codecs.image.weights import ROW_SCALE, all_groups, unpack_weights
from obverse.codecs.model_codec import loaded
from obverse.coding import TableFamily
from obverse.torch_settings import known_settings
from obverse.transforms.blocks import QualityVector, ResidualBottleneck
from obverse.transforms.windows import scaled, windows
from obverse.zoo import StoredModel

# at least what the convolutions see: pixels, latents, latents
ANALYSIS_HALO, SYNTHESIS_HALO, HYPER_HALO = 128, 8, 8


def pack_weights(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Float weights in few bytes: 3x3 kernels and the 1x1 of residual branches as int8 with a float32 step per
    output channel, everything else (the block transform, biases, gains) as float16, log gains as float32."""
    packed = {}
    for name, value in state.items():
        value = value.detach().cpu()
        branch = any(
            part in name for part in (".reduce.weight", ".spatial.weight", ".expand.weight", ".down")
        )
        if branch and name.endswith(".weight"):
            step = value.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
            packed[name] = (value / step.view(-1, 1, 1, 1)).round().to(torch.int8)
            packed[name + ROW_SCALE] = step.float()
        else:
            packed[name] = value.float() if "gain" in name else value.half()
    return {name: value.contiguous() for name, value in packed.items()}


def as_tensors(arrays: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Tensors of their own memory, since what a model was read into is read-only."""
    return {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}


class Gains(nn.Module):
    """Per-channel steps of the latents at each quality: y * gain is what is rounded."""

    def __init__(self, latents: int):
        super().__init__()
        self.log_gain = QualityVector(latents)
        self.log_inverse_gain = QualityVector(latents)


@cache
def has_native_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 in hardware."""
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())


def branch_dtype() -> torch.dtype:
    """What the residual branches of the transforms compute in: bfloat16 where that is native, which is twice as
    fast. Their linear path is float32 always, as in training, so that pixels change by at most one grey level."""
    return torch.bfloat16 if has_native_bfloat16() else torch.float32


def quality_of(level: int) -> Tensor:
    """Level 0..LEVELS -> (1,) quality in [0, 1] as the networks take it."""
    return torch.tensor([level / LEVELS], dtype=torch.float32)


@dataclass(frozen=True)
class ImageNetworks:
    """All parts of the image codec, in evaluation mode on the CPU."""

    latents: int
    analysis: Analysis
    hyper_analysis: HyperAnalysis
    synthesis: Synthesis
    gains: Gains
    prior: ExactFourStep
    tables: TableFamily

    @classmethod
    @known_settings()
    @torch.inference_mode(False)  # wherever it is called: searches need gradients through the synthesis
    def load(cls, model: StoredModel) -> ImageNetworks:
        groups = all_groups(model)
        config = ImageModelConfig(**model.config["model"])
        makers: dict[str, Callable[[], nn.Module]] = {
            "analysis": lambda: Analysis(*config.analysis_sizes),
            "synthesis": lambda: Synthesis(*config.synthesis_sizes),
            "hyper_analysis": lambda: HyperAnalysis(config.latents, config.hyper, config.features),
            "gains": lambda: Gains(config.latents),
        }
        modules = {}
        for name, make in makers.items():
            module = modules[name] = loaded(make, as_tensors(unpack_weights(groups[name])), None, model.name)
            module.to(memory_format=torch.channels_last)
            for part in module.modules():
                if isinstance(part, ResidualBottleneck):
                    part.fold(branch_dtype())
        prior = ExactFourStep.from_state(as_tensors(groups["prior"])).eval()
        tables = TableFamily.from_state(groups["tables"])
        return cls(config.latents, prior=prior, tables=tables, **modules)  # type: ignore[arg-type]

    @known_settings()
    @torch.inference_mode()
    def analyse(self, pixels: np.ndarray, level: int) -> Tensor:
        """(H, W, 3) uint8, sides multiples of 64 -> gained latents (1, M, H/16, W/16), float32."""
        t = quality_of(level)
        gain = torch.exp(self.gains.log_gain(t))
        height, width = pixels.shape[:2]
        y = torch.empty(1, self.latents, height // 16, width // 16, dtype=torch.float32)
        for win in windows(height, width, WINDOW, max(ANALYSIS_HALO, self.analysis.reach)):
            part = torch.from_numpy(np.array(pixels[win.padded])).float().div_(255)
            part = self.analysis(part.permute(2, 0, 1)[None], t) * gain
            rows, columns = scaled(win.core, 1, 16)
            inside = scaled(win.inside, 1, 16)
            y[:, :, rows, columns] = part[:, :, inside[0], inside[1]]
        return y

    @known_settings()
    @torch.inference_mode()
    def hyper_analyse(self, y: Tensor) -> Tensor:
        """y (1, M, h, w), h and w multiples of 4 -> z (1, Z, h/4, w/4), not yet rounded."""
        height, width = y.shape[2:]
        z = torch.empty(1, self.prior.hyper, height // 4, width // 4, dtype=torch.float32)
        for win in windows(height, width, WINDOW // 4, HYPER_HALO):
            part = y[:, :, win.padded[0], win.padded[1]].contiguous(memory_format=torch.channels_last)
            part = self.hyper_analysis(part)
            rows, columns = scaled(win.core, 1, 4)
            inside = scaled(win.inside, 1, 4)
            z[:, :, rows, columns] = part[:, :, inside[0], inside[1]]
        return z

    @known_settings()
    @torch.inference_mode()
    def synthesise(self, y_hat: Tensor, level: int, height: int, width: int) -> np.ndarray:
        """ŷ (1, M, h, w), in units of the quantiser's step -> (height, width, 3) uint8."""
        t = quality_of(level)
        gain = torch.exp(self.gains.log_inverse_gain(t))
        out = np.empty((height, width, 3), np.uint8)
        for win in windows(y_hat.shape[2], y_hat.shape[3], WINDOW // 16, SYNTHESIS_HALO):
            part = y_hat[:, :, win.padded[0], win.padded[1]].contiguous(memory_format=torch.channels_last)
            x = self.synthesis(part * gain, t)[0].permute(1, 2, 0)
            inside = scaled(win.inside, 16)
            x = x[inside[0], inside[1]].mul_(255).round_().clamp_(0, 255).to(torch.uint8)
            rows, columns = scaled(win.core, 16)
            target = out[rows, columns]
            target[...] = x[: target.shape[0], : target.shape[1]].numpy()
        return out
