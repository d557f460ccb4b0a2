"""What `make demo` runs: one photo to a file and back, beside classical codecs at the same PSNR."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import obverse
from obverse.evaluation import Coder, classical
from obverse.metrics.distortion import ms_ssim, psnr

matplotlib.use("Agg")
import matplotlib.pyplot as plt

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
    files = [(q, peer.encode(original, {"quality": q})) for q in range(0, 96)]
    fitting = [pair for pair in files if len(pair[1]) <= size]
    return fitting[-1] if fitting else files[0]


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

    quality, same_size = best_within(classical("jpeg"), original, len(data))
    crop = (slice(60, 316), slice(120, 504))
    panels = [
        ("original", f"{PHOTO.stat().st_size:,} bytes (PNG)", original),
        ("Obverse", f"{len(data):,} bytes, {ours:.1f} dB", decoded),
    ]
    result = np.asarray(Image.open(io.BytesIO(same_size)).convert("RGB"))
    panels.append(
        (f"JPEG, quality {quality}", f"{len(same_size):,} bytes, {psnr(original, result):.1f} dB", result)
    )
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 3.6), layout="constrained")
    for axis, (title, text, panel) in zip(axes, panels, strict=True):
        axis.imshow(panel[crop])
        axis.set_title(f"{title}\n{text}", fontsize=11)
        axis.axis("off")
    figure.savefig(OUT / "side_by_side.png", dpi=110)
    sys.stdout.write(f"wrote {OUT}/photo.obv, {OUT}/photo.png and {OUT}/side_by_side.png\n")


if __name__ == "__main__":
    main()
