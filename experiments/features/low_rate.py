"""At 4 to 32 bytes a vector: the codec `features`, with its clusters and without, and product quantisation.

    python experiments/features/low_rate.py --data DATA --out experiments/results/features

The vectors are what the server half of the shipped `split-cifar` makes of 8,000 CIFAR images before its last layer, 192
numbers each; models and code books are made of 6,000 of them, and the table is of the other 2,000: bytes a vector, of
ours those of a whole file, the part of the variance that is lost, and for how many vectors their nearest neighbour is
among the ten nearest of what is decoded. Models and code books are not counted.

    ours               as `obverse train features --bits` fits it
    ours, no clusters  eigenvectors, reverse water-filling, one slope, as at higher rates
    opq, pq            product quantisation by faiss after its learned rotation, and without
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from pathlib import Path

import numpy as np
from peers import quantise_faiss, quantise_product
from PIL import Image
from report import write_csv

from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.export import fit_model
from obverse.codecs.features.fit import Target
from obverse.codecs.split.codec import SplitCodec
from obverse.container import read, write

BYTES = (4, 8, 12, 16, 32)
TRAIN = 6000


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


def recall(exact: np.ndarray, decoded: np.ndarray) -> float:
    """For how many vectors the one that is nearest to them is among the ten nearest of what is decoded."""
    exact, decoded = exact.astype(np.float64), decoded.astype(np.float64)
    found = []
    for stored in (exact, decoded):
        distances = np.square(stored).sum(1) - 2 * exact @ stored.T
        np.fill_diagonal(distances, np.inf)
        found.append(np.argsort(distances, 1)[:, :10])
    return float((found[1] == found[0][:, :1]).any(1).mean())


def ours(train: np.ndarray, test: np.ndarray, size: int, clusters: bool) -> tuple[float, np.ndarray]:
    """Bytes a vector of a file of all test vectors, by a stored model, and what is decoded of it."""
    with tempfile.TemporaryDirectory() as folder:
        stored, _ = fit_model(train, Path(folder) / "model", Target(bits=8 * size), clusters=clusters)
        codec = FeatureCodec(stored)
        file = write(codec.encode(test, codec.options(chunk=len(test))))
        return len(file) / len(test), codec.decode(read(file))


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

    def add(asked: int, name: str, size: float, decoded: np.ndarray) -> None:
        lost = float(np.square(test - decoded).sum() / spread)
        rows.append({
            "asked": asked, "name": name, "bytes": round(size, 2), "lost": round(lost, 4),
            "recall": round(recall(test, decoded), 4),
        })  # fmt: skip
        print(rows[-1], flush=True)

    for size in BYTES:
        add(size, "ours", *ours(train, test, size, True))
        add(size, "ours, no clusters", *ours(train, test, size, False))
        add(size, "pq", size, quantise_product(train, test, size).test)
        if importlib.util.find_spec("faiss"):
            add(size, "opq", size, quantise_faiss(train, test, size).test)
    options.out.mkdir(parents=True, exist_ok=True)
    write_csv(options.out / "low_rate.csv", rows)


if __name__ == "__main__":
    main()
