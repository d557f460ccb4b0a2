"""The warning for what is lost when an image is read or written."""

from __future__ import annotations


class ConversionWarning(UserWarning):
    """The input was converted to what the codec codes, and something was lost on the way."""
