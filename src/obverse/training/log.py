"""What a training says of itself."""

from __future__ import annotations

import sys
import time
from contextlib import suppress


def log(message: str) -> None:
    """A line on stderr, at once; lost where stderr is closed or its reader went away: training goes on."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(message + "\n")
            sys.stderr.flush()


EARLY = 0.03  # share of the work up to which nobody can say how long the rest takes


class Paced:
    """Tells how far long work is, a line every few seconds: what a function takes as its `progress`.

    Args:
        what: what is done.
        seconds: between lines.
    """

    def __init__(self, what: str, seconds: float = 10.0):
        self.what, self.seconds = what, seconds
        self._started = self._told = time.monotonic()

    def __call__(self, share: float) -> None:
        """After a part of the work.

        Args:
            share: of the whole that is done, 0 to 1.
        """
        now = time.monotonic()
        if now - self._told < self.seconds or not share > 0:
            return
        self._told = now
        left = (now - self._started) * (1 - share) / share / 60
        log(f"{self.what}: {share:.0%}" + (f", {left:.1f} min left" if share > EARLY else ""))
