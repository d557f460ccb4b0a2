"""Posteriors of latents in .npz files: the arrays `mean` and `std`. Nothing is ever unpickled."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import numpy as np

from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.data.arrays import UNREADABLE, ZIP
from obverse.data.source import read_bytes
from obverse.errors import InputError


def is_archive(raw: bytes) -> bool:
    """Whether these are the bytes of an .npz file."""
    return raw.startswith(ZIP)


def read_posterior(source: Path | BinaryIO | bytes) -> Posterior:
    """The posterior that numpy.savez(path, mean=mean, std=std) wrote. Raises InputError."""
    name = str(source) if isinstance(source, Path) else "the input"
    raw = source if isinstance(source, bytes) else read_bytes(source)
    how = "write it with numpy.savez(path, mean=mean, std=std)"
    if not is_archive(raw):
        raise InputError(f"{name} is not a .npz file with the arrays mean and std: {how}")
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            if not {"mean", "std"} <= set(arrays.files):
                raise InputError(f"{name} does not hold the arrays mean and std: {how}")
            mean, std = arrays["mean"], arrays["std"]
    except UNREADABLE as error:
        raise InputError(f"{name} is not a .npz file of numbers: {error}; {how}") from error
    return Posterior.of(mean, std)
