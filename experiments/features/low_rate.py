"""At 4 to 16 bytes a vector: our transform coding, ways to make it better there, and product quantisation.

    python experiments/features/low_rate.py --data DATA --out experiments/results/features

The vectors are what the server half of the shipped `split-cifar` makes of 8,000 CIFAR images before its last layer, 192
numbers each; models and code books are made of 6,000 of them, and the table is of the other 2,000: bytes a vector (of
ours ideal code lengths, which files meet within 1 %), and the part of the variance that is lost. Models are not
counted.

    ours             as `obverse train features --bits` fits it: eigenvectors, reverse water-filling, one slope
    clusters of K    the nearest of K means first, by its code length; then ours on what is left
    energy classes   ours, with tables for each of four classes of vectors by the energy of their symbols
    opq, pq          product quantisation by faiss after its learned rotation, and without
"""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

import numpy as np
from peers import quantise_faiss, quantise_product
from PIL import Image
from report import write_csv

from obverse.codecs.features.fit import Target, fit
from obverse.codecs.split.codec import SplitCodec

BYTES = (4, 8, 16)
OPQ_BYTES = (4, 8)  # its training takes minutes for each part
TRAIN = 6000
CLASSES = 4


def features_of(data: Path) -> np.ndarray:
    """(8000, 192) float32: the mean over the places of the last layer."""
    codec, parts = SplitCodec(), []
    server = codec.server.server
    hook = server.tail.head.register_forward_pre_hook(lambda _, given: parts.append(given[0].numpy().copy()))
    for path in sorted((data / "cifar10").glob("*_0?.png")):
        sheet = np.asarray(Image.open(path)).reshape(25, 32, 40, 32, 3)
        images = sheet.transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3)
        for first in range(0, len(images), 200):
            codec.predict(codec.encode(images[first : first + 200]))
    hook.remove()
    return np.concatenate(parts).astype(np.float32)


def k_means(x: np.ndarray, count: int, turns: int = 12) -> np.ndarray:
    book = x[np.random.default_rng(0).choice(len(x), count, replace=False)].astype(np.float64)
    for _ in range(turns):
        at = nearest(x, book)
        held = np.bincount(at, minlength=count)[:, None]
        sums = np.zeros_like(book)
        np.add.at(sums, at, x)
        book = np.where(held > 0, sums / np.maximum(held, 1), book)
    return book


def nearest(x: np.ndarray, book: np.ndarray) -> np.ndarray:
    return np.argmin(np.square(book).sum(1) - 2 * x @ book.T, 1)


def by_clusters(
    train: np.ndarray, test: np.ndarray, size: int, count: int
) -> tuple[float, np.ndarray] | None:
    """Bytes a vector, and what is decoded; None where the index alone takes more."""
    book = k_means(train, count)
    a, b = nearest(train, book), nearest(test, book)
    shares = np.bincount(a, minlength=count) + 0.5
    index_bits = float(-np.log2(shares / shares.sum())[b].mean())
    if 8 * size - index_bits < 2:
        return None
    model = fit((train - book[a]).astype(np.float32), Target(bits=8 * size - index_bits))
    z = model.quantise((test - book[b]).astype(np.float32))
    return (index_bits + float(model.rate_bits(z).mean())) / 8, model.dequantise(z) + book[b]


def by_energy(train: np.ndarray, test: np.ndarray, size: int) -> tuple[float, np.ndarray]:
    """As ours, with four tables a coefficient: what a class costs, and what its tables then save."""
    model = fit(train, Target(bits=8 * size))
    z, w = model.quantise(train), model.quantise(test)
    edges = np.quantile((z != 0).sum(0), np.arange(1, CLASSES) / CLASSES)
    a, b = (np.searchsorted(edges, (s != 0).sum(0)) for s in (z, w))
    shares = np.bincount(a, minlength=CLASSES) + 0.5
    bits = -np.log2(shares / shares.sum())[b]
    low, high = int(z.min()), int(z.max())
    for rows, coded in zip(z, np.clip(w, low, high), strict=True):
        counts = np.full((CLASSES, high - low + 1), 0.02)
        np.add.at(counts, (a, rows - low), 1)
        bits += -np.log2(counts / counts.sum(1, keepdims=True))[b, coded - low]
    return float(bits.mean()) / 8, model.dequantise(w)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("report/features"))
    options = parser.parse_args()
    x = features_of(options.data)
    train, test = x[:TRAIN], x[TRAIN:]
    spread = np.square(test - train.mean(0)).sum()
    rows = []

    def add(name: str, size: float, decoded: np.ndarray) -> None:
        lost = float(np.square(test - decoded).sum() / spread)
        rows.append({"name": name, "bytes": round(size, 2), "lost": round(lost, 4)})
        print(rows[-1], flush=True)

    for size in BYTES:
        model = fit(train, Target(bits=8 * size))
        z = model.quantise(test)
        add("ours", float(model.rate_bits(z).mean()) / 8, model.dequantise(z))
        add("ours, energy classes", *by_energy(train, test, size))
        for count in (16, 64, 256):
            if found := by_clusters(train, test, size, count):
                add(f"ours, clusters of {count}", *found)
        add("pq", size, quantise_product(train, test, size).test)
        if size in OPQ_BYTES and importlib.util.find_spec("faiss"):
            add("opq", size, quantise_faiss(train, test, size).test)
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "low_rate.csv", rows)


if __name__ == "__main__":
    main()
