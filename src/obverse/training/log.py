"""What a training says of itself."""

from __future__ import annotations

import sys
from contextlib import suppress


def log(message: str) -> None:
    """A line on stderr, at once; lost where stderr is closed or its reader went away: training goes on."""
    if sys.stderr is not None:
        with suppress(OSError):
            sys.stderr.write(message + "\n")
            sys.stderr.flush()
