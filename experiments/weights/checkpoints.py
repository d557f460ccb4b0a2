"""Checkpoints of trainings, with the state of the optimiser, to measure differences on.

    python experiments/weights/checkpoints.py transformer DATA/text/FILE --out checkpoints/
    python experiments/weights/checkpoints.py classifier DATA/fashion-mnist --out checkpoints/

AdamW at 1e-4, after a warm start of some hundred steps; a safetensors file every 100 steps: `weights.NAME`,
`first.NAME` and `second.NAME` (moments). One CPU thread, some minutes.
"""

from __future__ import annotations

import argparse
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy

WIDTH, LAYERS, HEADS, LENGTH = 192, 4, 6, 128


class Transformer(nn.Module):
    """Bytes -> logits of the next byte, (n, length, 256)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, 256)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.full((x.shape[1], x.shape[1]), -torch.inf).triu(1)
        return self.head(self.layers(self.embedding(x) + self.position[: x.shape[1]], mask=mask))


def classifier() -> nn.Module:
    """(n, 1, 28, 28) -> (n, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def text_batches(path: Path, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pieces of a file of bytes, and the bytes that follow."""
    data = np.frombuffer(path.read_bytes(), np.uint8).astype(np.int64)
    while True:
        at = rng.integers(0, len(data) - LENGTH - 1, 16)
        yield tuple(torch.from_numpy(np.stack([data[i + k : i + k + LENGTH] for i in at])) for k in (0, 1))


def image_batches(folder: Path, rng: np.random.Generator) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images and classes of MNIST's files."""
    images = next(folder.glob("train-images*"))
    labels = next(folder.glob("train-labels*"))
    read = [
        gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in (images, labels)
    ]
    x = torch.from_numpy(
        np.frombuffer(read[0][16:], np.uint8).reshape(-1, 1, 28, 28).astype(np.float32) / 255
    )
    y = torch.from_numpy(np.frombuffer(read[1][8:], np.uint8).astype(np.int64))
    while True:
        at = torch.from_numpy(rng.integers(0, len(x), 64))
        yield x[at], y[at]


def state_of(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Weights and both moments."""
    state = {}
    for name, parameter in model.named_parameters():
        held = optimiser.state[parameter]
        state["weights." + name] = parameter.detach().clone()
        state["first." + name], state["second." + name] = held["exp_avg"].clone(), held["exp_avg_sq"].clone()
    return state


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=("transformer", "classifier"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--warm", type=int, default=300, help="steps at 1e-3 before")
    parser.add_argument("--checkpoints", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = Transformer() if given.model == "transformer" else classifier()
    batches = (text_batches if given.model == "transformer" else image_batches)(
        given.data, np.random.default_rng(0)
    )
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    given.out.mkdir(parents=True, exist_ok=True)
    for step in range(given.warm + 100 * given.checkpoints - 99):
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 if step < given.warm else 1e-4
        x, y = next(batches)
        loss = cross_entropy(model(x).flatten(0, -2), y.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step >= given.warm and (step - given.warm) % 100 == 0:
            number = (step - given.warm) // 100
            save_file(state_of(model, optimiser), given.out / f"{given.model}-{number}.safetensors")
            print(f"{given.model} {number}: loss {loss.item():.3f}", flush=True)


if __name__ == "__main__":
    main()
