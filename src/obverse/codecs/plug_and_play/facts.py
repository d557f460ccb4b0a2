"""What `obverse info` says of latents of a model of the user's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from obverse.container.describe import rate


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    config = file["config"]
    tables = f"of the model, rung {int(config[0])}" if 0 in config else "in the file"
    lines = {"tables": tables, "rate": rate(file, math.prod(file["shape"]), "latent")}
    if 2 in config:
        height, width = config[2]
        lines["image"] = f"{int(width)}x{int(height)}, {rate(file, height * width, 'pixel')}"
    return lines
