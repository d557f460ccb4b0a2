"""16 bits a channel without loss: python benchmarks/lossless_16_bits.py --photos kodak/

Bytes and CPU seconds of `image-lossless`, PNG (ours at level 9, then OxiPNG's best) and JPEG XL (effort 7) on pictures
that are made here, each decoded again and compared: smooth fields with the noise of a sensor, photos times 257 with
noise, and what cameras make of 12 bits. Needs imagecodecs and pyoxipng.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import obverse
from obverse.data.deep_images import finished, savable
from obverse.data.images import read_photo

RESULT = Path(__file__).parent / "results" / "lossless_16_bits.csv"
HEIGHT, WIDTH = 384, 512

Array = np.ndarray


def field(seed: int) -> Array:
    """(H, W, 3) float64 from 0 to 1: a sum of waves that the channels share, and a few of their own."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] / WIDTH

    def waves(count: int, fastest: float, weakest: float, strongest: float) -> Array:
        total = np.zeros((HEIGHT, WIDTH))
        for _ in range(count):
            down, across = rng.uniform(-fastest, fastest, 2)
            wave = np.sin(2 * np.pi * (down * rows + across * columns + rng.uniform()))
            total += rng.uniform(weakest, strongest) * wave
        return total

    shared = waves(12, 3, 0.2, 1)
    planes = np.dstack([shared + waves(5, 2, 0.1, 0.4) for _ in range(3)])
    planes -= planes.min()
    return planes / planes.max()


def samples(values: Array, top: int = 65535) -> Array:
    return np.clip(np.round(values), 0, top).astype(np.uint16)


def pictures(photos: list[Array]) -> Iterator[tuple[str, Array]]:
    """Names, and (H, W, C) uint16."""
    rng = np.random.default_rng(5)

    def noise(values: Array) -> Array:
        return rng.standard_normal(values.shape)

    for sigma in (0, 8, 60, 500, 3000):
        clean = 6000 + 50_000 * field(1 + sigma)
        yield f"field, noise {sigma}", samples(clean + sigma * noise(clean))
    clean = 65535 * (0.05 + 0.9 * field(77))
    yield "field, shot noise", samples(clean + np.sqrt(4 * clean + 100) * noise(clean))
    for sigma, photo in zip((0, 40, 128, 600), photos, strict=False):
        yield f"photo times 257, noise {sigma}", samples(257.0 * photo + sigma * noise(photo))
    for number, photo in enumerate(photos[:3]):
        linear = (photo / 255) ** 2.2
        light = 4000 * linear + 60
        raw = samples(light + np.sqrt(0.3 * light + 4) * noise(light), 4095)
        yield f"12 bits, photo {number}", raw
        yield f"12 bits times 16, photo {number}", raw * 16
        yield f"12 bits stretched, photo {number}", samples(raw * (65535 / 4095))
        yield f"12 bits, white balance, photo {number}", samples(raw * np.array([9.3, 16, 12.7]))
        yield f"12 bits, gamma, photo {number}", samples((raw / 4095) ** (1 / 2.2) * 65535)
        light = 65535 * linear
        yield f"linear light, photo {number}", samples(light + np.sqrt(8 * light + 400) * noise(light))
        smoothed = noise(light)
        smoothed = sum(np.roll(smoothed, (i, j), (0, 1)) for i in (0, 1) for j in (0, 1)) / 4
        matrix = np.array([[1.6, -0.4, -0.2], [-0.3, 1.5, -0.2], [0, -0.5, 1.5]])
        camera = (60_000 * linear + np.sqrt(6 * light + 900) * smoothed) @ matrix.T
        yield f"demosaicked, photo {number}", samples(camera)
        edge = samples(65535 * np.clip(3 * field(9)[:, :, :1] - 1, 0, 1))
        yield f"with alpha, photo {number}", np.concatenate([samples(camera), edge], axis=2)
    gray = samples(6000 + 50_000 * field(3)[:, :, 1:2] + 90 * noise(np.zeros((HEIGHT, WIDTH, 1))))
    yield "gray with alpha", np.concatenate([gray, edge], axis=2)


def coders() -> dict[str, tuple[Callable[[Array], bytes], Callable[[bytes], Array]]]:
    import imagecodecs
    import oxipng

    def png(array: Array) -> bytes:
        buffer = io.BytesIO()
        savable(array, "PNG", "a.png").save(buffer, "PNG")
        return finished(buffer.getvalue(), array, "PNG", level=9)

    def read_png(data: bytes) -> Array:
        array = read_photo(io.BytesIO(data), exact=True).array()
        return (
            array if array.dtype == np.uint16 else array * np.uint16(257)
        )  # OxiPNG has found that 8 bits do

    def jxl(array: Array) -> bytes:
        return bytes(imagecodecs.jpegxl_encode(array, lossless=True, effort=7, numthreads=1))

    return {
        "image-lossless": (lambda array: obverse.compress(array, codec="image-lossless"), obverse.decompress),
        "png": (png, read_png),
        "oxipng": (lambda array: bytes(oxipng.optimize_from_memory(png(array), level=6)), read_png),
        "jxl": (jxl, imagecodecs.jpegxl_decode),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--photos", type=Path, required=True, help="a folder of photos of 8 bits; five are used"
    )
    files = sorted(parser.parse_args().photos.glob("*.png"))[3:24:5]
    photos = []
    for file in files:
        with Image.open(file) as image:
            whole = np.asarray(image.convert("RGB"))
        top, left = (whole.shape[0] - HEIGHT) // 2, (whole.shape[1] - WIDTH) // 2
        photos.append(whole[top : top + HEIGHT, left : left + WIDTH].astype(np.float64))
    known = coders()
    obverse.decompress(obverse.compress(np.zeros((8, 8, 3), np.uint16), codec="image-lossless"))  # compiles
    rows: list[dict[str, Any]] = []
    for name, array in pictures(photos):
        for coder, (encode, decode) in known.items():
            started = time.process_time()
            data = encode(array)
            encoded = time.process_time()
            if not np.array_equal(decode(data), array):
                raise SystemExit(f"{name}: {coder} is not exact")
            rows.append({
                "picture": name, "codec": coder, "samples": array.size, "bytes": len(data),
                "encode_seconds": round(encoded - started, 3),
                "decode_seconds": round(time.process_time() - encoded, 3),
            })  # fmt: skip
            print(rows[-1], flush=True)
    sums = ("samples", "bytes", "encode_seconds", "decode_seconds")
    for coder in known:
        own = [row for row in rows if row["codec"] == coder]
        rows.append(
            {"picture": "all", "codec": coder} | {key: round(sum(row[key] for row in own), 3) for key in sums}
        )
    first = {row["picture"]: row["bytes"] for row in rows if row["codec"] == "image-lossless"}
    for row in rows:
        row["ratio"] = round(row["bytes"] / first[row["picture"]], 4)  # to the bytes of image-lossless
    with RESULT.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
