"""What `obverse info` says of codes for the server's half of a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.container.describe import rate


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    *count, height, width, _ = file["shape"]
    (images,) = count or [1]
    return {
        "images": f"{images} of {width}x{height}: what a classifier needs of them",
        "rate": rate(file, images, "image"),
    }
