"""Golden files: what a released format and model wrote is decoded to the same values for ever.

A folder has two files an example: `NAME.obv`, and `NAME.npz` with the array `decoded` and, where there is some,
`side_info`. They are written once, when a format or a model is released, and never again.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from obverse.container import read, read_header, write_atomically
from obverse.testing.example import ConformanceError, Example, Opened


def make_golden(example: Example, folder: Path) -> None:
    """Write the example's two files, unless they are there."""
    if _file(example, folder).exists():
        return
    it = Opened(example)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, decoded=it.decoded, **it.side)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(_file(example, folder).with_suffix(".npz"), buffer.getvalue())
    write_atomically(_file(example, folder), it.file)


def check_golden(example: Example, folder: Path) -> None:
    """The example's file decodes to what it did when it was written.

    Raises:
        ConformanceError: where it does not, or there is no file.
    """
    path = _file(example, folder)
    if not path.exists():
        raise ConformanceError(f"{example}: there is no {path}: make it when its format or model is released")
    it = Opened(example)
    with np.load(path.with_suffix(".npz"), allow_pickle=False) as kept:
        wanted = kept["decoded"]
        side = {"side_info": kept["side_info"]} if "side_info" in kept.files else {}
    it.require(read_header(path).model == it.codec.fingerprint, "the golden file's model is the example's")
    decoded = np.asarray(it.codec.decode(read(path), **side))
    it.require(example.same(decoded, wanted), "the golden file decodes to what it did")


def _file(example: Example, folder: Path) -> Path:
    return folder / f"{example.name}.obv"
