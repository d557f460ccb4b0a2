"""What `obverse info` says of the right view of a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from obverse.codecs.image.facts import facts as of_photo


def facts(file: Mapping[str, Any]) -> dict[str, str]:
    """file: what `obverse.container.describe` returns of it."""
    return of_photo(file) | {"decoding": "with the left view, of the same height and width"}
