"""Whether the name that a user gave an output is that of another kind of file."""

from __future__ import annotations

import os
from pathlib import Path

from obverse.cli.console import UsageError

_OTHERS = frozenset({".npz", ".jxl", ".heic", ".heif", ".pdf", ".svg", ".txt", ".json"})  # beside those below


def check_obv_name(output: str | None, forced: bool | None) -> None:
    """Check the name of what `compress` writes.

    Args:
        output: as given; a folder, `-` and None have no suffix to be checked.
        forced: whether any name is taken; None where that cannot be asked for.

    Raises:
        UsageError: for the suffix of a kind of file that an .obv file is not, in which nobody would find it again.
    """
    if output is None or forced or output.endswith(("/", os.sep)) or os.path.isdir(output):
        return
    suffix = Path(output).suffix.lower()
    if suffix != ".obv" and is_known_suffix(suffix):
        raise UsageError(
            f"{output}: what compress writes is an .obv file, which nothing reads as {suffix}: name it "
            f"{Path(output).with_suffix('.obv')}" + ("" if forced is None else ", or use --force-suffix")
        )


def is_known_suffix(suffix: str) -> bool:
    """Whether names of files end so, in lower case: in .obv, .png, .npy, ..."""
    if suffix in ("", ".obv"):
        return suffix == ".obv"
    from PIL import Image

    from obverse.data.kinds import KINDS

    known = {*_OTHERS, *Image.registered_extensions()}
    known.update(*(kind.read | (kind.written or frozenset()) for kind in KINDS.values()))
    return suffix in known
