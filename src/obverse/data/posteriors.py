"""Posteriors of latents in .npz files: the arrays `mean` and `std`. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, TypedDict

import numpy as np
import numpy.typing as npt

from obverse.data.arrays import ZIP, read_named_arrays
from obverse.data.source import Contents, name_of, read_bytes
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
    how = "numpy.savez(path, mean=mean, std=std)"
    if not is_posterior_file(raw):
        raise InputError(f"{name} is not a .npz file with the arrays mean and std: write it with {how}")
    arrays = read_named_arrays(Contents(raw, name), ("mean", "std"), how)
    return {"mean": arrays["mean"], "std": arrays["std"]}
