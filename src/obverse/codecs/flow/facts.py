"""What `obverse info` says of a set of colour images by an integer flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.container.describe import rate


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    count, height, width, channels = file["shape"]
    return {
        "images": f"{count} of {width}x{height}, lossless, segments of {int(file['config'][0])}",
        "rate": rate(file, count * height * width * channels, "dimension"),
    }
