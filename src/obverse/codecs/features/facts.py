"""What `obverse info` says of feature vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.container.describe import rate

DTYPES = ("float16", "float32", "float64")


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    (count, dimensions), config = file["shape"], file["config"]
    whose = [
        f"{config[5]}" if 5 in config else "",
        f"SHA-256 {config[4].hex()[:16]}..." if 4 in config else "",
    ]
    own = "model in the file" if config[2] else "model stored elsewhere" if file["model"] else "no model"
    dtype = DTYPES[range(3).index(config[0])]
    lines = {
        "vectors": f"{count} of {dimensions} numbers, {dtype}, {int(config[1])} an item, {own}",
        "rate": rate(file, count, "vector"),
    }
    if any(whose):
        lines["encoder"] = ", ".join(filter(None, whose))
    if 6 in config:
        lines["stored"] = f"{int(config[6])} items of vectors as they are: the model does not fit them"
    if config.get(3):
        lines["classes"] = "prototypes are in the file"
    return lines
