"""What an encoder is given: images of any size, resized, cropped and normalised to one batch.

    images (H, W[, 3]) uint8 ──► shorter side to `resize` ──► centre `crop` ──► / 255 - mean, / std ──► (N, C, h, w)

`InputFormat.of_folder` reads the same from the preprocessor_config.json of a Hugging Face model, so that nothing but
Pillow is needed to do what its image processor does.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from obverse.data.arrays import as_array
from obverse.data.images import read_photo
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError

Array = npt.NDArray[Any]

LARGEST_SIDE = 1 << 14
CONFIG = "preprocessor_config.json"


@dataclass(frozen=True)
class InputFormat:
    """How images become a batch of float32.

    Attributes:
        resize: pixels of the shorter side, or (height, width), or None to leave images as they are.
        crop: (height, width) cut from the centre, or None.
        mean: of each channel, on the scale 0 to 1; their number is that of channels, 1 (gray) or 3.
        std: likewise.
        resample: Pillow's number of a filter, 3 is bicubic.
        rescale: what pixels are multiplied by.
    """

    resize: int | tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    resample: int = 3
    rescale: float = 1 / 255

    def __post_init__(self) -> None:
        sides = [self.resize] if isinstance(self.resize, int) else [*(self.resize or ()), *(self.crop or ())]
        if (
            len(self.mean) != len(self.std) or len(self.mean) not in (1, 3) or 0 in self.std
            or any(not 1 <= side <= LARGEST_SIDE for side in sides) or self.resample not in range(6)
        ):  # fmt: skip
            raise InputError(
                f"images are resized to 1 to {LARGEST_SIDE} pixels and normalised by as many means as deviations "
                "(above 0), 1 or 3: check the settings of the encoder's input"
            )

    def batch(self, images: Sequence[Array] | Array) -> npt.NDArray[np.float32]:
        """Images (H, W) or (H, W, 3) uint8 to (N, C, h, w) float32.

        Raises:
            InputError: for other arrays, and for images of several sizes that are not resized to one.
        """
        planes = [self._prepare(as_array(image, "an image")) for image in images]
        sizes = {plane.shape for plane in planes}
        if len(sizes) > 1:
            raise InputError(
                f"the images differ in size ({len(sizes)} sizes): say what to resize them to (--size)"
            )
        stacked = np.stack(planes).astype(np.float32) * np.float32(self.rescale)
        normal = (stacked - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normal.transpose(0, 3, 1, 2))

    def _prepare(self, image: Array) -> Array:
        """(H, W[, 3]) uint8 -> (h, w, C) uint8."""
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
            raise InputError(
                f"an image is (H, W) or (H, W, 3) of uint8, not {image.dtype} of shape {image.shape}"
            )
        if image.size == 0:
            raise InputError("an image has no pixels")
        picture = Image.fromarray(image).convert("L" if len(self.mean) == 1 else "RGB")
        if self.resize is not None:
            width, height = picture.size
            if isinstance(self.resize, int):
                short = min(width, height)
                # the longer side is cut, not rounded: as the image processors of the models do
                size = (int(self.resize * width / short), int(self.resize * height / short))
            else:
                size = (self.resize[1], self.resize[0])
            picture = picture.resize(size, Image.Resampling(self.resample))
        if self.crop is not None:
            left, top = (picture.size[0] - self.crop[1]) // 2, (picture.size[1] - self.crop[0]) // 2
            picture = picture.crop((left, top, left + self.crop[1], top + self.crop[0]))
        pixels = np.asarray(picture)
        return pixels[:, :, None] if pixels.ndim == 2 else pixels

    @classmethod
    def of_folder(cls, folder: Path) -> InputFormat:
        """What preprocessor_config.json says.

        Raises:
            InputError: where it is not there, or does not say how images are prepared.
        """
        path = folder / CONFIG
        try:
            config = json.loads(path.read_bytes())
            size, crop = config.get("size"), config.get("crop_size")
            resize = _size(size) if config.get("do_resize", True) and size is not None else None
            window = _size(crop) if config.get("do_center_crop", False) and crop is not None else None
            normalise = config.get("do_normalize", True)
            return cls(
                resize,
                (window, window) if isinstance(window, int) else window,
                tuple(map(float, config["image_mean"])) if normalise else (0.0, 0.0, 0.0),
                tuple(map(float, config["image_std"])) if normalise else (1.0, 1.0, 1.0),
                int(config.get("resample", 3)),
                float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else 1.0,
            )
        except FileNotFoundError:
            raise InputError(
                f"{folder} has no {CONFIG}: save the model's image processor beside it"
            ) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} does not say how images are prepared: {error!r}") from None


def _size(value: Any) -> int | tuple[int, int]:
    if isinstance(value, int):
        return value
    if "shortest_edge" in value:
        return int(value["shortest_edge"])
    return int(value["height"]), int(value["width"])


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder, in the order of their names.

    Raises:
        InputError: where there are none.
    """
    files = sorted(
        p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")
    )
    if not files:
        raise InputError(f"the folder {folder} is empty: there is no image file in it")
    return files


def read_images(files: Sequence[Path]) -> Iterator[Array]:
    """Pixels of each file, (H, W) or (H, W, 3) uint8; an alpha channel is dropped.

    Raises:
        InputError: for what is not a whole image.
    """
    for path in files:
        pixels = np.asarray(read_photo(path).pixels)
        yield pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
