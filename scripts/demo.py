"""What `make demo` runs: one photo to a file and back, beside classical codecs at equal PSNR and at equal bytes."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

import obverse
from obverse.evaluation import Coder, classical
from obverse.metrics.distortion import ms_ssim, psnr

PHOTO = Path(__file__).parent.parent / "examples" / "kodim23.png"
OUT = Path("demo")
QUALITY = 30


def timed(work, *arguments):  # type: ignore[no-untyped-def]
    """(result, CPU seconds) of a call."""
    started = time.process_time()
    result = work(*arguments)
    return result, time.process_time() - started


def smallest_as_good(peer: Coder, original: np.ndarray, target: float) -> tuple[int, bytes]:
    """The lowest quality of a peer whose PSNR is not below `target` (dB), and its file."""
    low, high = 0, 100
    while low < high:
        middle = (low + high) // 2
        decoded = peer.decode(peer.encode(original, {"quality": middle}), original)
        if psnr(original, decoded) >= target:
            high = middle
        else:
            low = middle + 1
    return low, peer.encode(original, {"quality": low})


def best_within(peer: Coder, original: np.ndarray, size: int) -> tuple[int, bytes]:
    """The highest quality of a peer whose file is not larger than `size` bytes (or its lowest)."""
    low, high = 0, 100
    while low < high:
        middle = (low + high + 1) // 2
        if len(peer.encode(original, {"quality": middle})) <= size:
            low = middle
        else:
            high = middle - 1
    return low, peer.encode(original, {"quality": low})


def side_by_side(panels: list[tuple[str, np.ndarray]]) -> Image.Image:
    """Panels of one size, each under its text: two a row, a pixel of theirs a pixel of the picture."""
    height, width = panels[0][1].shape[:2]
    font, room, gap = ImageFont.load_default(16), 30, 8
    picture = Image.new("RGB", (2 * width + gap, 2 * (height + room)), "white")
    for i, (text, pixels) in enumerate(panels):
        left, top = (i % 2) * (width + gap), (i // 2) * (height + room)
        ImageDraw.Draw(picture).text((left + 4, top + 5), text, fill="black", font=font)
        picture.paste(Image.fromarray(pixels), (left, top + room))
    return picture


def main() -> None:
    OUT.mkdir(exist_ok=True)
    original = np.asarray(Image.open(PHOTO).convert("RGB"))
    pixels = original.shape[0] * original.shape[1]
    sys.stderr.write("compiling and loading the model (the first time takes some seconds) ...\n")
    obverse.decompress(obverse.compress(original))  # start-up apart

    data, encode = timed(lambda: obverse.compress(PHOTO, quality=QUALITY))
    (OUT / "photo.obv").write_bytes(data)
    decoded, decode = timed(lambda: obverse.decompress(OUT / "photo.obv"))
    Image.fromarray(decoded).save(OUT / "photo.png")
    ours = psnr(original, decoded)

    table = Table(title=f"{PHOTO.name}, {original.shape[1]}x{original.shape[0]}: files of the same PSNR")
    for column in (
        "codec",
        "bytes",
        "times ours",
        "bpp",
        "PSNR dB",
        "MS-SSIM",
        "encode CPU s",
        "decode CPU s",
    ):
        table.add_column(column, justify="left" if column == "codec" else "right")

    def row(name: str, size: int, result: np.ndarray, encode: float, decode: float) -> None:
        table.add_row(
            name, f"{size:,}", f"{size / len(data):.2f}", f"{size * 8 / pixels:.3f}", f"{psnr(original, result):.2f}",
            f"{ms_ssim(original, result):.4f}", f"{encode:.3f}", f"{decode:.3f}",
        )  # fmt: skip

    row(f"obverse q{QUALITY}", len(data), decoded, encode, decode)
    for name in ("jpeg", "webp", "avif"):
        peer = classical(name)
        quality, _ = smallest_as_good(peer, original, ours)
        file, encode = timed(peer.encode, original, {"quality": quality})
        result, decode = timed(peer.decode, file, original)
        row(f"{name} q{quality}", len(file), result, encode, decode)
    Console().print(table)

    crop = (slice(60, 316), slice(120, 504))
    panels = [(f"original, {PHOTO.stat().st_size:,} bytes (PNG)", original[crop])]
    panels.append((f"Obverse, {len(data):,} bytes, {ours:.1f} dB", decoded[crop]))
    for name, title in (("avif", "AVIF"), ("webp", "WebP")):
        quality, file = best_within(classical(name), original, len(data))
        result = classical(name).decode(file, original)
        text = f"{title}, quality {quality}, {len(file):,} bytes, {psnr(original, result):.1f} dB"
        panels.append((text, result[crop]))
    side_by_side(panels).save(OUT / "side_by_side.png")
    sys.stdout.write(f"wrote {OUT}/photo.obv, {OUT}/photo.png and {OUT}/side_by_side.png\n")


if __name__ == "__main__":
    main()
