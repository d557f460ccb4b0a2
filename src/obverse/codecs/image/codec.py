"""The image codec: photos, lossy, any rate from one model.

    pixels ──► analysis ──► y ──► hyper-analysis ──► z ──► round ──► message
                            │                        │
                            │        exact prior ◄───┘
                            │            │ mean, table of slice k = 0, 1, 2, 3
                            └──────► round(y - mean) ──────────────► message ──► file

    file ──► message ──► ẑ, then slice k with the tables that ẑ and slices < k give ──► ŷ ──► synthesis ──► pixels

The message is a stack: the encoder computes everything first and pushes slices 3, 2, 1, 0 and then z, so
that the decoder pops z, 0, 1, 2, 3.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from obverse.codecs.image import METHOD, alpha, drawn_blocks
from obverse.codecs.image.alternatives import Blocks, Decode, all_that_fits, cheapest, lossless_codec, within
from obverse.codecs.image.decoder import ImageDecoder
from obverse.codecs.image.drawn_blocks import put_back
from obverse.codecs.image.latents import ALIGN, LEVELS, Coded
from obverse.codecs.image.options import DEFAULT_QUALITY, TUNES, ImageOptions, TransformOptions
from obverse.codecs.image.quality import effective
from obverse.codecs.image.rate_control import highest_level, highest_refined_level
from obverse.codecs.image.region import LOWER, over, region_of
from obverse.codecs.image_lossless import METHOD as LOSSLESS
from obverse.codecs.model_codec import ModelCodec, from_model
from obverse.codecs.photo_sections import names_of, pack_metadata, unpack_metadata, version_of
from obverse.coding import Message, TableFamily
from obverse.container import Container, Limits
from obverse.data.conversion import ConversionWarning
from obverse.data.images import Photo, photo_of
from obverse.data.metadata import metadata_bytes
from obverse.data.previews import SHRINK, means, reduced
from obverse.errors import DamagedError, InputError, MessageEmptyError, OptionError, RateTargetError
from obverse.method import Method
from obverse.zoo import StoredModel, find_model, find_tune

if TYPE_CHECKING:  # of torch, which decoding does without: its import takes longer than decoding a photo
    from obverse.codecs.image.networks import ImageNetworks

OF_VERSION_2 = {drawn_blocks.SECTION, alpha.FILE}  # sections; metadata have such too
PIXEL_BYTES = 36  # memory a pixel takes while it is coded, in bytes (benchmarks/large_image.py)


class ImageCodec(ModelCodec):
    """Any 8-bit grayscale or RGB image, with or without alpha, from 1x1 pixel on."""

    method: ClassVar[Method] = METHOD

    @property
    def image_model(self) -> StoredModel:
        """The model that holds the networks of both sides. Raises ModelError."""
        return self.model

    @from_model
    def networks(self) -> ImageNetworks:
        """What the encoder computes with, in torch."""
        from obverse.codecs.image.networks import ImageNetworks

        return ImageNetworks.load(self.image_model)

    @from_model
    def decoder(self) -> ImageDecoder:
        """What the decoder computes with, without torch."""
        return ImageDecoder.load(self.image_model)

    def encode(
        self,
        data: Any,
        options: TransformOptions | None = None,
    ) -> Container:
        """A Photo, a Pillow image, or a uint8 array (H, W), (H, W, 1 to 4), to a container.

        It is one of `image-lossless` where that suits the image better. Raises InputError, LimitError, RateTargetError.
        """
        options = options or ImageOptions()
        self.check_options(options)
        if (tuned := self.tuned(options)) is not self:
            return tuned.encode(data, options)
        max_bytes = options.max_bytes
        photo = photo_of(data)
        height, width = photo.size
        limits = Limits.of(options.limits)
        limits.check_pixels(height * width)
        limits.check_memory(coding_memory(height, width))
        if isinstance(options, ImageOptions) and options.max_error is not None:
            return within(photo, options.max_error, options)
        if options.bpp is not None:
            max_bytes = max(1, int(options.bpp * height * width / 8))
        beside = sections_beside(photo, options)

        def at(level: int, effort: int = options.effort) -> Container:
            return self.encode_at(photo, quality_of_level(level), replace(options, effort=effort), beside)

        if max_bytes is None:
            quality = DEFAULT_QUALITY if options.quality is None else options.quality
            return self.encode_at(photo, quality, options, beside)
        try:
            if options.effort == 0:
                best = highest_level(at, max_bytes, LEVELS)
            else:
                best = highest_refined_level(lambda level: at(level, 0), at, max_bytes, LEVELS)
            plain = not (isinstance(options, ImageOptions) and options.roi is not None)
            return all_that_fits(photo, best, self.decode_photo if plain else None, max_bytes, options)
        except RateTargetError:
            if version_of(beside) == 1:
                raise
        bare = self.encode(replace(photo, xmp=b"", dpi=None, text={}, colour={}), options)
        message = (
            "XMP data, resolution and texts are left out, and colour chunks of PNG: with them the image would be "
            "larger than was asked for"
        )
        warnings.warn(message, ConversionWarning, stacklevel=2)
        return bare

    def check_options(self, options: TransformOptions) -> None:
        """Raises OptionError where there is no such tune, or a background without its region."""
        if isinstance(options, ImageOptions):
            options.check_background()
        self.tuned(options)

    def tuned(self, options: TransformOptions) -> ImageCodec:
        """Itself, or the codec with the model that is the wanted tune of its own.

        Raises:
            OptionError: there is none.
        """
        tune = options.tune if isinstance(options, ImageOptions) else None
        if tune is None or tune == self.model.config.get("tune", TUNES[0]):
            return self
        if tune not in self._tunes:
            base = self.model.fingerprint_at("base")
            plain = None if base is None else find_model(self.id, base)
            if plain is not None:
                self._tunes[tune] = type(self)(plain).tuned(options)
                return self._tunes[tune]
            model = find_tune(self.id, self.fingerprint, tune)
            if model is None:
                raise OptionError(
                    f"the model {self.model.name!r} has no tune {tune!r} here: leave it out, or train one (--tune-of)"
                )
            self._tunes[tune] = type(self)(model)
        return self._tunes[tune]

    @cached_property
    def _tunes(self) -> dict[str, ImageCodec]:
        return {}

    def encode_at(
        self, photo: Photo, quality: float, options: TransformOptions, beside: dict[str, bytes]
    ) -> Container:
        """The file of a quality, which is one of `image-lossless` where that costs less.

        beside: the sections of a file of the transform that do not depend on the quality.
        """
        level = level_of(min(100.0, effective(quality)))
        if isinstance(options, ImageOptions) and options.roi is not None:
            photo = self._with_plain_background(photo, quality, options)

        def photographic(photo: Photo, over: Blocks | None) -> tuple[Container, Decode]:
            return self.encode_photographic(photo, level, options, beside, over)

        return cheapest(photo, quality, photographic, options)

    def _with_plain_background(self, photo: Photo, quality: float, options: ImageOptions) -> Photo:
        """The photo as it is to be coded at a quality: outside the region what a lower one leaves."""
        inside = region_of(options.roi, *photo.size, Limits.of(options.limits))
        lower = max(1.0, quality - LOWER) if options.roi_background is None else options.roi_background
        level = level_of(min(100.0, effective(min(lower, quality))))
        _, decode = self.encode_photographic(photo, level, replace(options, effort=0), {})
        return replace(photo, pixels=over(inside, photo.pixels, decode()))

    def encode_photographic(
        self,
        photo: Photo,
        level: int,
        options: TransformOptions,
        beside: dict[str, bytes],
        over: Blocks | None = None,
    ) -> tuple[Container, Decode]:
        """By the transform, with drawn blocks over it, if any. Returns the file, and what makes the pixels of it."""
        from obverse.codecs.image.encoder import quantise_pixels

        coded, y_hat = quantise_pixels(self.networks, photo.pixels, level, options.effort, options.progress)
        channels = 1 if photo.pixels.ndim == 2 else 3
        sections = {"y": message_of(self.networks.tables, coded).to_bytes()} | beside
        if over is not None:
            sections[drawn_blocks.SECTION] = drawn_blocks.pack(over[0], over[1])
        container = Container(
            self.id,
            {0: level, 1: channels},
            photo.size,
            sections,
            self.fingerprint,
            options.kept,
            version=2 if OF_VERSION_2 & sections.keys() else version_of(sections),
        )

        def decode() -> np.ndarray:
            pixels = as_channels(self.networks.synthesise(y_hat, level, *photo.size), channels)
            return pixels if over is None else put_back(pixels, over[0], over[2])

        return container, decode

    def rate_bits(self, data: Any, options: TransformOptions | None = None) -> np.ndarray:
        """(1,) bits that the model gives to the image, at the quality and by the codec that `encode` chooses.

        What is kept beside (alpha, metadata, drawn blocks) is not of the model: its bytes are counted.
        """
        options = options or ImageOptions()
        if (tuned := self.tuned(options)) is not self:
            return tuned.rate_bits(data, options)
        photo = photo_of(data)
        container = self.encode(photo, options)
        if container.codec != self.id:
            other = lossless_codec()
            step = container.config.get(3, 1)
            return other.rate_bits(other.decode_photo(container), other.options(max_error=step // 2))
        message = Message.from_bytes(container.sections["y"])
        coded, _ = self.decoder.pop(message, container.config[0], *photo.size)
        bits = sum(float(self.decoder.tables.bits(symbols, index).sum()) for symbols, index in coded)
        beside = sum(len(section) for name, section in container.sections.items() if name != "y")
        return np.array([bits + 8 * beside])

    def decode(self, container: Container, limits: Limits | None = None) -> np.ndarray:
        """(H, W), (H, W, 3), or with alpha (H, W, 2), (H, W, 4), uint8."""
        return self.decode_photo(container, limits).array()

    def reader_of(self, model: bytes) -> ImageCodec | None:
        """The codec with the tune of its model that has this fingerprint, or None."""
        for codec in self._tunes.values():
            if codec.fingerprint == model:
                return codec
        return None

    def decode_photo(self, container: Container, limits: Limits | None = None) -> Photo:
        """The pixels with alpha, and the metadata."""
        return self._photo(container, Limits.of(limits), 1)

    def decode_preview(self, container: Container, limits: Limits | None = None) -> Photo:
        """`decode_photo` at a quarter of the size a side, each pixel the mean of 4x4, which takes less time."""
        return self._photo(container, Limits.of(limits), SHRINK)

    def _photo(self, container: Container, limits: Limits, shrink: int) -> Photo:
        """The image, or its preview. shrink: 1 or SHRINK."""
        if container.codec == LOSSLESS.id:
            photo = lossless_codec().decode_photo(container, limits)
            return photo if shrink == 1 else reduced(photo)
        if container.model not in (None, self.fingerprint) and (other := self.reader_of(container.model)):
            return other._photo(container, limits, shrink)
        level, channels = container.config.get(0), container.config.get(1)
        shape, sections = container.shape, container.sections
        if (
            container.items is not None
            or set(container.config) != {0, 1}
            or len(shape) != 2
            or min(shape) < 1
        ):
            raise DamagedError("not the header of an image")
        if (
            type(level) is not int
            or not 0 <= level <= LEVELS
            or type(channels) is not int
            or channels not in (1, 3)
        ):
            raise DamagedError("an image file with a quality or channels out of range")
        known = {"y", alpha.DEFLATED, *names_of(container.version)}
        if container.version >= 2:
            known |= OF_VERSION_2
        if "y" not in sections or not set(sections) <= known:
            raise DamagedError("an image file with other sections than an image has")
        height, width = shape
        limits.check_pixels(height * width)
        limits.check_memory(coding_memory(height, width))
        plane = alpha.unpack_alpha(sections, height, width, limits)
        kept = unpack_metadata(sections, limits)
        limits.check_memory(coding_memory(height, width) + metadata_bytes(kept))
        try:
            _, y_hat = self.decoder.pop(Message.from_bytes(sections["y"]), level, height, width)
        except MessageEmptyError:
            raise DamagedError("the file holds less than its image") from None
        pixels = as_channels(self.decoder.synthesise(y_hat, level, height, width, shrink), channels)
        if drawn_blocks.SECTION in sections:
            pixels = _with_blocks(pixels, sections[drawn_blocks.SECTION], (height, width), limits, shrink)
        if shrink > 1 and plane is not None:
            plane = means(plane)
        return Photo(pixels, plane, **kept)


def _with_blocks(
    pixels: np.ndarray, section: bytes, size: tuple[int, int], limits: Limits, shrink: int
) -> np.ndarray:
    """The pixels, or those of the preview, with the drawn blocks of a file of this size over them."""
    drawn, together = drawn_blocks.unpack(section, *size, limits)
    found = lossless_codec().decode_photo(together, limits)
    blocks = drawn_blocks.check_blocks(found, 1 if pixels.ndim == 2 else 3)
    return put_back(pixels, drawn, means(blocks) if shrink > 1 else blocks, drawn_blocks.SIDE // shrink)


def coding_memory(height: int, width: int) -> int:
    """Bytes that coding an image takes, in whole cells of latents: a thin image has many of them for its pixels."""
    return -(-height // ALIGN) * -(-width // ALIGN) * ALIGN**2 * PIXEL_BYTES


def level_of(quality: float) -> int:
    """Quality 1 to 100 as the level that the file stores."""
    if not 1 <= quality <= 100:
        raise InputError(f"quality must be between 1 and 100, not {quality}")
    return round((quality - 1) * LEVELS / 99)


def quality_of_level(level: int) -> float:
    """The inverse of `level_of`."""
    return 1 + level * 99 / LEVELS


def message_of(tables: TableFamily, coded: list[Coded]) -> Message:
    """What `encoder.quantise_pixels` returns, as a message. What the decoder needs first is pushed last."""
    message = Message()
    for symbols, index in coded[::-1]:
        message.push(symbols, tables, index)
    return message


def as_channels(painted: np.ndarray, channels: int) -> np.ndarray:
    """(H, W, 3) of the synthesis as (H, W), or as it is."""
    return painted.mean(axis=2, dtype=np.float32).round().astype(np.uint8) if channels == 1 else painted


def sections_beside(photo: Photo, options: TransformOptions) -> dict[str, bytes]:
    """The sections of a file that do not depend on the quality: alpha and metadata, where there are."""
    error = options.alpha_error if isinstance(options, ImageOptions) else 0
    return alpha.pack_alpha(photo.alpha, error) | pack_metadata(photo)
