"""What codecs of pixels need for the teacher: JPEG, WebP and our own image codec, for cifar.py.

image ──► codec ──► bytes ──► codec ──► pixels ──► teacher ──► class
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from obverse.codec import compress, decompress
from obverse.codecs.split.images import LabelledImages, as_floats
from obverse.codecs.split.resnet import ResNet

PEERS: dict[str, dict[str, tuple[int, ...]]] = {
    "cifar": {
        "jpeg": (10, 25, 45, 65, 80, 90),
        "webp": (5, 20, 40, 60, 80, 90),
        "image": (40, 55, 70, 85),
    },
    "upsampled": {"jpeg": (5, 10, 20, 35, 55), "webp": (1, 5, 15, 30, 50, 75), "image": (15, 30)},
}
SHEET_COLUMNS = 40


def encoder(name: str, quality: int) -> Callable[[np.ndarray], bytes]:
    """pixels (H, W, 3) uint8 -> the bytes of a file."""
    if name == "image":
        return lambda pixels: compress(pixels, quality=quality)
    settings = {"optimize": True} if name == "jpeg" else {"method": 6}

    def encode(pixels: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, name.upper(), quality=quality, **settings)
        return buffer.getvalue()

    return encode


def decode(name: str, data: bytes) -> np.ndarray:
    """The pixels of a file, (H, W, 3) uint8."""
    if name == "image":
        return np.asarray(decompress(data))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def sheet_of(images: np.ndarray) -> np.ndarray:
    """(n, S, S, 3) -> one picture that shows them all, in rows of 40."""
    n, side = images.shape[:2]
    grid = images.reshape(n // SHEET_COLUMNS, SHEET_COLUMNS, side, side, 3)
    return grid.transpose(0, 2, 1, 3, 4).reshape(-1, SHEET_COLUMNS * side, 3)


def images_of(sheet: np.ndarray, side: int) -> np.ndarray:
    """The inverse of `sheet_of`."""
    grid = sheet.reshape(-1, side, SHEET_COLUMNS, side, 3)
    return grid.transpose(0, 2, 1, 3, 4).reshape(-1, side, side, 3)


def told(teacher: ResNet, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose class the teacher tells."""
    right = 0
    with torch.no_grad():
        for first in range(0, len(images), 500):
            x = torch.from_numpy(images[first : first + 500]).permute(0, 3, 1, 2)
            right += int((teacher(as_floats(x)).argmax(1).numpy() == labels[first : first + 500]).sum())
    return right / len(images)


def measure_peer(
    name: str, quality: int, test: LabelledImages, teacher: ResNet
) -> dict[str, dict[str, float]]:
    """Bytes an image, accuracy, and PSNR in dB: of a file for each image, and of a sheet of all."""
    images, labels = test.images.permute(0, 2, 3, 1).numpy(), test.labels.numpy()
    encode = encoder(name, quality)
    files = [encode(image) for image in images]
    alone = np.stack([decode(name, file) for file in files])
    # sheets of at most a thousand images, as one of all upsampled images would be larger than photos are
    sheets = [encode(sheet_of(images[i : i + 1000])) for i in range(0, len(images), 1000)]
    together = np.concatenate([images_of(decode(name, sheet), test.side) for sheet in sheets])
    rows = {}
    for way, sizes, decoded in (("file", files, alone), ("set", sheets, together)):
        error = np.square(decoded.astype(np.float64) - images).mean()
        rows[way] = {
            "bytes": sum(map(len, sizes)) / len(images),
            "accuracy": told(teacher, decoded, labels),
            "psnr": float(10 * np.log10(255**2 / error)),
        }
    return rows
