"""A frozen encoder: what turns images into the feature vectors that are compressed.

    images ──► InputFormat ──► batch (N, C, h, w) ──► model ──► features (N, d)
                               weights ──► SHA-256 ──► fingerprint, kept in every file of features

`obverse.integrations.encoders` makes one of a file, a folder or a function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.data.arrays import as_array
from obverse.data.guard import unreadable
from obverse.errors import InputError, ObverseError
from obverse.integrations.image_input import InputFormat

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]

BATCH = 64
_PIECE = 1 << 20


@dataclass(frozen=True)
class FrozenEncoder:
    """Images to features, and whose features they are.

    Attributes:
        function: a batch to (N, d): of the images as they are where `inputs` is None, else of what `inputs` makes of
            them.
        name: of the model.
        fingerprint: SHA-256 of the weights, 32 bytes, or None where nobody knows them.
        inputs: how images become a batch, or None.
    """

    function: Function
    name: str
    fingerprint: bytes | None
    inputs: InputFormat | None = None

    def __call__(self, images: Sequence[Array] | Array) -> Array:
        """A batch of images (H, W) or (H, W, 3), uint8, to features (N, d) of float.

        Raises:
            InputError: where there are no images, or the encoder makes no such features of them.
        """
        count = len(images)
        if count == 0:
            raise InputError("there are no images to make features of")
        batch = images if self.inputs is None else self.inputs.batch(images)
        try:
            made = self.function(batch)
        except (ObverseError, MemoryError):
            raise
        except Exception as error:  # whatever the user's encoder raises
            why = (str(error).strip().splitlines() or [""])[0]
            raise InputError(
                f"the encoder {self.name} fails on a batch of {count} images: {type(error).__name__}: {why}"
            ) from error
        features = as_array(made, f"what the encoder {self.name} makes")
        if features.ndim != 2 or len(features) != count or features.dtype.kind != "f":
            raise InputError(
                f"the encoder {self.name} made {features.dtype} of shape {features.shape} of {count} images: it "
                "must make floats of shape (N, d), a vector an image"
            )
        return features

    def features(
        self, images: Iterable[Array], batch: int = BATCH, progress: Callable[[int], None] | None = None
    ) -> Array:
        """Features (n, d) of all images, `batch` at a time.

        Args:
            images: (H, W) or (H, W, 3), uint8.
            batch: images at a time.
            progress: told after each batch how many images were done.

        Raises:
            InputError: where there are no images, or the encoder makes no such features of them.
        """
        parts = []
        for some in _batches(images, batch):
            parts.append(self(some))
            if progress:
                progress(len(some))
        if not parts:
            raise InputError("there are no images to make features of")
        if len({part.shape[1] for part in parts}) > 1:
            raise InputError(f"the encoder {self.name} makes vectors of changing length")
        return np.concatenate(parts)


def _batches(images: Iterable[Array], size: int) -> Iterator[Any]:
    if size < 1:
        raise InputError(f"a batch has at least 1 image, not {size}")
    if isinstance(images, np.ndarray):
        yield from (images[i : i + size] for i in range(0, len(images), size))
        return
    iterator = iter(images)
    while some := list(islice(iterator, size)):
        yield some


def file_fingerprint(files: Iterable[Path]) -> bytes:
    """SHA-256 of files in the order of their names, names and lengths included."""
    digest = hashlib.sha256()
    for path in sorted(files):
        try:
            digest.update(f"{path.name} {path.stat().st_size};".encode())
        except OSError as error:
            raise InputError(unreadable(path, error)) from error
        take_in(digest, path)
    return digest.digest()


def take_in(digest: hashlib._Hash, path: Path) -> None:
    """The bytes of a file, piece by piece, since weights are large.

    Raises:
        InputError: for a file that cannot be read.
    """
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise InputError(unreadable(path, error)) from error


def explained(run: Function, path: Path) -> Function:
    """What goes wrong within a model becomes a sentence that names it."""

    def run_or_explain(batch: Any) -> Any:
        try:
            return run(batch)
        except (RuntimeError, ValueError, TypeError, AssertionError) as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            raise InputError(
                f"the encoder {path.name} cannot be run on a batch of shape {getattr(batch, 'shape', None)}: {why}; "
                "check the size and channels that it wants (--size, --mean, --std)"
            ) from error

    return run_or_explain
