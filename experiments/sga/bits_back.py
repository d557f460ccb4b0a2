"""What bits-back over the hyper-latents could save in the image codec: measured before it is built.

    python experiments/sga/bits_back.py kodak/ --out experiments/results/sga

Bits-back draws z from a posterior q(z | ŷ) by popping from the message, and the receiver, who has decoded ŷ, pushes it
back. So ŷ must lie on a grid that does not depend on z. The codec's grid does: a latent is its mean, which z predicts,
plus an integer. For central crops this writes bits_back.csv, one row an image and quality:

    z_percent      share of z in the bits that are coded
    grid_percent   by how much bits + lmbda * squared error grow, in per cent of the bits, where latents are integers
    saved_percent  -ELBO on integers, relative to the bits with z rounded: q is Gaussian around the hyper-analysis of
                   ŷ, with the one standard deviation for all z, of five, that is best at the quality

The last two are what the model says, by the Gaussians that its tables are made from. Bits-back pays where
-saved_percent is more than grid_percent. Channels of z whose scale is below 0.3 stay rounded: they cost next to
nothing.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import obverse
from obverse.codecs.image.codec import level_of
from obverse.codecs.image.differentiable_prior import DifferentiableFourStep
from obverse.codecs.image.effort import lmbda_of_level
from obverse.codecs.image.encoder import quantise_latents
from obverse.codecs.image.exact_prior import interpolate_level
from obverse.codecs.image.networks import ImageNetworks
from obverse.codecs.image.prior import gaussian_bits, to_slices
from obverse.codecs.image.scales import LOG_STEP, SCALE_MIN
from obverse.data.patches import central_crop
from obverse.metrics.distortion import mse
from obverse.transforms.blocks import depth_to_space

QUALITIES = (15, 35, 55, 75)
SPREADS = (0.1, 0.15, 0.2, 0.3, 0.45)  # standard deviations of q
ACTIVE = 0.3  # least scale of a channel of z that is drawn
DRAWS = 4


def bits_of_integers(prior: DifferentiableFourStep, y: Tensor, z: Tensor, level: int) -> float:
    """Bits of whole numbers y (1, M, h, w) given z: masses of unit bins around them under the predicted Gaussians."""
    extra = interpolate_level(prior.quality, level).float().view(1, -1, 1, 1)
    features = prior.conv2(depth_to_space(prior.conv1(z, extra), 2))
    bits, slices = 0.0, to_slices(y)
    for k, part in enumerate(slices):
        mean, index = prior.slices[k](features, slices[:k])
        bits += float(gaussian_bits(part - mean, index).sum())
    return bits


@torch.inference_mode()
def measure(networks: ImageNetworks, pixels: np.ndarray, quality: float) -> dict[str, float]:
    level, prior = level_of(quality), DifferentiableFourStep(networks.prior)
    worth = lmbda_of_level(level) * pixels.shape[0] * pixels.shape[1]
    y = networks.analyse(pixels, level)

    def squared_error(y_hat: Tensor) -> float:
        return worth * mse(networks.synthesise(y_hat, level, *pixels.shape[:2]), pixels)

    coded, y_hat = quantise_latents(networks, (y, networks.hyper_analyse(y)), level)
    bits = [float(networks.tables.bits(symbols, index).sum()) for symbols, index in coded]
    whole = y.round()
    centre = networks.hyper_analyse(whole)
    index = networks.prior.z_tables(level).float().view(1, -1, 1, 1)
    scale = SCALE_MIN * torch.exp(LOG_STEP * index)
    active = (scale > ACTIVE).expand_as(centre)
    z_bits = gaussian_bits(centre.round(), index.expand_as(centre))
    rounded = bits_of_integers(prior, whole, centre.round(), level) + float(z_bits.sum())
    row = {
        "z_percent": 100 * bits[0] / sum(bits),
        "grid_percent": 100 * (rounded + squared_error(whole) - sum(bits) - squared_error(y_hat)) / sum(bits),
    }
    generator = torch.Generator().manual_seed(0)
    for spread in SPREADS:
        drawn = 0.0
        for _ in range(DRAWS):
            noise = torch.randn(centre.shape, generator=generator)
            z = torch.where(active, centre + spread * noise, centre.round())
            prior_bits = 0.5 * (z / scale).square() / math.log(2) + torch.log2(scale)
            bits_back = 0.5 * noise.square() / math.log(2) + math.log2(spread)
            net = float((prior_bits - bits_back)[active].sum() + z_bits[~active].sum())
            drawn += (bits_of_integers(prior, whole, z, level) + net) / DRAWS
        row[f"saved_{spread}"] = 100 * (drawn / rounded - 1)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/sga"))
    parser.add_argument("--crop", type=int, default=256, help="side of the central crops in pixels")
    parser.add_argument("--step", type=int, default=1, help="every so manyth image")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    networks = obverse.open_codec("image").networks
    rows = []
    for path in sorted(options.images.glob("*.png"))[:: options.step]:
        pixels = central_crop(np.asarray(Image.open(path).convert("RGB")), options.crop)
        rows += [
            {"image": path.name, "quality": quality} | measure(networks, pixels, quality)
            for quality in QUALITIES
        ]
    with open(options.out / "bits_back.csv", "w", newline="") as f:
        writer = csv.writer(f)
        names = ("image", "quality", "z_percent", "grid_percent", "saved_percent", "spread")
        writer.writerow(names)
        for quality in QUALITIES:
            here = [row for row in rows if row["quality"] == quality]
            spread = min(SPREADS, key=lambda s: float(np.mean([row[f"saved_{s}"] for row in here])))
            for row in here:
                values = (row["z_percent"], row["grid_percent"], row[f"saved_{spread}"])
                writer.writerow((row["image"], quality, *(f"{value:.2f}" for value in values), spread))
            means = [
                np.mean([row[name] for row in here])
                for name in ("z_percent", "grid_percent", f"saved_{spread}")
            ]
            line = "z {:.2f} % of the bits, whole numbers {:+.2f} %, bits-back {:+.2f} %".format(*means)
            sys.stdout.write(f"quality {quality}, {len(here)} images: {line} (spread {spread})\n")


if __name__ == "__main__":
    main()
