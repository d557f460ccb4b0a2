"""What `obverse info` says of a set of colour images by an integer flow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.container.describe import rate


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    (count, height, width, channels), config = file["shape"], file["config"]
    lines = {
        "images": f"{count} of {width}x{height}, lossless, segments of {int(config[0])}",
        "rate": rate(file, count * height * width * channels, "dimension"),
    }
    if 1 in config:
        lines["stored"] = (
            f"{int(config[1])} of {int(file['items'])} segments without the model, which does not fit"
        )
    return lines
