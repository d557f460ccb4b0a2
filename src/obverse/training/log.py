"""What a training says of itself."""

from __future__ import annotations

import sys


def log(message: str) -> None:
    """A line on stderr, at once."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
