"""The progress of a search at the encoder, as a person sees it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from obverse.cli.console import is_terminal

SearchProgress = Callable[[int, int, float], None]


@contextmanager
def search_bar(shown: bool = True) -> Iterator[SearchProgress | None]:
    """A bar on stderr with the current cost: what a codec's `encode` takes as `progress`.

    None where it is not to be shown or stderr is no terminal. A search that begins anew, as rate control makes it,
    begins the bar anew.
    """
    if not shown or not is_terminal(sys.stderr):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("searching"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[cost]}"),
    )
    # stdout stays as it is: it may carry data
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False, transient=True) as bar:
        task = bar.add_task("", total=None, cost="")

        def show(step: int, steps: int, cost: float) -> None:
            text = f"rate + lambda distortion {cost:.4f} bits/pixel"
            if step == 0:
                bar.reset(task, total=steps, cost=text)
            else:
                bar.update(task, completed=step, cost=text)

        yield show
