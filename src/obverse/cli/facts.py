"""What `obverse info` prints of a file. Light: no codec and no NumPy is imported for it."""

from __future__ import annotations

import math
from typing import Any

from obverse.cli.console import out, printable

# what key 0 of the config of `image-lossless` says, and the bytes of a pixel
LOSSLESS_KINDS = (("gray", 1), ("gray, alpha", 2), ("RGB", 3), ("RGBA", 4), ("gray, 16 bits", 2))


def show_facts(facts: dict[str, Any]) -> None:
    """The facts of `obverse.container.describe`, and `input`, the name of the file."""
    size, shape = facts["file_bytes"], facts["shape"]
    model = f", model {facts['model']}" if facts["model"] else ""
    out(f"{facts['input']}: {size} bytes, format version {facts['version']}, checksums hold")
    out(f"  codec     {printable(facts['codec'])}{model}")
    out(f"  shape     {' x '.join(map(str, shape))}")
    for line in _of_codec(facts) or [f"config    {printable(facts['config'])}"]:
        out(f"  {line}")
    if facts["items"] is not None:
        out(f"  items     {facts['items']}, {facts['item_bytes']} bytes")
    for name, length in facts["sections"].items():
        out(f"  section   {printable(name)}: {length} bytes")
    for name, value in facts["metadata"].items():
        out(f"  metadata  {printable(name)}: {printable(value)}")
    out(f"  overhead  {size - sum(facts['sections'].values()) - (facts['item_bytes'] or 0)} bytes")


def _of_codec(facts: dict[str, Any]) -> list[str]:
    """The lines that a codec's own config gives; none for codecs not known here, or a config that cannot be."""
    codec, shape, config = facts["codec"], facts["shape"], facts["config"]
    first = config.get(0)
    if len(shape) != 2 or min(shape) < 1 or type(first) is not int:
        return []
    pixels = math.prod(shape)
    rate = f"rate      {facts['file_bytes'] * 8 / pixels:.4f} bits per pixel"
    if codec == "image":
        return [f"quality   {1 + first / 20:g}, {'gray' if config.get(1) == 1 else 'colour'}", rate]
    if codec == "image-lossless" and 0 <= first < len(LOSSLESS_KINDS):
        kind, sample = LOSSLESS_KINDS[first]
        lines = [
            f"pixels    {kind}, lossless",
            f"{rate}, {facts['file_bytes'] / (pixels * sample):.2%} of raw",
        ]
        rows = config.get(1)
        if type(rows) is int and rows > 0:
            lines.append(f"stripes   {-(-shape[0] // rows)} of {rows} rows")
        return lines
    return []
