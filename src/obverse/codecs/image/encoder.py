"""Pixels to what is coded, by the networks of the encoder; `codecs/image/codec.py` has the diagram.

Under the known settings of torch: a codec's public methods are, but this may be the first to import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from obverse.codecs.image.latents import ALIGN, FRACTION, Z_MAX, Coded
from obverse.codecs.image.networks import ImageNetworks
from obverse.codecs.image.prior import take_slice
from obverse.torch_settings import known_settings

if TYPE_CHECKING:  # searching takes much to import, and most files are not searched
    from obverse.codecs.image.effort import Latents, Progress


@known_settings()
def quantise_pixels(
    networks: ImageNetworks,
    pixels: np.ndarray,
    level: int,
    effort: int = 0,
    progress: Progress | None = None,
) -> tuple[list[Coded], Tensor]:
    """(H, W) or (H, W, 3) uint8 -> what is coded, in the decoder's order: z and slices 0 to 3; and the ŷ that the
    decoder has, (1, M, h/16, w/16)."""
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))
    height, width = pixels.shape[:2]
    y = networks.analyse(
        np.pad(pixels, ((0, -height % ALIGN), (0, -width % ALIGN), (0, 0)), mode="edge"), level
    )
    latents = y, networks.hyper_analyse(y)
    if effort:
        from obverse.codecs.image.effort import EFFORTS, lmbda_of_level, refine

        def price(latents: Latents) -> float:
            coded, y_hat = quantise_latents(networks, latents, level)
            bits = sum(float(networks.tables.bits(symbols, index).sum()) for symbols, index in coded)
            error = networks.synthesise(y_hat, level, height, width).astype(np.float32) - pixels
            return bits + lmbda_of_level(level) / 3 * float(np.square(error).sum(dtype=np.float64))

        latents = refine(networks, pixels, latents, level, EFFORTS[effort], price, progress)
    return quantise_latents(networks, latents, level)


@known_settings()
@torch.inference_mode()
def quantise_latents(networks: ImageNetworks, latents: Latents, level: int) -> tuple[list[Coded], Tensor]:
    """y (1, M, h, w), gained, and z (1, Z, h/4, w/4), not rounded -> what is coded, and the ŷ that the decoder has."""
    y, z = latents
    z = z.round().clamp_(-Z_MAX, Z_MAX)
    z_index = networks.prior.z_tables(level).to(torch.uint8)[:, None, None].expand(z.shape[1:])
    coded = [Coded(z[0].to(torch.int32).numpy(), z_index.numpy())]

    def coder(k: int, mean: Tensor, index: Tensor) -> Tensor:
        residual = take_slice(y, k)[0].sub_(mean / FRACTION).round_().to(torch.int32)
        coded.append(Coded(residual.numpy(), index.numpy()))
        return residual

    return coded, networks.prior.join(networks.prior.run(z, level, coder))
