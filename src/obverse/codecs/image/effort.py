"""More time at the encoder of the image codec, fewer bits: latents searched for one image.

    y, z of the networks ──► windows ──► minimise(bits + lmbda * squared error) ──► y, z ──► rounded and coded
              │                                                                     │
              └───────────────────────► whichever costs less ◄──────────────────────┘

The decoder and the file are those of any other image: only the integers differ. A large image is searched window by
window, each with a margin of its surroundings, so that memory does not grow with the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from obverse.codecs.image.differentiable_prior import DifferentiableFourStep, join_slices
from obverse.codecs.image.model import lmbda_of
from obverse.codecs.image.networks import ImageNetworks, quality_of
from obverse.codecs.image.prior import from_slices, to_slices
from obverse.quantization.sga import GumbelAnnealing, Relax, Relaxation, Report, Search, minimise
from obverse.transforms.windows import Window, scaled, windows

WINDOW = 16  # positions of z, 64 pixels each, that a window has on a side
HALO = 2  # positions of z that it sees of its surroundings

Latents = tuple[Tensor, Tensor]
Progress = Callable[[int, int, float], None]


# what each effort searches: iterations, and the learning rate that suits so many
EFFORTS = (
    None,
    Search(10, lr=0.03),
    Search(20, lr=0.025),
    Search(32, lr=0.02),
    Search(60, lr=0.016),
    Search(100, lr=0.012),
    Search(180, lr=0.01),
    Search(300, lr=0.008),
    Search(500, lr=0.006),
    Search(2000, lr=0.003),
)


def lmbda_of_level(level: int) -> float:
    """Bits that a squared grey level, the mean of the three channels, of one pixel is worth: that of training."""
    return float(lmbda_of(quality_of(level)))


class WindowCost:
    """What a window costs as a function of its latents, for `minimise`.

        slices, z ──► prior ──► bits
                        │ ỹ
                        └─────► synthesis ──► squared error to `target`

    target: (1, 3, H, W) in [0, 1]; the image may end within the last position of z, and what is beyond is free.
    core: the (rows, columns) of z that may change, with `fixed`, the latents that the others keep; all may without.
    """

    def __init__(
        self,
        networks: ImageNetworks,
        prior: DifferentiableFourStep,
        level: int,
        target: Tensor,
        core: tuple[slice, slice] | None,
        fixed: Sequence[Tensor],
    ):
        self.networks, self.prior, self.level, self.target, self.fixed = networks, prior, level, target, fixed
        self.quality = quality_of(level)
        self.gain = torch.exp(networks.gains.log_inverse_gain(self.quality))
        self.masks: list[Tensor] = []
        for tensor, factor in zip(fixed, (2, 1), strict=True):
            if core is not None:
                mask = torch.zeros(tensor.shape[2:], dtype=torch.bool)
                mask[scaled(core, factor)] = True
                self.masks.append(mask)

    def __call__(self, latents: Sequence[Tensor], relax: Relax) -> tuple[Tensor, Tensor]:
        """latents: slices (4, M, h/2, w/2) and z (1, Z, h/4, w/4) -> bits, squared error as `lmbda_of_level` counts."""
        slices, z = latents
        if self.masks:
            slices, z = (torch.where(*each) for each in zip(self.masks, latents, self.fixed, strict=True))
        y_hat, y_bits, z_bits = self.prior(slices, z, self.level, relax)
        x_hat = self.networks.synthesis(join_slices(y_hat) * self.gain, self.quality)
        height, width = self.target.shape[2:]
        error = x_hat[:, :, :height, :width].clamp(0, 1) - self.target
        return y_bits + z_bits, error.square().sum() * (255**2 / 3)


@torch.inference_mode(False)  # wherever it is called: gradients are needed
def refine(
    networks: ImageNetworks,
    pixels: np.ndarray,
    latents: Latents,
    level: int,
    search: Search,
    price: Callable[[Latents], float],
    progress: Progress | None = None,
    relaxation: Relaxation = GumbelAnnealing(),  # noqa: B008, it is a frozen value
) -> Latents:
    """Latents that cost fewer bits + lmbda * squared error, or the same ones where none are found.

    pixels: (H, W, 3) uint8. latents: y (1, M, h, w), gained, and z (1, Z, h/4, w/4), not rounded, as the networks
    gave them; they are left as they are. price: what latents really cost once rounded, in bits. progress(step,
    steps, cost of the last sample in bits a pixel) is called before the first iteration and after each.
    """
    prior = DifferentiableFourStep(networks.prior)
    cuts = list(windows(*latents[1].shape[2:], WINDOW, HALO))
    steps = len(cuts) * search.iterations
    area = pixels.shape[0] * pixels.shape[1]

    def told(before: int, pixels: int, step: int, _: int, cost: float) -> None:
        if progress is not None:
            progress(before + step, steps, cost / pixels)

    before = price(latents)
    told(0, area, 0, 0, before)
    slices, z = torch.cat(to_slices(latents[0])), latents[1].clone()
    for number, win in enumerate(cuts):
        rows, columns = scaled(win.padded, 64)
        seen = pixels[rows, columns]
        report = partial(told, number * search.iterations, seen.shape[0] * seen.shape[1])
        _search_window(networks, prior, seen, (slices, z), win, level, search, relaxation, report)
    found = from_slices(list(slices[:, None])), z
    after = price(found)
    told(steps, area, 0, 0, min(before, after))
    return found if after < before else latents


def _search_window(
    networks: ImageNetworks,
    prior: DifferentiableFourStep,
    pixels: np.ndarray,
    latents: Latents,
    window: Window,
    level: int,
    search: Search,
    relaxation: Relaxation,
    report: Report,
) -> None:
    """Search the core of one window of `latents`, slices and z, and change it there."""
    areas = (scaled(window.padded, 2), window.padded)
    start = [
        x[:, :, rows, columns].contiguous(memory_format=torch.channels_last)
        for x, (rows, columns) in zip(latents, areas, strict=True)
    ]
    target = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float().div_(255)
    whole = window.inside == window.padded
    cost = WindowCost(networks, prior, level, target, None if whole else window.inside, start)
    found = minimise(cost, start, lmbda_of_level(level), relaxation, search, report)
    for x, part, core, inside in zip(
        latents,
        found,
        (scaled(window.core, 2), window.core),
        (scaled(window.inside, 2), window.inside),
        strict=True,
    ):
        x[:, :, core[0], core[1]] = part[:, :, inside[0], inside[1]]
