"""The stereo codec: the right view is compressed alone, the decoder also has the left view.

    right ──► image codec ──────────────► file ──► image codec ──► x ──┐
                                                                       ├──► align, check, fuse ──► right, better
    left ──────────────────────────────────────────────────────────────┘

A file holds what the image codec writes, bit for bit, so that parsing never depends on the left view: only
what is synthesised does. A camera without access to the left view thus codes for a reader that has it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from obverse.codec import SideInformed
from obverse.codecs.image.codec import ImageCodec, level_of
from obverse.codecs.image.networks import has_native_bfloat16, quality_of
from obverse.codecs.model_codec import from_model
from obverse.codecs.stereo import METHOD
from obverse.codecs.stereo.fusion import ALIGN, StereoFusion, luma
from obverse.codecs.stereo.recipe import StereoConfig
from obverse.container import Container, Limits
from obverse.data.conversion import ConversionWarning
from obverse.data.images import Photo, photo_of
from obverse.errors import InputError, SideInformationError, WrongModelError
from obverse.method import Method
from obverse.transforms.windows import windows
from obverse.zoo import StoredModel, find_model, load_model

WINDOW = 1152  # pixels on a side of what the fusion network sees at once
HALO = 112  # at least what its convolutions see
WINDOW_BYTES = 700  # memory a pixel of a window takes, in bytes (experiments/stereo/views.py memory)
# and what each number of a size above those of `StereoConfig()` adds to that, at most
BYTES_OF_SIZES = {
    "disparities": 1.2, "features": 2.0, "match": 1.0, "cost": 2.0, "coarse_cost": 0.5, "context": 4.0, "refine": 5.0,
    "trunk": 5.0, "deep": 1.5,
}  # fmt: skip
LEFT_BYTES = 40  # memory that a pixel of the left view takes beyond the window, and 2 more for each feature
DETAIL = 16  # pixels: structure finer than this decides whether the views match
SHARP = 0.125  # of the decoded view's sharpness: a left view with less makes it no better
ROWS = 64  # of an image that are looked at at once
FLAT = 1.0  # grey levels: views with less structure than this cannot be told apart, and need not be


class StereoCodec(ImageCodec, SideInformed):
    """Any image that the image codec codes; decoding takes the left view of the same size as side information.

    The model is the fusion network. Its configuration names the image model that it was trained for, so that the
    fingerprint stands for both.
    """

    method: ClassVar[Method] = METHOD

    @from_model
    def image_model(self) -> StoredModel:  # type: ignore[override]
        """The image codec's model. Raises WrongModelError where the model that this one builds on is missing."""
        wanted = bytes.fromhex(self.model.config["image_model"])
        image = load_model("image")
        if image.fingerprint != wanted:
            found = find_model("image", wanted)
            if found is None:
                raise WrongModelError(
                    f"the stereo model {self.model.fingerprint.hex()} builds on the image model {wanted.hex()}, which "
                    "is not installed here: install the version of Obverse that has it"
                )
            image = found
        return image

    @from_model
    def fusion(self) -> StereoFusion:
        config = StereoConfig(**self.model.config["model"])
        return self.network(lambda: StereoFusion(config)).to(memory_format=torch.channels_last)

    @from_model
    def least_match(self) -> float:
        """How well the views must match, -1 to 1."""
        least = self.model.config["least_match"]
        if type(least) not in (int, float) or not -1 <= least <= 1:
            raise ValueError(f"least_match is a number from -1 to 1, not {least!r:.40}")
        return float(least)

    def encode_at(self, photo: Photo, quality: float, options: Any, beside: dict[str, bytes]) -> Container:
        """The file of a quality: always one of the transform, which the left view is fused with."""
        return self.encode_photographic(photo, level_of(quality), options, beside)[0]

    def decode(
        self, container: Container, limits: Limits | None = None, *, side_info: Any = None
    ) -> np.ndarray:
        """side_info: the left view, as `encode` takes images, of the same height and width. Returns (H, W),
        (H, W, 3), or with alpha (H, W, 2), (H, W, 4), uint8.

        Raises SideInformationError where the left view is missing, has another size or dtype, or does not match
        what was decoded, and all that the image codec raises. Of a left view that is out of focus no use is made.
        """
        return self.decode_photo(container, limits, side_info=side_info).array()

    def decode_photo(
        self, container: Container, limits: Limits | None = None, *, side_info: Any = None
    ) -> Photo:
        """`decode`, with the metadata."""
        limits = Limits.of(limits)
        if side_info is None:
            raise SideInformationError("a stereo file is decoded with its left view: pass side_info")
        try:
            left = photo_of(side_info, "the left view")
        except InputError as error:
            raise SideInformationError(f"the side information cannot be used: {error}") from error
        if left.size != tuple(container.shape):
            height, width = left.size
            raise SideInformationError(
                f"the left view has {width}x{height} pixels, the right view in the file "
                f"{'x'.join(map(str, container.shape[::-1]))}: pass the view taken with it, uncropped"
            )
        limits.check_memory(fusion_memory(self.fusion.config, *left.size))
        photo = super().decode_photo(container, limits)
        pixels, match = fuse_pixels(
            self.fusion, photo.pixels, like(left.pixels, photo.pixels), container.config[0]
        )
        least = self.least_match
        if match < least:
            raise SideInformationError(
                f"the left view does not show what the file's right view shows (match {match:.2f}, at least "
                f"{least:.2f} needed): pass the view taken with it, the left one, unmirrored"
            )
        if pixels is photo.pixels:
            warnings.warn(
                "the left view is out of focus, less sharp than what the file holds: it is not made use of",
                ConversionWarning,
                stacklevel=2,
            )
        return replace(photo, pixels=pixels)


def fusion_memory(config: StereoConfig, height: int, width: int) -> int:
    """Bytes that fusing views of this size takes with networks of these sizes, about and at most."""
    usual = StereoConfig()
    beyond = {name: max(0, getattr(config, name) - getattr(usual, name)) for name in BYTES_OF_SIZES}
    a_pixel = WINDOW_BYTES + sum(BYTES_OF_SIZES[name] * count for name, count in beyond.items())
    rows, columns = min(height, WINDOW * 5 // 4), min(width, WINDOW * 5 // 4)
    more = max(0, min(width - columns, config.reach - usual.reach))  # columns of the left view
    left = LEFT_BYTES + 2 * (config.features + config.match)
    return int(rows * (columns * a_pixel + more * left))


def sharpness(pixels: np.ndarray) -> float:
    """Root mean square of the Laplacian of (H, W), or of the mean of the channels of (H, W, 3), in grey levels."""
    total, count = 0.0, 0
    for top in range(0, len(pixels) - 2, ROWS):
        y = pixels[top : top + ROWS + 2].astype(np.float32)
        y = y if y.ndim == 2 else y.mean(axis=2)
        edges = 4 * y[1:-1, 1:-1] - y[:-2, 1:-1] - y[2:, 1:-1] - y[1:-1, :-2] - y[1:-1, 2:]
        total, count = total + float(np.square(edges).sum(dtype=np.float64)), count + edges.size
    return float(np.sqrt(total / count)) if count else 0.0


def like(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The left view with as many channels as the right one."""
    if left.ndim == right.ndim:
        return left
    if left.ndim == 2:
        return np.repeat(left[:, :, None], 3, axis=2)
    return np.asarray(Image.fromarray(left).convert("L"))


def image_decoder(codec: ImageCodec | None = None) -> Callable[[np.ndarray, float], np.ndarray]:
    """(image, quality) -> the image after the image codec: what a fusion network is trained on."""
    codec = codec or ImageCodec()
    return lambda pixels, quality: codec.decode(codec.encode(pixels, codec.options(quality=float(quality))))


def to_tensor(pixels: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) uint8 -> (1, 3, H', W') in [0, 1], sides extended to multiples of ALIGN."""
    if pixels.ndim == 2:
        pixels = np.broadcast_to(pixels[:, :, None], (*pixels.shape, 3))
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % ALIGN), (0, -width % ALIGN), (0, 0)), mode="edge")
    return torch.from_numpy(padded).permute(2, 0, 1)[None].float().div_(255)


def detail(x: Tensor) -> Tensor:
    """Luma in grey levels less its mean over DETAIL pixels."""
    y = luma(x) * 255
    return y - F.avg_pool2d(y, DETAIL + 1, 1, DETAIL // 2, count_include_pad=False)


def match_of(network: StereoFusion, right: np.ndarray, left: np.ndarray, quality: float) -> float:
    """How well two views match, by `fuse_pixels`: what the model's `least_match` is calibrated with."""
    return fuse_pixels(network, right, like(left, right), level_of(quality))[1]


@torch.inference_mode()
def fuse_pixels(
    network: StereoFusion, right: np.ndarray, left: np.ndarray, level: int
) -> tuple[np.ndarray, float]:
    """Decoded right view and left view, both (H, W) or (H, W, 3) uint8 -> the fused right view, and how well
    the views match: the correlation coefficient of the details of the right view and of the aligned left view,
    -1 to 1; 1 where the right view has no details. A left view that is out of focus leaves the right one as it is."""
    t = quality_of(level)
    out = np.empty_like(right)
    products = np.zeros(3)
    reach = network.config.reach
    for win in windows(*right.shape[:2], WINDOW, HALO):
        rows, columns = win.padded
        # cut at multiples of ALIGN, so that the cells of the matching grid are those of the whole image
        x = to_tensor(right[rows, columns])
        y = to_tensor(left[rows, columns.start : min(left.shape[1], columns.stop + reach)])
        fused = network.run_mixed(x, y, t, has_native_bfloat16())
        height, width = right[rows, columns].shape[:2]
        a, b = (detail(view)[0, 0, :height, :width][win.inside].double() for view in (x, fused.aligned))
        products += np.array([float((a * b).sum()), float((a * a).sum()), float((b * b).sum())])
        pixels = fused.x[0, :, :height, :width].permute(1, 2, 0)[win.inside] * 255
        if right.ndim == 2:
            pixels = pixels.mean(dim=2)
        out[win.core] = pixels.round_().clamp_(0, 255).to(torch.uint8).numpy()
    if sharpness(left) < SHARP * sharpness(right):
        out = right
    if products[1] < FLAT**2 * right.shape[0] * right.shape[1]:
        return out, 1.0
    return out, float(products[0] / np.sqrt(products[1] * max(products[2], 1e-9)))
