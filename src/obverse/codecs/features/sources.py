"""Features of what a user names: a file of them, or images that an encoder looks at."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from io import BytesIO
from pathlib import Path
from typing import Any

from obverse.data.features import check_features, read_features
from obverse.data.image_sets import check_image_set, read_image_set
from obverse.errors import InputError
from obverse.integrations.encoders import load_encoder
from obverse.integrations.frozen_encoder import FrozenEncoder
from obverse.integrations.image_input import InputFormat, image_files, read_images

STDIN = Path("-")
FEATURE_SUFFIXES = {".npy", ".safetensors", ".parquet"}

Bar = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""(title, how many) -> what is entered around work that says how many more are done."""


def open_encoder(
    source: str | None,
    size: int | None,
    mean: list[float] | None,
    std: list[float] | None,
    trust: bool = False,
) -> FrozenEncoder | None:
    """The encoder of this name, if there is one. trust: whether it may be a program. Raises InputError."""
    return None if source is None else load_encoder(source, input_format(size, mean, std), trust=trust)


def input_format(size: int | None, mean: list[float] | None, std: list[float] | None) -> InputFormat | None:
    """What size, mean and std say of an encoder's images, or None where they say nothing. Raises InputError."""
    if (size, mean, std) == (None, None, None):
        return None
    channels = len(mean or std or (0, 0, 0))
    return InputFormat(
        None if size is None else (size, size),
        None,
        tuple(mean or [0.0] * channels),
        tuple(std or [1.0] * channels),
    )


def features_of(
    path: Path, key: str | None, encoder: FrozenEncoder | None, batch: int, bar: Bar
) -> tuple[Any, int]:
    """Features (n, d), and how many bytes they were made of: those of images, or of the file of features.

    path: - for standard input. batch: images that the encoder sees at once. Raises InputError.
    """
    if path == STDIN:
        raw = sys.stdin.buffer.read()
        return check_features(read_features(BytesIO(raw), key)), len(raw)
    if path.is_dir():
        if encoder is None:
            raise InputError(f"{path} is a folder: of images features are made with an --encoder")
        files = image_files(path)
        with bar("encoding", len(files)) as advance:
            features = encoder.features(read_images(files), batch, advance)
        return check_features(features), sum(file.stat().st_size for file in files)
    images = None
    if encoder is not None and path.is_file() and path.suffix.lower() not in FEATURE_SUFFIXES:
        images = read_image_set(path)
    features = read_features(path, key) if images is None else None
    if encoder is not None and features is not None and features.dtype.kind in "iu":  # no features: pixels
        images = check_image_set(features, str(path))
    if images is not None and encoder is not None:
        with bar("encoding", len(images)) as advance:
            features = encoder.features(images, batch, advance)
    return check_features(features), path.stat().st_size
