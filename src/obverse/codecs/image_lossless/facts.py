"""What `obverse info` says of an image without loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.container.describe import rate

KINDS = (
    ("gray", 1),
    ("gray, alpha", 2),
    ("RGB", 3),
    ("RGBA", 4),
    ("gray, 16 bits", 2),
    ("gray, alpha, 16 bits", 4),
    ("RGB, 16 bits", 6),
    ("RGBA, 16 bits", 8),
)  # and bytes of a pixel


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    (height, width), config = file["shape"], file["config"]
    kind, sample = KINDS[range(len(KINDS)).index(config[0])]
    raw = height * width * sample
    step = int(config.get(3, 1))
    loss = (
        "lossless"
        if step == 1
        else f"errors of at most {step // 2} in {2 ** (16 if '16' in kind else 8):,} levels"
    )
    lines = {
        "pixels": f"{kind}, {loss}",
        "rate": f"{rate(file, height * width, 'pixel')}, {file['file_bytes'] / raw:.2%} of raw",
    }
    if 1 in config:
        lines["stripes"] = f"{-(-height // int(config[1]))} of {int(config[1])} rows"
    return lines
