"""What a run says while it trains, and what it writes of validations."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from obverse.training.log import log

FADE = 0.98  # of the running averages, a step


def validations(out: Path, *needed: str) -> list[dict[str, Any]]:
    """The lines of `out`/validation.jsonl that are whole: a run that was killed may have left others.

    Args:
        out: the folder of a run.
        needed: what a line must have beside its step.
    """
    path, found = out / "validation.jsonl", []
    for line in path.read_text("utf-8", "replace").splitlines() if path.exists() else ():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict) and {"step", *needed} <= row.keys():
            found.append(row)
        else:
            log(f"{path} has a damaged line, which is left out: {line[:40]!r}")
    return found


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
