"""What `obverse info` says of a photo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.codecs.image.quality import nominal
from obverse.container.describe import rate


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    (height, width), level = file["shape"], int(file["config"][0])
    colour = {1: "gray", 3: "colour"}[file["config"][1]]
    quality = round(nominal(1 + level / 20), 2)
    return {"quality": f"{quality:g}", "pixels": colour, "rate": rate(file, height * width, "pixel")}
