"""What a person sees: sentences and progress on stderr, results on stdout."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


def say(message: str) -> None:
    """One line on stderr."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()


def out(text: str) -> None:
    """One line on stdout."""
    sys.stdout.write(text + "\n")


class Advance(Protocol):
    """Called when a piece of work is done."""

    def __call__(self, steps: int = 1) -> None: ...


@contextmanager
def progress_bar(title: str, total: int, shown: bool = True) -> Iterator[Advance]:
    """A rich progress bar on stderr; silent where stderr is no terminal or there is one thing to do."""
    if not shown or total < 2 or not sys.stderr.isatty():
        yield lambda steps=1: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=total)
        yield lambda steps=1: progress.advance(task, steps)


def human(size: int) -> str:
    """1234567 -> '1.2 MB'."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def parse_bytes(text: str) -> int:
    """'40k', '1.5M', '40000' -> bytes (k = 1,000, Ki = 1,024). Raises ValueError."""
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
    body = text.strip().lower().removesuffix("b")
    number = body.rstrip("kmgi")
    unit = body[len(number) :]
    if unit not in units:
        raise ValueError(f"{text!r} is not a number of bytes such as 40000, 40k or 1.5M")
    value = float(number) * units[unit]
    if not 1 <= value < 2**62:
        raise ValueError(f"{text!r} is not a number of bytes of at least 1")
    return int(value)
