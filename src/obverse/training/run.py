"""What every training run does around a step of its own: folder, checkpoint, resuming, recipe, what it says.

    run = Run(out, device, recipe, {"model": model, "optimiser": optimiser}, {"rng": rng})
    run.resume()
    for step in run.steps(validate):          a step of the method, which ends with run.log(loss=...)
        ...
                                              then: progress, validation and checkpoint when they are due

A run that is stopped, by Ctrl-C or SIGTERM, ends the step that it is in, writes its checkpoint and says so; one that is
killed goes on from its last checkpoint. Both give what a run that was never stopped gives, bit for bit.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from obverse.container import write_atomically
from obverse.errors import InputError, OutputError, TrainingError
from obverse.training.log import log

FADE = 0.98  # of the running averages, a step


def check_device(name: str) -> torch.device:
    """The device: "cpu", "cuda", or "auto" for the faster that is here.

    Raises:
        TrainingError: when it is not here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name != "cpu" and not (name.startswith("cuda") and torch.cuda.is_available()):
        raise TrainingError(f"there is no device {name!r} here: use cpu")
    return torch.device(name)


def save_atomically(state: dict[str, object], path: Path) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OutputError: where it cannot be written: a full disk, a folder that is gone.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        torch.save(state, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch raises the latter where the disk is full
        raise OutputError(f"{path} cannot be written: {(str(error).splitlines() or ['?'])[0]}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()  # still there only where something failed


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
            step = int(state["step"])
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


class Progress:
    """What a run says: the averages of its last steps, how long is left, and what validation found.

    Args:
        out: the folder of the run.
        step: steps done when it starts.
        steps: in all.
        every: how many steps a line tells of.
    """

    def __init__(self, out: Path, step: int, steps: int, every: int = 100):
        self.rows, self.first, self.steps, self.every = out / "validation.jsonl", step, steps, every
        self.running: dict[str, float] = {}
        self._started = time.monotonic()

    def step(self, step: int, values: Mapping[str, float], more: str = "") -> None:
        """After a step.

        Args:
            step: its number; that of the first is 1.
            values: numbers of the step, whose running averages a line says.
            more: what else a line says.
        """
        for name, value in values.items():
            self.running[name] = FADE * self.running.get(name, value) + (1 - FADE) * value
        if step % self.every:
            return
        speed = (time.monotonic() - self._started) / (step - self.first)
        numbers = " ".join(f"{name} {value:.4f}" for name, value in self.running.items())
        left = speed * (self.steps - step) / 60
        log(f"step {step} of {self.steps}: {numbers}{more} {speed:.4f} s/step, {left:.1f} min left")

    def validation(self, step: int, row: Mapping[str, Any], words: str | None = None) -> None:
        """A line of validation.jsonl, and on stderr, in the words given or the row's."""
        numbers = " ".join(f"{name} {value:.4f}" for name, value in row.items()) if words is None else words
        log(f"validation: {numbers}")
        with self.rows.open("a") as file:
            file.write(json.dumps({"step": step} | dict(row)) + "\n")


class Settings(Protocol):
    """What a run reads of a recipe."""

    @property
    def steps(self) -> int: ...

    @property
    def validate_every(self) -> int: ...

    @property
    def checkpoint_seconds(self) -> float: ...


@dataclass(frozen=True)
class Unvalidated:
    """Settings of a run without validation.

    Attributes:
        steps: in all.
        checkpoint_seconds: between checkpoints.
    """

    steps: int
    checkpoint_seconds: float

    @property
    def validate_every(self) -> int:
        """Never."""
        return self.steps + 1


Validation = Callable[[], tuple[Mapping[str, Any], str | None]]
"""() -> a row of validation.jsonl, and the words that tell of it, None for the row's own numbers."""


class Run:
    """One training run in its folder: the loop around a method's step.

    Args:
        out: the folder.
        device: where the parts are.
        recipe: `steps`, `validate_every` and `checkpoint_seconds` are read.
        parts: modules, optimisers and whatever else it goes on from, by the names under which they are stored.
        rngs: random generators of numpy, likewise.
        facts: what else a reader of the checkpoint needs.
        every: how many steps a line of progress tells of.
    """

    def __init__(
        self,
        out: Path,
        device: torch.device,
        recipe: Settings,
        parts: Mapping[str, Stateful],
        rngs: Mapping[str, np.random.Generator] | None = None,
        facts: Mapping[str, object] | None = None,
        every: int = 100,
    ):
        self.out, self.recipe, self.every = out, recipe, every
        self.checkpoint = Checkpoint(out, device, parts, rngs or {}, facts or {}, recipe.checkpoint_seconds)
        self.step = 0
        self._values: dict[str, float] = {}
        self._more = ""

    def resume(self) -> int:
        """Go on from the checkpoint, if there is one.

        Returns:
            The steps that are done.

        Raises:
            TrainingError: the checkpoint is damaged.
        """
        self.step = self.checkpoint.resume()
        return self.step

    def log(self, more: str = "", **values: float) -> None:
        """At the end of a step: what a line of progress says of it.

        Args:
            more: words behind the running averages.
            **values: numbers of the step, whose running averages a line says.
        """
        self._values, self._more = values, more

    def steps(
        self, validate: Validation | None = None, validate_at: Collection[int] = (), first: bool = False
    ) -> Iterator[int]:
        """The numbers of the steps that are left, each yielded for the body of a loop to do.

        Args:
            validate: called every `recipe.validate_every` steps and after the last one.
            validate_at: further numbers of done steps after which it is called.
            first: whether a new run is validated before its first step, to tell what it has to better.

        Raises:
            KeyboardInterrupt: the run was stopped; what it says tells which step was kept.
        """
        progress, recipe = Progress(self.out, self.step, self.recipe.steps, self.every), self.recipe

        def validated() -> None:
            if validate is not None:
                progress.validation(self.step, *validate())

        with _stopping() as stop:
            try:
                if first and self.step == 0:
                    stop.check()
                    validated()
                while self.step < recipe.steps:
                    with stop.put_off():
                        yield self.step
                        self.step += 1
                        progress.step(self.step, self._values, self._more)
                    stop.check()
                    if self.step in (recipe.steps, *validate_at) or self.step % recipe.validate_every == 0:
                        validated()
                    with stop.put_off():
                        self.checkpoint.save_if_due(self.step, recipe.steps)
                    stop.check()
            except _Stopped:
                with stop.put_off():
                    self.checkpoint.save(self.step)
                raise KeyboardInterrupt(
                    f"step {self.step} of {recipe.steps} is kept in {self.checkpoint.path}, "
                    "and the same command goes on from there"
                ) from None


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM, at a place where all that a checkpoint holds is of one step."""


class _Stop:
    """What the handler of signals leaves behind while it must not interrupt."""

    def __init__(self) -> None:
        self.asked = self.busy = False

    def handle(self, number: int, frame: object) -> None:
        """The handler: end the step first; whoever asks a second time does not wait for it."""
        if self.busy and not self.asked:
            self.asked = True
            log("stopping after this step")
        elif self.busy:
            raise KeyboardInterrupt
        else:
            raise _Stopped

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Around what must not be interrupted."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def check(self) -> None:
        """Raise _Stopped if a signal came meanwhile."""
        if self.asked:
            raise _Stopped


@contextmanager
def _stopping() -> Iterator[_Stop]:
    """Signals are put off to the end of a step. Handlers belong to the main thread: elsewhere nothing changes."""
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def record_phase(path: Path, recipe: Any, config: Any, data: object, step: int, **facts: object) -> None:
    """Write the resolved recipe beside the weights. A run resumed with another recipe has several phases.

    Args:
        path: of the file.
        recipe: a dataclass.
        config: what `as_dict` tells the sizes of the model, None where the recipe has them.
        data: what it was trained on.
        step: steps done when the phase begins.
        **facts: what else it was trained on.
    """
    phases = recorded_phases(path.parent / "checkpoint.pt") if path.exists() else []
    before, now = phases[-1]["recipe"] if phases else {}, asdict(recipe)
    changed = [
        f"{name} {before[name]} -> {now[name]}"
        for name in now
        if name in before and before[name] != now[name]
    ]
    if changed:
        log(f"goes on with another recipe: {', '.join(changed)}")
    phase = {"from_step": step, "recipe": now, "data": data} | facts
    if not phases or _without_step(phase) != _without_step(phases[-1]):
        phases.append(phase)
    sizes = {} if config is None else {"model": config.as_dict()}
    write_atomically(path, json.dumps(sizes | {"phases": phases}, indent=2).encode(), overwrite=True)


def _without_step(phase: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it."""
    told = {name: value for name, value in phase.items() if name != "from_step"}
    return dict(json.loads(json.dumps(told)))


def recorded_phases(checkpoint: Path) -> list[dict[str, Any]]:
    """What `record_phase` wrote beside the checkpoint.

    Raises:
        InputError: where it is not there, or not what `record_phase` writes.
    """
    path = checkpoint.parent / "recipe.json"
    try:
        phases = json.loads(path.read_text())["phases"]
        if not all(isinstance(phase["recipe"], dict) for phase in phases):
            raise ValueError("its phases have no recipes")
        return list(phases)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not the recipe of this run: {error}") from error


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, ema: float, step: int) -> None:
    """Move the averaged weights towards the model's, faster at the beginning, when `step` steps were done before."""
    weight = 1 - min(ema, (step + 1) / (step + 10))
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), weight)
