"""What `obverse info` says of codes for tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.container.describe import rate


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    count, *shape = file["shape"]
    return {
        "items": f"{count} of shape {'x'.join(map(str, shape))}: what tasks need of them",
        "rate": rate(file, count, "item"),
    }
