"""Whether what is written into a folder stays in it."""

from __future__ import annotations

import os

from obverse.errors import OutputError


def check_within(folder: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Refuse a target that a symbolic link in the folder leads out of it; links above the folder are its owner's.

    Args:
        folder: that results are written into.
        target: a path in it, whose folders may not be there yet.

    Raises:
        OutputError: naming where it would lead.
    """
    inside = os.path.realpath(folder)
    place = os.path.realpath(target)
    if os.path.commonpath([inside, place]) != inside:
        raise OutputError(
            f"{os.fspath(target)} leads out of the folder {os.fspath(folder)}, to {place}, by a symbolic link: remove "
            "the link, or name that folder as the output"
        )
