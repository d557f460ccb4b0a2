"""Features of what a user names: files of them as one set, or images that an encoder looks at."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from obverse.data.feature_files import (
    SUFFIXES,
    FeatureArray,
    FeatureFiles,
    FeatureRows,
    naming,
    open_features,
)
from obverse.data.features import check_features
from obverse.data.image_sets import read_image_set
from obverse.data.source import standard_input
from obverse.errors import InputError
from obverse.integrations.encoders import load_encoder
from obverse.integrations.frozen_encoder import FrozenEncoder
from obverse.integrations.image_input import InputFormat, image_files, read_images

STDIN = Path("-")

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


@contextmanager
def rows_of(
    sources: Sequence[Path], key: str | None, encoder: FrozenEncoder | None, batch: int, bar: Bar
) -> Iterator[tuple[FeatureRows, int]]:
    """Feature vectors (n, d) of all sources as one set, in order, and how many bytes they were made of.

    Files of features are read piece by piece while the context is open; what an encoder makes of images is in memory.

    sources: files of features, folders of such files, in the order of their names, or images where there is an encoder;
    - for standard input. key: which array, where a file holds several. batch: images that the encoder sees at once.
    Raises InputError.
    """
    parts: list[FeatureRows] = []
    size = 0
    with ExitStack() as stack:
        for path in sources:
            if path == STDIN:
                path = stack.enter_context(_standard_input())
            if encoder is not None and _holds_images(path):
                with bar("encoding", _image_count(path)) as advance:
                    made = encoder.features(_images(path), batch, advance)
                with naming(path):
                    parts.append(FeatureArray(check_features(made), str(path)))
                size += sum(file.stat().st_size for file in (image_files(path) if path.is_dir() else [path]))
                continue
            for file in shards(path) if path.is_dir() else [path]:
                parts.append(open_features(file, key))
                size += file.stat().st_size
        yield FeatureFiles(parts), size


def shards(folder: Path) -> list[Path]:
    """The files of features in a folder, in the order of their names. Raises InputError where there are none."""
    files = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise InputError(
            f"{folder} holds no files of features ({', '.join(SUFFIXES)}); of images features are made with an "
            "--encoder"
        )
    return files


def _holds_images(path: Path) -> bool:
    """Whether an encoder is to look at it: a folder without files of features, a set of images, pixels."""
    if path.is_dir():
        return not any(file.suffix.lower() in SUFFIXES for file in path.iterdir())
    if path.suffix.lower() != ".npy":
        return path.suffix.lower() not in SUFFIXES and path.is_file()
    try:
        return bool(np.load(path, "r", allow_pickle=False).dtype.kind in "iu")
    except (OSError, ValueError):
        return False  # told when it is opened


def _image_count(path: Path) -> int:
    return len(image_files(path)) if path.is_dir() else len(read_image_set(path))


def _images(path: Path) -> Any:
    return read_images(image_files(path)) if path.is_dir() else read_image_set(path)


@contextmanager
def _standard_input() -> Iterator[Path]:
    """What comes from standard input, in a temporary file, since it is gone through several times."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "standard input"
        try:
            with path.open("wb") as file:
                shutil.copyfileobj(standard_input(), file)
        except OSError as error:
            raise InputError(f"standard input cannot be read: {error}") from error
        yield path
