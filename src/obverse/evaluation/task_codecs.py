"""Codecs as tasks meet them: a file for each image, or one for a set.

    FileCodec   image  ──► bytes of a file, at each quality ──► image
    SetCodec    items  ──► bytes of one file of the set, and of one file each ──► items, or scores

`task_codec` tells which of the two a codec of Obverse is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from obverse.codec import Codec
from obverse.container import read, write
from obverse.errors import InputError, MissingExtraError, ObverseError
from obverse.evaluation.peers import get_peer
from obverse.evaluation.runner import PILLOW_ERRORS, QUALITIES, through_a_file

Array = npt.NDArray[Any]
Probe = Callable[[Any], Array]

LOSSES = (0.001, 0.003, 0.01, 0.03, 0.1)  # parts of the variance of features
NO_QUALITY = math.nan


class FileCodec:
    """A codec of single images, each its own file, at several qualities.

    encode: (image (H, W[, 3]) uint8, quality) -> bytes; decode: bytes -> image. A codec without qualities has the one
    setting NaN.
    """

    def __init__(
        self,
        name: str,
        suffix: str,
        settings: Sequence[float],
        encode: Callable[[Array, float], bytes],
        decode: Callable[[bytes], Array],
    ):
        self.name, self.suffix, self.settings = name, suffix, tuple(settings)
        self._encode, self._decode = encode, decode

    def label(self, setting: float) -> str:
        """Of a setting, as rows name it."""
        return "" if math.isnan(setting) else f"quality {setting:g}"

    def through(self, images: Sequence[Array], setting: float) -> tuple[list[int], list[Array]]:
        """Sizes of the files of images, and the images that come back. Raises InputError."""
        sizes, decoded = [], []
        for image in images:
            try:
                data, size = through_a_file(self._encode(image, setting), self.suffix)
                back = np.asarray(self._decode(data))
                back = _gray(back) if image.ndim == 2 and back.ndim == 3 else back
            except MissingExtraError:
                raise
            except (*PILLOW_ERRORS, ObverseError) as error:
                what = f"{self.name} {self.label(setting)}".strip()
                raise InputError(f"{what} failed on an image of shape {image.shape}: {error}") from error
            if back.shape != image.shape or back.dtype != np.uint8:
                raise InputError(
                    f"{self.name} returned {back.dtype} of shape {back.shape} for an image of shape {image.shape}"
                )
            sizes.append(size)
            decoded.append(back)
        return sizes, decoded


@dataclass(frozen=True)
class CodedSet:
    """A set that went through files. seen: what came back, or the scores that the codec predicted from its codes."""

    setting: str
    files: str
    bytes: int
    seen: Array
    scores: bool


class SetCodec:
    """A codec of sets. probe: what reads its decoded codes (n, k), where they are neither items nor predictions.

    settings: options of `encode`. each: whether files of one item are measured as well.
    """

    def __init__(
        self,
        codec: Codec,
        name: str,
        settings: Sequence[dict[str, float]] = ({},),
        each: bool = True,
        probe: Probe | None = None,
    ):
        self.codec, self.name, self.settings = codec, name, tuple(settings)
        self.each, self.probe = each, probe

    @property
    def runs(self) -> int:
        """How often the set is coded."""
        return len(self.settings) * (2 if self.each else 1)

    def through(self, items: Array, done: Callable[[], None]) -> Iterator[CodedSet]:
        """The set as one file, then as one file each, at each setting. Raises InputError."""
        for setting in self.settings:
            label = " ".join(f"{name} {value:g}" for name, value in setting.items())
            for each in (False, True) if self.each else (False,):
                parts = [items[i : i + 1] for i in range(len(items))] if each else [items]
                made = [self._through_one(part, setting) for part in parts]
                done()
                seen = np.concatenate([back for _, back, _ in made])
                yield CodedSet(label, "each" if each else "one", sum(m[0] for m in made), seen, made[0][2])

    def _through_one(self, items: Array, setting: dict[str, float]) -> tuple[int, Array, bool]:
        """Bytes of the file, what came back, and whether that is scores."""
        try:
            data, size = through_a_file(
                write(self.codec.encode(items, self.codec.options(**setting))), ".obv"
            )
            container = read(data)
            predict = getattr(self.codec, "predict", None)
            if predict is not None:
                return size, np.asarray(predict(container)), True
            back = np.asarray(self.codec.decode(container))
            if back.shape == items.shape:
                return size, back, False
            if self.probe is not None:
                return size, np.asarray(self.probe(back)), True
            rebuilt = getattr(self.codec, "reconstruct", None)
            back = np.asarray(rebuilt(container)) if rebuilt is not None else back
        except MissingExtraError:
            raise
        except ObverseError as error:
            raise InputError(f"the codec {self.name} failed on the set: {error}") from error
        if back.shape != items.shape:
            raise InputError(
                f"the codec {self.name} returns shape {back.shape} for items of shape {items.shape}, which the task "
                "cannot see: give a --probe, a classifier of what it returns"
            )
        return size, back, False


def task_codec(
    name: str, qualities: Sequence[float] | None = None, probe: Probe | None = None
) -> FileCodec | SetCodec:
    """The codec of Obverse of this id, or of a trained model given by its name or folder.

    Raises InputError for codecs that a task cannot be shown through, CodecNameError.
    """
    from obverse.registry import open_codec

    codec = open_codec(name)
    if codec.method.side_info:
        raise InputError(f"the codec {name} decodes with side information only, and a task has none to give")
    options = {option.name for option in codec.method.options_class.described()}
    if hasattr(codec, "predict") or codec.kind.folder:
        return SetCodec(codec, name, probe=probe)
    if "loss" in options:
        # a model fixes how much is lost
        settings: list[dict[str, float]] = [{}] if codec.fingerprint else [{"loss": loss} for loss in LOSSES]
        return SetCodec(codec, name, settings, each=False)
    with_quality = "quality" in options

    def encode(image: Array, quality: float) -> bytes:
        chosen = {"quality": quality} if with_quality else {}
        return write(codec.encode(image, codec.options(**chosen)))

    settings_ = (qualities or QUALITIES) if with_quality else (NO_QUALITY,)
    return FileCodec(name, ".obv", settings_, encode, lambda data: codec.decode(read(data)))


def task_peer(name: str) -> FileCodec:
    """A classical codec at its own qualities. Raises InputError, MissingExtraError."""
    peer = get_peer(name)
    return FileCodec(
        name,
        peer.suffix,
        peer.qualities,
        lambda image, quality: peer.encode(Image.fromarray(image), quality),
        lambda data: np.asarray(peer.decode(data)),
    )


def _gray(image: Array) -> Array:
    """(H, W, 3) to (H, W): classical codecs are decoded to colour, whatever was put in."""
    return np.asarray(Image.fromarray(image).convert("L"))
