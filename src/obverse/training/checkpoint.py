"""`checkpoint.pt`: what a run that was stopped goes on from, whole and checked, and what else belongs into it."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from obverse.container.files import new_file
from obverse.errors import InputError, OutputError, TrainingError
from obverse.training.log import log


def save_atomically(state: dict[str, object], path: Path) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OutputError: where it cannot be written: a full disk, a folder that is gone.
    """
    try:
        with new_file(path, overwrite=True) as file:
            torch.save(state, file)
    except RuntimeError as error:  # torch's, where the disk is full
        raise OutputError(f"{path} cannot be written: {(str(error).splitlines() or ['?'])[0]}") from error


@contextmanager
def resuming(checkpoint: Path) -> Iterator[None]:
    """Around reading a checkpoint and taking over what it holds.

    Raises:
        TrainingError: for whatever fails there.
    """
    try:
        yield
    except TrainingError as error:
        raise TrainingError(
            f"{checkpoint} cannot be resumed, {error}: choose another --out, or delete it to start again"
        ) from error
    except Exception as error:  # torch.load raises many kinds for a damaged file
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"{checkpoint} cannot be resumed, it is damaged or of another model ({why}); "
            "choose another --out, or delete it to start again"
        ) from error


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """Around taking a model from a checkpoint of a finished run.

    Args:
        path: the checkpoint.
        what: what it should be of, as errors say it.

    Raises:
        InputError: for whatever fails there.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}") from None
    except Exception as error:  # torch.load raises many kinds for a damaged file
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is not a checkpoint of {what}: {why}") from error


def steps_of(state: Mapping[str, Any]) -> int:
    """How many steps were trained, as a checkpoint says it.

    Args:
        state: what the checkpoint holds.

    Raises:
        ValueError: for no such number; `resuming` and `reading` make an error of ours of it.
    """
    step = state["step"]
    if type(step) is not int or step < 0:
        raise ValueError(f"its step is {str(step)[:40]!r}, no number of steps")
    return step


def random_state(device: torch.device) -> dict[str, object]:
    """torch's random generators, as a checkpoint keeps them; `restore_random_state` takes them back."""
    cuda = torch.cuda.get_rng_state_all() if device.type == "cuda" else []
    return {"torch_rng": torch.get_rng_state(), "cuda_rng": cuda}


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """The inverse of `random_state`."""
    torch.set_rng_state(state["torch_rng"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state_all([s.cpu() for s in state["cuda_rng"]])


class Stateful(Protocol):
    """Modules, optimisers, and whatever else a run goes on from."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> object: ...


class Draws:
    """torch's random numbers of a run alone, as a part of its checkpoint.

    Attributes:
        generator: takes its place in calls.
    """

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.set_state(state["state"].cpu())


class Same:
    """What must be the same when a run goes on: a part of its checkpoint that refuses to be resumed otherwise.

    Args:
        values: plain ones.
        *data: what is learned from.
    """

    def __init__(self, values: Mapping[str, Any], *data: torch.Tensor):
        check = 0
        for tensor in data:
            check = zlib.crc32(tensor.contiguous().numpy().tobytes(), check)
        self.signature = json.dumps({"data": check} | dict(values), sort_keys=True)

    def state_dict(self) -> dict[str, Any]:
        return {"signature": self.signature}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["signature"] != self.signature:
            raise TrainingError("it is of a run with another recipe or other data")


class Checkpoint:
    """`out`/checkpoint.pt: what a run that was stopped goes on from.

    Args:
        out: the folder of the run.
        device: where the parts are.
        parts: modules, optimisers and the like, by the names under which they are stored.
        rngs: random generators of numpy, likewise; torch's are stored too.
        facts: what else a reader of the file needs.
        seconds: how often it is written.
    """

    def __init__(
        self,
        out: Path,
        device: torch.device,
        parts: Mapping[str, Stateful],
        rngs: Mapping[str, np.random.Generator],
        facts: Mapping[str, object],
        seconds: float,
    ):
        self.path = out / "checkpoint.pt"
        self.device, self.parts, self.rngs, self.facts, self.seconds = device, parts, rngs, facts, seconds
        self._saved = time.monotonic()

    def resume(self) -> int:
        """The step to go on with: 0 where there is no checkpoint.

        Raises:
            TrainingError: for a damaged one.
        """
        if not self.path.exists():
            return 0
        with resuming(self.path):
            state = torch.load(self.path, map_location=self.device, weights_only=True)
            self._check(state)
            for name, part in self.parts.items():
                part.load_state_dict(state[name])
            for name, rng in self.rngs.items():
                rng.bit_generator.state = json.loads(state[name])
            if "torch_rng" in state:  # not every run kept it
                restore_random_state(state, self.device)
            step = steps_of(state)
        log(f"resumed at step {step}")
        return step

    def _check(self, state: Mapping[str, Any]) -> None:
        """Raises TrainingError for a checkpoint of another method, or of networks of other sizes."""
        if not {*self.parts, *self.rngs} <= state.keys():
            raise TrainingError("it is of another method")
        sizes, here = state.get("config"), self.facts.get("config")
        if isinstance(sizes, dict) and isinstance(here, dict):
            other = [
                f"{name} {sizes.get(name)}, not {here.get(name)}"
                for name in sorted(sizes.keys() | here.keys())
                if json.dumps(sizes.get(name)) != json.dumps(here.get(name))
            ]
            if other:
                raise TrainingError(f"its networks have {'; '.join(other)}")

    def save(self, step: int) -> None:
        """Write it, whole or not at all."""
        state: dict[str, object] = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {name: json.dumps(rng.bit_generator.state) for name, rng in self.rngs.items()}
        state |= random_state(self.device) | {"step": step} | dict(self.facts)
        save_atomically(state, self.path)
        self._saved = time.monotonic()

    def save_if_due(self, step: int, steps: int) -> None:
        """Write it if this is the last step, or long ago."""
        if step == steps or time.monotonic() - self._saved > self.seconds:
            self.save(step)
