"""What every training run does around its own loop: its folder, its checkpoint, its recipe, what it says."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from obverse.errors import OutputError, TrainingError


def log(message: str) -> None:
    """A line on stderr, at once."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def make_folder(out: Path) -> None:
    """The folder of a run. Raises OutputError."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {out} cannot be made: {error.strerror}") from error


def save_atomically(state: dict[str, object], path: Path) -> None:
    """Write a checkpoint, whole or not at all."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


@contextmanager
def resuming(checkpoint: Path) -> Iterator[None]:
    """Around reading a checkpoint and taking over what it holds. Raises TrainingError for whatever fails there."""
    try:
        yield
    except Exception as error:  # torch.load raises many kinds for a damaged file
        raise TrainingError(
            f"{checkpoint} cannot be resumed, it is damaged or of another model ({error}); "
            "choose another --out, or delete it to start again"
        ) from error


def random_state(device: torch.device) -> dict[str, object]:
    """torch's random generators, as a checkpoint keeps them; `restore_random_state` takes them back."""
    cuda = torch.cuda.get_rng_state_all() if device.type == "cuda" else []
    return {"torch_rng": torch.get_rng_state(), "cuda_rng": cuda}


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(state["torch_rng"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda_rng"]])


def record_phase(path: Path, recipe: Any, config: Any, data: object, step: int, **facts: object) -> None:
    """Write the resolved recipe beside the weights. A run resumed with another recipe has several phases.

    recipe: a dataclass; config: what `as_dict` tells the sizes of the model; data, facts: what it was trained on.
    """
    phases = json.loads(path.read_text())["phases"] if path.exists() else []
    if not phases or phases[-1]["recipe"] != asdict(recipe):
        phases.append({"from_step": step, "recipe": asdict(recipe), "data": data} | facts)
    path.write_text(json.dumps({"model": config.as_dict(), "phases": phases}, indent=2))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, ema: float, step: int) -> None:
    """Move the averaged weights towards the model's, faster at the beginning, when `step` steps were done before."""
    weight = 1 - min(ema, (step + 1) / (step + 10))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)
