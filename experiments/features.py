"""Features of a frozen encoder, compressed: bytes an image and accuracy of a linear probe, beside what else there is.

    python experiments/features.py encoder --out runs/features
    python experiments/features.py table --encoder runs/features/encoder.pt2 --out experiments/results/features

`encoder` trains a small convolutional network on Fashion-MNIST without labels (SimCLR: two views of an image must be
near each other and far from all others; Chen et al. 2020) and writes it as a torch.export file. `table` makes features
of images with it, as a user would (obverse.integrations.encoders), compresses those of 30,000 training images and of
all test images, trains a linear probe on what is decoded of the former, and tests it on what is decoded of the latter.

Every size is that of real bytes: the file of all test features, divided by the images. A model or code book that is
shared by both sets is told apart. Rows: float16; float16 and int8 (a scale and an offset for each dimension) behind xz
and zstd; product quantisation (k-means, 256 words for each of m parts, one byte each) of our own, and of faiss after
its learned rotation (OPQ); ours, with a stored model and with the model in the file, distortion counted as it is or in
units of each feature's deviation, as the probe counts it, which standardises; and the JPEG files of the images, whose
features are made anew.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import io
import lzma
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import nn
from torch.nn import functional

from obverse.codecs.features import FeatureCodec
from obverse.container import read, write
from obverse.data.image_sets import read_image_set
from obverse.integrations.encoders import FrozenEncoder, load_encoder
from obverse.integrations.image_input import InputFormat
from obverse.training.features import Target
from obverse.training.features_export import fit_model

GRAY = InputFormat(mean=(0.0,), std=(1.0,))
LOSSES = (0.001, 0.003, 0.01)
STANDARDISED = (0.003, 0.006, 0.01, 0.02, 0.05)
IN_FILE = 0.006
PARTS = (32, 64, 128)
WORDS = 256


# -- the encoder -------------------------------------------------------------------------------------------------


class Encoder(nn.Module):
    """images (N, 1, 28, 28), 0 to 1 -> features (N, 512): mean and maximum over the positions of 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [(1, 32, 1), (32, 64, 2), (64, 128, 2), (128, 256, 2)]
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, s, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
                for a, b, s in sizes
            )
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        maps = self.layers(images - 0.3)
        return torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)


def views(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A random crop (half to all of the sides), mirror, contrast, brightness and erased square of each image."""
    n = len(images)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(n, generator=generator) * (high - low) + low

    zoom_x, zoom_y = uniform(0.5, 1), uniform(0.5, 1)
    mirror = torch.sign(uniform(-1, 1))
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom_x * mirror, zoom_y
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-1, 1) * (1 - zoom_x), uniform(-1, 1) * (1 - zoom_y)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    seen = functional.grid_sample(images, grid, align_corners=False)
    seen = seen * uniform(0.6, 1.4)[:, None, None, None] + uniform(-0.2, 0.2)[:, None, None, None]
    rows, columns = uniform(-4, 28)[:, None, None, None], uniform(-4, 28)[:, None, None, None]
    at = torch.arange(28.0)
    hole = ((at[:, None] - rows).abs() < 4) & ((at[None, :] - columns).abs() < 4)
    return torch.where(hole, torch.zeros(()), seen).clamp(0, 1)


def train_encoder(data: Path, out: Path, minutes: float, batch: int, seed: int) -> None:
    """SimCLR until the time is over; writes encoder.pt2 and training_log.csv."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    images = torch.tensor(read_image_set(data / "train-images-idx3-ubyte.gz")).float()[:, None] / 255
    encoder = Encoder().to(memory_format=torch.channels_last)
    head = nn.Sequential(nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 64))
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=2e-3, weight_decay=1e-4)
    out.mkdir(parents=True, exist_ok=True)
    start, step, rows = time.process_time(), 0, []
    while True:
        part = (time.process_time() - start) / (60 * minutes)
        if part >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 30) * (1 - part) ** 0.5
        chosen = images[torch.randint(len(images), (batch,), generator=generator)]
        both = torch.cat([views(chosen, generator), views(chosen, generator)])
        both = both.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            features = encoder(both)
        z = functional.normalize(head(features.float()), dim=1)
        odds = z @ z.T / 0.2
        odds.fill_diagonal_(-1e9)
        loss = functional.cross_entropy(odds, torch.arange(2 * batch).roll(batch))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        if step % 20 == 0:
            rows.append(
                {
                    "step": step,
                    "cpu_seconds": f"{time.process_time() - start:.0f}",
                    "loss": f"{loss.item():.4f}",
                }
            )
            sys.stdout.write(f"step {step}: loss {loss.item():.3f}\n")
            sys.stdout.flush()
    write_csv(out / "training_log.csv", rows)
    encoder.eval()
    names = torch.export.Dim("images", min=1, max=1 << 16)
    example = torch.zeros(2, 1, 28, 28)
    torch.export.save(
        torch.export.export(encoder.float(), (example,), dynamic_shapes=({0: names},)), out / "encoder.pt2"
    )
    sys.stdout.write(f"{out / 'encoder.pt2'}: {step} steps of {batch} images\n")


# -- the probe ---------------------------------------------------------------------------------------------------


def probe(
    train: np.ndarray, labels: np.ndarray, tests: list[np.ndarray], test_labels: np.ndarray
) -> list[float]:
    """Accuracy of multinomial logistic regression, trained on standardised features, on each test set."""
    x = torch.from_numpy(train.astype(np.float32))
    mean, scale = x.mean(0), x.std(0) + 1e-4
    x = (x - mean) / scale
    weights = torch.zeros(x.shape[1] + 1, 10, requires_grad=True)
    target = torch.from_numpy(labels.astype(np.int64))
    optimiser = torch.optim.LBFGS([weights], max_iter=120, history_size=10, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = (
            functional.cross_entropy(x @ weights[1:] + weights[0], target) + 1e-4 * weights[1:].square().sum()
        )
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        rated = []
        for test in tests:
            odds = (torch.from_numpy(test.astype(np.float32)) - mean) / scale @ weights[1:] + weights[0]
            rated.append(float((odds.argmax(1).numpy() == test_labels).mean()))
    return rated


# -- what compresses ---------------------------------------------------------------------------------------------


@dataclass
class Coded:
    """test: bytes of the file of all test features. shared: bytes of what both sets need beside it."""

    train: np.ndarray
    test: np.ndarray
    bytes: int
    shared: int = 0
    settings: dict[str, object] = field(default_factory=dict)


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


def quantise_product(train: np.ndarray, test: np.ndarray, parts: int, seed: int = 0) -> Coded:
    """Product quantisation (Jegou et al. 2011) by k-means of our own."""
    rng = np.random.default_rng(seed)
    sample = train[rng.choice(len(train), 8192, replace=False)]
    width = train.shape[1] // parts
    decoded = [np.empty_like(x) for x in (train, test)]
    for part in range(parts):
        here = slice(part * width, (part + 1) * width)
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


def quantise_faiss(train: np.ndarray, test: np.ndarray, parts: int, rotated: bool) -> Coded:
    """Product quantisation by faiss, after its learned rotation (OPQ) or not."""
    import faiss

    faiss.omp_set_num_threads(1)
    d = train.shape[1]
    x, shared = np.ascontiguousarray(train, np.float32), 2 * WORDS * d
    index = faiss.index_factory(d, f"OPQ{parts},PQ{parts}x8" if rotated else f"PQ{parts}x8")
    index.train(x[:10_240])
    decoded = [index.sa_decode(index.sa_encode(np.ascontiguousarray(y, np.float32))) for y in (train, test)]
    return Coded(*decoded, bytes=len(test) * parts, shared=shared + 2 * d * d * rotated)


def ours(
    train: np.ndarray, test: np.ndarray, encoder: FrozenEncoder, loss: float, out: Path | None, **how: Any
) -> Coded:
    """With a model stored in `out`, or with the model in each file."""
    shared = 0
    codec = FeatureCodec()
    options: dict[str, Any] = {"loss": loss, **how}
    if out is not None:
        stored, _ = fit_model(
            train, out, Target(loss=loss), encoder=encoder.fingerprint, encoder_name=encoder.name, **how
        )
        codec, options = FeatureCodec(stored), {}
        shared = sum(path.stat().st_size for path in out.iterdir() if path.suffix != ".md")
    files = [write(codec.encode(x, encoder=encoder, **options)) for x in (train, test)]
    decoded = [codec.decode(read(blob)) for blob in files]
    return Coded(*decoded, bytes=len(files[1]), shared=shared)


def jpeg(images: np.ndarray, quality: int) -> tuple[np.ndarray, int]:
    """The images after JPEG, and the bytes of a file each, its quantisation and Huffman tables optimised."""
    total, decoded = 0, []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
        total += len(buffer.getvalue())
        decoded.append(np.asarray(Image.open(buffer)))
    return np.stack(decoded), total


# -- the table ---------------------------------------------------------------------------------------------------


def table(data: Path, path: Path, out: Path, work: Path, some: int) -> None:
    encoder = load_encoder(path, GRAY)
    sets = {part: read_image_set(data / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")}
    labels = {part: read_labels(data / f"{part}-labels-idx1-ubyte.gz") for part in sets}
    sets["train"], labels["train"] = sets["train"][:some], labels["train"][:some]
    # what users keep is float16; it is the reference
    train, test = (encoder.features(sets[part], 500).astype(np.float16) for part in ("train", "t10k"))
    count = len(test)
    work.mkdir(parents=True, exist_ok=True)
    np.save(work / "train.npy", train)
    np.save(work / "test.npy", test)
    out.mkdir(parents=True, exist_ok=True)
    records: list[dict[str, object]] = []
    base, *photos = probe(
        train,
        labels["train"],
        [test, *(encoder.features(jpeg(sets["t10k"], q)[0], 500) for q in (50, 75, 95))],
        labels["t10k"],
    )

    def record(method: str, size: float, accuracy: float, shared: int = 0, seconds: float = 0.0) -> None:
        records.append({
            "method": method, "bytes_an_image": f"{size / count:.2f}", "shared_bytes": shared,
            "probe_accuracy": f"{accuracy:.4f}", "points_lost": f"{100 * (base - accuracy):.2f}",
            "smaller_than_float16": f"{test.nbytes / size:.2f}", "cpu_seconds": f"{seconds:.1f}",
        })  # fmt: skip
        sys.stdout.write(
            f"| {method} | {size / count:.1f} | {shared} | {accuracy:.2%} | {100 * (base - accuracy):+.2f} |\n"
        )
        sys.stdout.flush()
        write_csv(out / "table.csv", records)
        plot(records, out / "rate_accuracy.png")

    sys.stdout.write(
        "| method | bytes an image | shared bytes | probe | points lost |\n|---|--:|--:|--:|--:|\n"
    )
    for quality, accuracy in zip((50, 75, 95), photos, strict=True):
        record(f"JPEG files, quality {quality}", jpeg(sets["t10k"], quality)[1], accuracy)
    record("float16", test.nbytes, base)
    for name, compress in general().items():
        record(f"float16 + {name}", len(compress(test.tobytes())), base)
    decoded, decoded_test, codes, shared = int8(train.astype(np.float32), test.astype(np.float32))
    accuracy = probe(decoded, labels["train"], [decoded_test], labels["t10k"])[0]
    record("int8", codes.size, accuracy, shared)
    for name, compress in general().items():
        record(f"int8 + {name}", len(compress(codes.T.tobytes())), accuracy, shared)
    for method, code in runs(train, test, encoder, work):
        begin = time.process_time()
        coded = code()
        seconds = time.process_time() - begin
        accuracy = probe(coded.train, labels["train"], [coded.test], labels["t10k"])[0]
        record(method, coded.bytes, accuracy, coded.shared, seconds)


def runs(
    train: np.ndarray, test: np.ndarray, encoder: FrozenEncoder, work: Path
) -> Iterator[tuple[str, Callable[[], Coded]]]:
    for loss in STANDARDISED:
        yield (
            f"ours, standardised, {loss:.1%} lost",
            lambda loss=loss: ours(
                train, test, encoder, loss, work / f"model-standardised-{loss}", standardise=True
            ),
        )
    yield (
        f"ours, standardised, {IN_FILE:.1%} lost, model in the file",
        lambda: ours(train, test, encoder, IN_FILE, None, standardise=True),
    )
    x, y = train.astype(np.float32), test.astype(np.float32)
    for parts in PARTS:
        yield f"product quantisation, {parts} parts", lambda m=parts: quantise_product(x, y, m)
    for loss in LOSSES:
        yield (
            f"ours, {loss:.1%} lost",
            lambda loss=loss: ours(train, test, encoder, loss, work / f"model-{loss}"),
        )
    yield (
        f"ours, standardised, {IN_FILE:.1%} lost, without a rotation",
        lambda: ours(
            train, test, encoder, IN_FILE, work / "model-identity", standardise=True, transform="identity"
        ),
    )
    if importlib.util.find_spec("faiss"):
        for parts in PARTS[:2]:
            yield f"faiss, OPQ, {parts} parts", lambda m=parts: quantise_faiss(x, y, m, True)
    else:
        sys.stdout.write("faiss is not installed: its rows are skipped (pip install faiss-cpu)\n")


def read_labels(path: Path) -> np.ndarray:
    import gzip

    raw = gzip.decompress(path.read_bytes())
    return np.frombuffer(raw, np.uint8, offset=8)


def write_csv(path: Path, records: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def plot(records: list[dict[str, object]], path: Path) -> None:
    """Accuracy against bytes an image."""
    figure = Figure(figsize=(8.2, 4.8), layout="constrained")
    axes = figure.subplots()
    kinds = [
        ("ours", lambda m: m.startswith("ours,") and "standard" not in m, "#56b4e9", "o-"),
        (
            "ours, standardised",
            lambda m: m.startswith("ours, standard") and m.endswith("lost"),
            "#0072b2",
            "o-",
        ),
        ("ours, model in the file", lambda m: "model in the file" in m, "#000000", "*"),
        ("product quantisation", lambda m: m.startswith("product"), "#d55e00", "s-"),
        ("OPQ (faiss)", lambda m: m.startswith("faiss"), "#cc79a7", "d-"),
        ("int8, + zstd, + xz", lambda m: m.startswith("int8"), "#009e73", "^"),
        ("float16, + zstd, + xz", lambda m: m.startswith("float16"), "#555555", "v"),
        ("JPEG files of the images", lambda m: m.startswith("JPEG"), "#e69f00", "x-"),
    ]
    for label, belongs, colour, style in kinds:
        points = sorted(
            (float(str(r["bytes_an_image"])), 100 * float(str(r["probe_accuracy"])))
            for r in records if belongs(str(r["method"]))
        )  # fmt: skip
        if points:
            axes.plot(*zip(*points, strict=True), style, color=colour, label=label, markersize=7)
    base = [100 * float(str(r["probe_accuracy"])) for r in records if r["method"] == "float16"]
    for accuracy in base:
        axes.axhline(
            accuracy - 0.5, color="#999999", linestyle="--", linewidth=1, label="half a point below float16"
        )
    axes.set_xscale("log")
    ticks = [20, 30, 50, 100, 200, 300, 500, 1000]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    axes.set(
        xlabel="bytes an image (files of all test features, without shared models)",
        ylabel="accuracy of a linear probe, %",
        title="Fashion-MNIST, self-supervised features of 512 numbers",
    )
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8.5, loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("encoder")
    make.add_argument("--out", type=Path, default=Path("runs/features"))
    make.add_argument("--minutes", type=float, default=7.0, help="of CPU time")
    make.add_argument("--batch", type=int, default=256)
    make.add_argument("--seed", type=int, default=1)
    measure = commands.add_parser("table")
    measure.add_argument("--encoder", type=Path, default=Path("runs/features/encoder.pt2"))
    measure.add_argument("--out", type=Path, default=Path("report/features"))
    measure.add_argument(
        "--work", type=Path, default=Path("runs/features/work"), help="folder for models and features"
    )
    measure.add_argument("--train", type=int, default=30_000, help="training images that the probe sees")
    for command in (make, measure):
        command.add_argument("--data", type=Path, default=data_folder() / "fashion-mnist")
        command.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.command == "encoder":
        train_encoder(options.data, options.out, options.minutes, options.batch, options.seed)
    else:
        table(options.data, options.encoder, options.out, options.work, options.train)


def data_folder() -> Path:
    import os

    return Path(os.environ.get("OBVERSE_DATA", Path(__file__).parents[2] / "shared" / "data"))


if __name__ == "__main__":
    main()
