"""When a left view helps, and when it does not: one pair under many conditions.

    python experiments/stereo/conditions.py FOLDER --out experiments/results/stereo

FOLDER holds pairs NAME_left.png, NAME_right.png, in colour. The left view is changed (exposure, noise, focus,
misalignment, a shift that makes all disparities larger), or a scene is made of the pair's right view as a background
and thin bars in front of it; conditions.csv has for each the BD-rate (PSNR) of the file with the left view at the
decoder against the image codec alone, and how well the views match, as the decoder measures it (it refuses a left view
below the model's `least_match`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from views import psnr, write_csv

from obverse.codecs.image.codec import ImageCodec, level_of
from obverse.codecs.stereo.codec import StereoCodec, fuse_pixels, like
from obverse.codecs.stereo.pairs import pair_files, read_pair
from obverse.container import write
from obverse.metrics.bd_rate import bd_rate

QUALITIES = (1, 10, 20, 30)
ALONE = (*QUALITIES, 45, 60)  # the image codec's, up to the PSNRs that are reached with the left view
BACKGROUND, BARS = 12, 40  # pixels of disparity in made scenes
Views = tuple[np.ndarray, np.ndarray]


def as_pixels(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def shifted(left: np.ndarray, columns: int) -> np.ndarray:
    """All disparities larger by so many pixels: what comes in from the side repeats the edge."""
    return np.pad(left, ((0, 0), (columns, 0), (0, 0)), mode="edge")[:, : left.shape[1]]


def raised(left: np.ndarray, rows: int) -> np.ndarray:
    return np.pad(left, ((rows, 0), (0, 0), (0, 0)), mode="edge")[: len(left)]


def with_bars(right: np.ndarray, width: int) -> Views:
    """A scene with upright bars of so many pixels, five times as far apart, in front of a background."""
    rng = np.random.default_rng(width)
    views = shifted(right, BACKGROUND), right.copy()
    for x in range(width, right.shape[1] - BARS - width, 5 * width):
        bar = rng.integers(0, 256, 3) + rng.normal(0, 6, (len(right), width, 3))
        for view, at in zip(views, (x + BARS, x), strict=True):
            view[:, at : at + width] = as_pixels(bar)
    return views


def conditions() -> dict[str, Callable[[np.ndarray, np.ndarray], Views]]:
    """(left, right) as they were taken to (left, right) as they are measured."""
    rng = np.random.default_rng(0)

    def blur(view: np.ndarray, radius: float) -> np.ndarray:
        return np.asarray(Image.fromarray(view).filter(ImageFilter.GaussianBlur(radius)))

    found: dict[str, Callable[[np.ndarray, np.ndarray], Views]] = {"as taken": lambda a, b: (a, b)}
    for share in (0.5, 0.8, 1.25):
        found[f"left exposed {share} times"] = lambda a, b, s=share: (as_pixels(a * s), b)
    for sigma in (5, 15):
        found[f"noise of {sigma} grey levels in the left view"] = lambda a, b, s=sigma: (
            as_pixels(a + rng.normal(0, s, a.shape)), b,
        )  # fmt: skip
    for radius in (1, 3):
        found[f"left view out of focus by {radius} pixels"] = lambda a, b, r=radius: (blur(a, r), b)
    for rows in (1, 3):
        found[f"views out of line by {rows} rows"] = lambda a, b, r=rows: (raised(a, r), b)
    for columns in (60, 120, 200):
        found[f"all disparities {columns} pixels larger"] = lambda a, b, c=columns: (shifted(a, c), b)
    found["made scene, no bars"] = lambda a, b: (shifted(b, BACKGROUND), b)
    for width in (2, 4, 16):
        found[f"made scene, bars of {width} pixels"] = lambda a, b, w=width: with_bars(b, w)
    return found


def measure(name: str, left: np.ndarray, right: np.ndarray) -> Iterator[dict[str, object]]:
    image, stereo = ImageCodec(), StereoCodec()
    alone: dict[bytes, list[tuple[float, float, np.ndarray]]] = {}
    for condition, change in conditions().items():
        a, b = change(left, right)
        if b.tobytes() not in alone:
            alone[b.tobytes()] = []
            for quality in ALONE:
                container = image.encode(b, image.options(quality=quality))
                decoded = image.decode(container)
                bpp = 8 * len(write(container)) / (b.shape[0] * b.shape[1])
                alone[b.tobytes()].append((bpp, psnr(decoded, b), decoded))
        points, matches = [], []
        for quality, (bpp, _, decoded) in zip(QUALITIES, alone[b.tobytes()], strict=False):
            fused, match = fuse_pixels(stereo.fusion, decoded, like(a, decoded), level_of(quality))
            points.append((bpp, psnr(fused, b)))
            matches.append(match)
        percent = bd_rate([(bpp, value) for bpp, value, _ in alone[b.tobytes()]], points)
        yield {
            "pair": name,
            "condition": condition,
            "percent": round(percent, 1),
            "match": round(min(matches), 3),
            "least_match": stereo.model.config["least_match"],
        }


def over_pairs(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    """A row for each condition: the pair that gains most, the one that gains least, and the worst match."""
    found: list[dict[str, object]] = []
    for condition in dict.fromkeys(row["condition"] for row in rows):
        own = [row for row in rows if row["condition"] == condition]
        percents = [float(str(row["percent"])) for row in own]
        match, least = (min(float(str(row[key])) for row in own) for key in ("match", "least_match"))
        found.append(
            {
                "condition": condition,
                "pairs": len(own),
                "best_pair": min(percents),
                "worst_pair": max(percents),
                "match": match,
                "refused": "yes" if match < least else "no",
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", nargs="*", help="of the pairs; all by default")
    parser.add_argument("--out", type=Path, default=Path("report/stereo"))
    options = parser.parse_args()
    rows = []
    for files in pair_files([options.folder]):
        name = files.right.stem.removesuffix("_right")
        if not options.names or name in options.names:
            rows += measure(name, *read_pair(files))
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "conditions.csv", over_pairs(rows))


if __name__ == "__main__":
    main()
