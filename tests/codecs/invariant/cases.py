"""Examples of the invariant codec: the shipped model of digits, and small ones of points and of clusters."""

from __future__ import annotations

from obverse.testing import Example
from tests.codecs.invariant.models import CLUSTERED, POINTS, items_of, stored_model
from tests.codecs.vae.models import strokes

EXAMPLES = (
    Example("invariant", "digits", lambda: strokes(20, seed=4)),
    Example(
        "invariant", "points", lambda: items_of(POINTS, 40), model=lambda: stored_model(POINTS), golden=False
    ),
    Example(
        "invariant",
        "clusters",
        lambda: items_of(CLUSTERED, 40),
        model=lambda: stored_model(CLUSTERED),
        golden=False,
    ),
)
