"""Pictures of regular structures: gratings, bricks, fences, facades and cloth at all angles, seen in perspective.

    python experiments/photos/regular_textures.py --count 60 --seed 1 --out runs/textures     (to train on)
    python experiments/photos/regular_textures.py --count 20 --seed 2 --out report/textures   (to measure on)

Photos of architecture are full of them, and few photos of a training set are. Each picture is one pattern of two
periods, drawn four times as fine as it is stored, in colours of its own, under uneven light and with the noise of a
sensor; pictures of two seeds share neither angles nor periods nor colours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 512  # pixels
FINER = 4  # samples a pixel and side that are averaged
Pattern = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def wave(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A grating: sine, square or saw tooth."""
    phase = u % 1
    kind = rng.integers(3)
    return (0.5 + 0.5 * np.sin(2 * np.pi * u), phase < rng.uniform(0.2, 0.8), phase)[kind]


def checker(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Fields of two colours in turn."""
    return (np.floor(2 * u) + np.floor(2 * v)) % 2


def bricks(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows shifted by a half, each brick of a shade of its own, with joints."""
    row = np.floor(2 * v)
    across = u + 0.5 * (row % 2)
    joint = rng.uniform(0.05, 0.15)
    shades = rng.uniform(0.45, 1, 4096)
    index = (np.floor(across) * 57 + row * 131).astype(np.int64) % 4096
    inside = (across % 1 > joint / 2) & ((2 * v) % 1 > joint)
    return np.where(inside, shades[index], 0.1)


def fence(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Two sets of wires that cross, thin against the mesh."""
    width = rng.uniform(0.06, 0.25)
    return (((u + v) % 1) < width) | (((u - v) % 1) < width)


def facade(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Windows with frames and a cross, each of a shade of its own."""
    x, y = u % 1, v % 1
    shades = rng.uniform(0.05, 0.5, 4096)
    index = (np.floor(u) * 31 + np.floor(v) * 173).astype(np.int64) % 4096
    window = (abs(x - 0.5) < rng.uniform(0.2, 0.4)) & (abs(y - 0.5) < rng.uniform(0.2, 0.4))
    cross = (abs(x - 0.5) < 0.03) | (abs(y - 0.5) < 0.03)
    return np.where(window & ~cross, shades[index], np.where(window, 1.0, 0.75))


def cloth(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Warp over weft and weft over warp, in a twill of two to four threads."""
    threads = int(rng.integers(2, 5))
    over = (np.floor(2 * u) + np.floor(2 * v)) % threads == 0
    warp, weft = abs(np.sin(2 * np.pi * u)), abs(np.sin(2 * np.pi * v))
    return np.where(over, 0.35 + 0.65 * warp, 0.6 * weft)


PATTERNS: list[Pattern] = [wave, checker, bricks, fence, facade, cloth]


def coordinates(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(u, v) in periods, each (SIDE * FINER,) * 2: turned, stretched, and seen aslant in two pictures of three."""
    axis = (np.arange(SIDE * FINER) + 0.5) / FINER - SIDE / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    angle = rng.uniform(0, np.pi)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if rng.random() < 2 / 3:
        depth = 1 + (rng.uniform(-0.6, 0.6) * x + rng.uniform(-0.6, 0.6) * y) / (SIDE / 2) / 1.3
        along, across = along / depth, across / depth
    period = np.exp(rng.uniform(np.log(2.5), np.log(48)))  # pixels
    return along / period + rng.random(), across / (period * np.exp(rng.uniform(-0.7, 0.7))) + rng.random()


def picture(index: int, rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3) uint8."""
    u, v = coordinates(rng)
    value = PATTERNS[index % len(PATTERNS)](u, v, rng).astype(np.float32)
    value = value.reshape(SIDE, FINER, SIDE, FINER).mean(axis=(1, 3))[..., None]
    dark, bright = (rng.uniform(*ends, 1) + rng.normal(0, 40, 3) for ends in ((0, 110), (140, 255)))
    light = np.linspace(-1, 1, SIDE, dtype=np.float32)
    shade = 1 + rng.uniform(-0.3, 0.3) * light[:, None, None] + rng.uniform(-0.3, 0.3) * light[None, :, None]
    image = (dark + (bright - dark) * value) * shade + rng.normal(0, rng.uniform(0, 3), (SIDE, SIDE, 3))
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for index in range(args.count):
        rng = np.random.default_rng([args.seed, index])
        name = PATTERNS[index % len(PATTERNS)].__name__
        Image.fromarray(picture(index, rng)).save(args.out / f"{index:03d}_{name}.png")


if __name__ == "__main__":
    main()
