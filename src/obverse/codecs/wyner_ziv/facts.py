"""What `obverse info` says of numbers that are decoded with side information."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.container.describe import rate


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    count, *dimensions = file["shape"]
    kind = ("float32", "float64")[range(2).index(file["config"][0])]
    what = f"vectors of {dimensions[0]}" if dimensions else "numbers"
    return {
        "samples": f"{count} {what}, {kind}, decoded with side information",
        "rate": rate(file, count, "sample"),
    }
