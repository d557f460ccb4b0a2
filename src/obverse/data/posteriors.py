"""Posteriors of latents in .npz files: the arrays `mean` and `std`. Nothing is ever unpickled."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO, TypedDict

import numpy as np
import numpy.typing as npt

from obverse.data.arrays import UNREADABLE, ZIP
from obverse.data.source import name_of, read_bytes
from obverse.errors import InputError


class MeanAndStd(TypedDict):
    """A Gaussian for each latent, as it was stored."""

    mean: npt.NDArray[np.generic]
    std: npt.NDArray[np.generic]


def is_posterior_file(raw: bytes) -> bool:
    """Whether these are the bytes of an .npz file."""
    return raw.startswith(ZIP)


def read_posterior(source: Path | BinaryIO) -> MeanAndStd:
    """The arrays that numpy.savez(path, mean=mean, std=std) wrote.

    Raises:
        InputError: for what is no such file.
    """
    name, raw = name_of(source), read_bytes(source)
    how = "write it with numpy.savez(path, mean=mean, std=std)"
    if not is_posterior_file(raw):
        raise InputError(f"{name} is not a .npz file with the arrays mean and std: {how}")
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
            if not {"mean", "std"} <= set(arrays.files):
                raise InputError(f"{name} does not hold the arrays mean and std: {how}")
            return {"mean": arrays["mean"], "std": arrays["std"]}
    except UNREADABLE as error:
        raise InputError(f"{name} is not a .npz file of numbers: {error}; {how}") from error
