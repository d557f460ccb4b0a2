"""Features of a frozen encoder, compressed: bytes an image and accuracy of a linear probe, beside what else there is.

    python experiments/features/probe.py encoder --data DATA --out runs/features
    python experiments/features/probe.py table --data DATA --out experiments/results/features

`encoder` trains a small convolutional network on Fashion-MNIST without labels (SimCLR: two views of an image must be
near each other and far from all others; Chen et al. 2020) and writes it as a torch.export file. `table` makes features
of images with it, as a user would (obverse.integrations.encoders), compresses those of 30,000 training images and of
all test images, trains a linear probe on what is decoded of the former, and tests it on what is decoded of the latter.

Every size is that of real bytes: the file of all test features, divided by the images. A model or code book that is
shared by both sets is told apart. Rows: float16; float16 and int8 (a scale and an offset for each dimension) behind xz
and zstd; product quantisation (k-means, 256 words for each of m parts, one byte each) of our own, and of faiss after
its learned rotation (OPQ); ours, with a stored model and with the model in the file; and the JPEG files of the images,
whose features are made anew. Ours and product quantisation count distortion as it is, or in units of each feature's
deviation, as the probe counts it, which standardises. equal_accuracy.csv tells for each of our rows how many bytes
product quantisation needs for the same accuracy.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import (
    Coded,
    general,
    int8,
    jpeg,
    quantise_faiss,
    quantise_product,
    standardised,
)
from report import read_csv, report, write_csv
from torch import nn
from torch.nn import functional

from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.export import fit_model
from obverse.codecs.features.fit import Target
from obverse.container import read, write
from obverse.data.image_sets import read_image_set
from obverse.integrations.encoders import load_encoder
from obverse.integrations.frozen_encoder import FrozenEncoder
from obverse.integrations.image_input import InputFormat

GRAY = InputFormat(mean=(0.0,), std=(1.0,))
LOSSES = (0.001, 0.003, 0.01)
STANDARDISED = (0.003, 0.006, 0.01, 0.015, 0.02, 0.05)
IN_FILE = 0.006
PARTS = (32, 64, 128, 192, 256)
OPQ_PARTS = (32, 64, 128, 256)  # faiss wants parts of one size
QUALITIES = (50, 75, 95)


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


# -- ours ------------------------------------------------------------------------------------------------------


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
    files = [write(codec.encode(x, codec.options(encoder=encoder, **options))) for x in (train, test)]
    decoded = [codec.decode(read(blob)) for blob in files]
    return Coded(*decoded, bytes=len(files[1]), shared=shared)


# -- the table ---------------------------------------------------------------------------------------------------


def table(data: Path, path: Path, out: Path, work: Path, some: int, only: str) -> None:
    encoder = load_encoder(path, GRAY, trust=True)  # of our own making
    sets = {part: read_image_set(data / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")}
    labels = {part: read_labels(data / f"{part}-labels-idx1-ubyte.gz") for part in sets}
    sets["train"], labels["train"] = sets["train"][:some], labels["train"][:some]
    # what users keep is float16; it is the reference
    train, test = (encoder.features(sets[part], 500).astype(np.float16) for part in ("train", "t10k"))
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    np.save(work / "train.npy", train)
    np.save(work / "test.npy", test)
    photos = {
        quality: jpeg(sets["t10k"], quality)
        for quality in QUALITIES
        if wanted(only, f"JPEG files, quality {quality}")
    }
    base, *accuracies = probe(
        train,
        labels["train"],
        [test, *(encoder.features(images, 500) for images, _ in photos.values())],
        labels["t10k"],
    )
    # a part of the table is measured again beside the rest of it, a whole table is new
    records = {str(row["method"]): row for row in (read_csv(out / "table.csv") if only else [])}

    def record(method: str, size: float, accuracy: float, shared: int = 0, seconds: float = 0.0) -> None:
        if not wanted(only, method):
            return
        records[method] = {
            "method": method, "bytes_an_image": f"{size / len(test):.2f}", "shared_bytes": shared,
            "probe_accuracy": f"{accuracy:.4f}", "points_lost": f"{100 * (base - accuracy):.2f}",
            "smaller_than_float16": f"{test.nbytes / size:.2f}", "cpu_seconds": f"{seconds:.1f}",
        }  # fmt: skip
        sys.stdout.write(
            f"| {method} | {size / len(test):.1f} | {shared} | {accuracy:.2%} | {100 * (base - accuracy):+.2f} |\n"
        )
        sys.stdout.flush()
        report(list(records.values()), out)

    sys.stdout.write(
        "| method | bytes an image | shared bytes | probe | points lost |\n|---|--:|--:|--:|--:|\n"
    )
    for (quality, (_, size)), accuracy in zip(photos.items(), accuracies, strict=True):
        record(f"JPEG files, quality {quality}", size, accuracy)
    record("float16", test.nbytes, base)
    for name, compress in general().items():
        if wanted(only, f"float16 + {name}"):
            record(f"float16 + {name}", len(compress(test.tobytes())), base)
    if wanted(only, "int8"):
        decoded, decoded_test, codes, shared = int8(train.astype(np.float32), test.astype(np.float32))
        accuracy = probe(decoded, labels["train"], [decoded_test], labels["t10k"])[0]
        record("int8", codes.size, accuracy, shared)
        for name, compress in general().items():
            record(f"int8 + {name}", len(compress(codes.T.tobytes())), accuracy, shared)
    for method, code in runs(train, test, encoder, work):
        if wanted(only, method):
            begin = time.process_time()
            coded = code()
            seconds = time.process_time() - begin
            accuracy = probe(coded.train, labels["train"], [coded.test], labels["t10k"])[0]
            record(method, coded.bytes, accuracy, coded.shared, seconds)
    if not importlib.util.find_spec("faiss"):
        sys.stdout.write("faiss is not installed: OPQ is skipped (pip install 'obverse[experiments]')\n")
    report(list(records.values()), out)


def wanted(only: str, method: str) -> bool:
    return re.search(only, method) is not None


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
    x, y = train.astype(np.float32), test.astype(np.float32)
    quantisers = [("product quantisation", quantise_product, PARTS)]
    if importlib.util.find_spec("faiss"):
        quantisers.append(("faiss, OPQ", quantise_faiss, OPQ_PARTS))
    for name, quantise, numbers in quantisers:
        for parts in numbers:
            yield f"{name}, {parts} parts", lambda q=quantise, m=parts: q(x, y, m)
        for parts in numbers[1:]:
            yield (
                f"{name}, standardised, {parts} parts",
                lambda q=quantise, m=parts: standardised(x, y, lambda a, b: q(a, b, m)),
            )


def read_labels(path: Path) -> np.ndarray:
    import gzip

    raw = gzip.decompress(path.read_bytes())
    return np.frombuffer(raw, np.uint8, offset=8)


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
    measure.add_argument(
        "--only", default="", metavar="REGEX", help="measure these rows, keep the others that are in --out"
    )
    for command in (make, measure):
        given = os.environ.get("OBVERSE_DATA")
        command.add_argument(
            "--data",
            type=Path,
            default=given,
            required=not given,
            help="holds fashion-mnist/; or OBVERSE_DATA",
        )
        command.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = options.data / "fashion-mnist"
    if options.command == "encoder":
        train_encoder(data, options.out, options.minutes, options.batch, options.seed)
    else:
        table(data, options.encoder, options.out, options.work, options.train, options.only)


if __name__ == "__main__":
    main()
