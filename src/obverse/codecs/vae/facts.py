"""What `obverse info` says of a set of small images by bits back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.container.describe import rate


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    (count, height, width), config = file["shape"], file["config"]
    initial = 10 * int(config[0]) * int(file["items"])
    lines = {
        "images": f"{count} of {width}x{height}, lossless, chains of {int(config[2])}",
        "rate": f"{rate(file, count * height * width, 'pixel')}, {initial} initial bits",
    }
    if 3 in config:
        lines["stored"] = (
            f"{int(config[3])} of {int(file['items'])} segments without the model, which does not fit"
        )
    return lines
