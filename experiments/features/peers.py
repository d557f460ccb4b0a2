"""What experiments/features/probe.py compares with: general compressors, int8, product quantisation, JPEG files.

    x (n, d) ──► peer ──► what a probe would read, and the bytes of a file of it

Product quantisation (Jegou et al. 2011) cuts a vector into parts and writes for each the number of the nearest of 256
words, one byte.
"""

from __future__ import annotations

import importlib.util
import io
import lzma
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

WORDS = 256
SAMPLE = 10_240  # vectors that code books are made of: 40 a word, as faiss asks for


@dataclass
class Coded:
    """train, test: what is decoded. bytes: of the file of all test features. shared: of what both sets need beside."""

    train: np.ndarray
    test: np.ndarray
    bytes: int
    shared: int = 0


def general() -> dict[str, Callable[[bytes], bytes]]:
    """General compressors that are here."""
    found: dict[str, Callable[[bytes], bytes]] = {"xz": lambda raw: lzma.compress(raw, preset=9)}
    if importlib.util.find_spec("zstandard"):
        import zstandard

        found["zstd"] = zstandard.ZstdCompressor(level=19).compress
    return found


def int8(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Decoded train and test, the codes of test, and bytes of scales and offsets, of the range in training."""
    low, high = train.min(0), train.max(0)
    scale = np.maximum(high - low, 1e-6) / 255
    codes = [np.clip(np.rint((x - low) / scale), 0, 255).astype(np.uint8) for x in (train, test)]
    decoded = [c * scale + low for c in codes]
    return decoded[0], decoded[1], codes[1], 8 * len(low)


def standardised(
    train: np.ndarray, test: np.ndarray, quantise: Callable[[np.ndarray, np.ndarray], Coded]
) -> Coded:
    """The same on features in units of their own deviations, as the probe counts them; two floats each are shared."""
    mean, scale = train.mean(0), train.std(0) + 1e-4
    coded = quantise((train - mean) / scale, (test - mean) / scale)
    return Coded(
        coded.train * scale + mean, coded.test * scale + mean, coded.bytes, coded.shared + 8 * len(mean)
    )


def quantise_product(train: np.ndarray, test: np.ndarray, parts: int, seed: int = 0) -> Coded:
    """Product quantisation by k-means of our own; the parts are as equal as the dimensions allow."""
    rng = np.random.default_rng(seed)
    sample = train[rng.choice(len(train), min(SAMPLE, len(train)), replace=False)]
    decoded = [np.empty_like(x) for x in (train, test)]
    for here in np.array_split(np.arange(train.shape[1]), parts):
        x = sample[:, here]
        book = x[rng.choice(len(x), WORDS, replace=False)]
        for _ in range(10):
            nearest = _nearest(x, book)
            counts = np.bincount(nearest, minlength=WORDS)
            sums = np.zeros_like(book)
            np.add.at(sums, nearest, x)
            book = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], book)
        for out, whole in zip(decoded, (train, test), strict=True):
            out[:, here] = book[_nearest(whole[:, here], book)]
    return Coded(*decoded, bytes=len(test) * parts, shared=2 * WORDS * train.shape[1])


def _nearest(x: np.ndarray, book: np.ndarray) -> np.ndarray:
    return np.argmin(np.square(book).sum(1) - 2 * x @ book.T, 1)


def quantise_faiss(train: np.ndarray, test: np.ndarray, parts: int) -> Coded:
    """Product quantisation by faiss after its learned rotation (OPQ; Ge et al. 2013). parts: a divisor of d."""
    import faiss

    faiss.omp_set_num_threads(1)
    d = train.shape[1]
    index = faiss.index_factory(d, f"OPQ{parts},PQ{parts}x8")
    index.train(np.ascontiguousarray(train[:SAMPLE], np.float32))
    decoded = [index.sa_decode(index.sa_encode(np.ascontiguousarray(y, np.float32))) for y in (train, test)]
    return Coded(*decoded, bytes=len(test) * parts, shared=2 * WORDS * d + 2 * d * d)


def jpeg(images: np.ndarray, quality: int) -> tuple[np.ndarray, int]:
    """The images after JPEG, and the bytes of a file each, its quantisation and Huffman tables optimised."""
    total, decoded = 0, []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
        total += len(buffer.getvalue())
        decoded.append(np.asarray(Image.open(buffer)))
    return np.stack(decoded), total
