"""The lossless image codec: every pixel back, with alpha and metadata.

    pixels ──► stripes ──► the best of several methods each (image_methods.py) ──► file
                │ threads
    file ──► stripes ──► pixels

Stripes of about half a megapixel are coded independently, so that large images use all cores and a part is
read without the rest; drawings get larger ones, as what codes them learns while it goes. An image of one
stripe is a file with named sections, of several a stream of items with an index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from obverse.codecs.image_lossless import METHOD, deep, methods, near
from obverse.codecs.image_lossless.looks import LOOKS_DRAWN, drawn_share
from obverse.codecs.image_lossless.options import ImageLosslessOptions
from obverse.codecs.model_codec import ModelCodec, from_model
from obverse.codecs.photo_sections import names_of, pack_metadata, unpack_metadata, version_of
from obverse.container import Container, ItemReader, Limits, read_header, write
from obverse.container.header import Header
from obverse.container.recover import recover_items
from obverse.container.samples import check_samples, with_samples
from obverse.container.source import SourceLike
from obverse.data.images import Photo, photo_of
from obverse.data.metadata import metadata_bytes
from obverse.errors import DamagedError, InputError
from obverse.method import Method
from obverse.threads import available_threads

if TYPE_CHECKING:
    from obverse.codecs.image_lossless.raster import RasterModel

STRIPE_PIXELS = 2**19
DRAWN_STRIPE_PIXELS = 2**22
# memory that a pixel of 8 bits takes while its image is coded, and while its stripe is, of photos and of larger
# stripes, in bytes (measured on images of 1 to 16 megapixels)
PIXEL_BYTES, WORK_BYTES, DRAWN_BYTES = 15, 128, 48
ITEM_OVERHEAD = 12  # bytes that the container needs for one more stripe, at most: lengths and checksums
MOSTLY_DRAWN = 0.7  # from this share of pixels equal to a neighbour on, stripes are those of drawings

KINDS = (
    (1, 8),
    (2, 8),
    (3, 8),
    (4, 8),
    (1, 16),
    (2, 16),
    (3, 16),
    (4, 16),
)  # channels and bits of a sample: what the config's key 0 says
OLD_KINDS = 5  # those of format version 1
STRIPE = "x"  # the section of the only stripe


class Layout(NamedTuple):
    """What the header of a file says, checked: size in pixels, samples, and rows of a stripe."""

    height: int
    width: int
    channels: int
    depth: int
    step: int  # between the values that a sample of a colour can have; 1 is without loss
    rows: int
    extras: tuple[str, ...]  # items behind the stripes; None of them in a file with named sections

    @property
    def stripes(self) -> int:
        return -(-self.height // self.rows)

    def rows_of(self, stripe: int) -> slice:
        return slice(stripe * self.rows, min(self.height, (stripe + 1) * self.rows))


class ImageLosslessCodec(ModelCodec):
    """Any grayscale or RGB image of 8 or 16 bits, with or without alpha, from 1x1 pixel on."""

    method: ClassVar[Method] = METHOD

    @from_model
    def raster(self) -> RasterModel:
        """The learned model, built at first use."""
        from obverse.codecs.image_lossless.raster import RasterModel

        return RasterModel.load(self.model)

    def encode(self, data: Any, options: ImageLosslessOptions | None = None) -> Container:
        """A Photo, a Pillow image, a uint8 or uint16 array (H, W), (H, W, 1 to 4).

        Metadata are kept as they are, and pixels as they lie in the file: an orientation in the
        EXIF data stays an instruction to the viewer. Raises InputError, LimitError.
        """
        photo = photo_of(data, exact=True)
        array = photo_of(photo.array(), exact=True).array()
        pixels = array if array.ndim == 3 else array[:, :, None]
        options = options or ImageLosslessOptions()
        limits = Limits.of(options.limits)
        limits.check_pixels(pixels.shape[0] * pixels.shape[1])
        extras = pack_metadata(photo)
        step = near.step_of(options.max_error, pixels)
        container = self._encode_in_steps(pixels, step, extras, options)
        if step > 1 and drawn_share(pixels) >= LOOKS_DRAWN:
            exact = self._encode_in_steps(pixels, 1, extras, options)  # steps may break what repeats
            return min(exact, container, key=lambda one: len(write(one)))
        return container

    def _encode_in_steps(
        self, pixels: np.ndarray, step: int, extras: dict[str, bytes], options: ImageLosslessOptions
    ) -> Container:
        """(H, W, C), its colours rounded to multiples of `step`, with the sections beside its pixels."""
        pixels = near.quantise(pixels, step)
        height, width, channels = pixels.shape
        metadata, limits = options.kept, Limits.of(options.limits)
        rows = stripe_rows(pixels)
        work = _encoding_work(rows * width) * pixels.itemsize
        whole = height * width * PIXEL_BYTES * pixels.itemsize
        limits.check_memory(whole + work)
        raster = self.raster
        stripes = _in_threads(
            lambda top: _encode_stripe(raster, pixels[top : top + rows]),
            range(0, height, rows),
            (limits.memory - whole) // work,  # as many as there is memory for
        )
        weight = sum(map(len, stripes)) + ITEM_OVERHEAD * len(stripes)
        if len(stripes) > 1 and weight >= pixels.nbytes:  # noise: one stripe has less around it
            stripes = [bytes([methods.RAW]) + pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()]
        config: dict[Any, Any] = {0: KINDS.index((channels, 8 * pixels.itemsize))}
        if step > 1:
            config[3] = step
        decoded = near.dequantise(pixels, step)
        shape = (height, width)
        if len(stripes) == 1:
            sections = {STRIPE: stripes[0]} | extras
            container = Container(
                self.id,
                config,
                shape,
                sections,
                self.fingerprint,
                metadata,
                version=2 if config[0] >= OLD_KINDS or step > 1 else version_of(extras),
            )
            # raw samples have the checksum of their section
            as_it_is = stripes[0][0] == methods.RAW and step == 1
            return container if as_it_is else with_samples(container, decoded)
        config[1] = rows
        if extras:
            config[2] = list(extras)
        items = (*stripes, *extras.values())
        return with_samples(Container(self.id, config, shape, {}, self.fingerprint, metadata, items), decoded)

    def rate_bits(self, data: Any, options: ImageLosslessOptions | None = None) -> np.ndarray:
        """(1,) bits that the model gives to the image.

        Of drawings and metadata, which the model does not code, the bytes are counted.
        """
        photo = photo_of(data, exact=True)
        array = photo.array()
        pixels = array if array.ndim == 3 else array[:, :, None]
        if options is not None and options.max_error:
            pixels = near.quantise(pixels, self.encode(photo, options).config.get(3, 1))
        rows, raster = stripe_rows(pixels), self.raster
        stripes = _in_threads(
            lambda top: _stripe_bits(raster, pixels[top : top + rows]), range(0, len(pixels), rows)
        )
        beside = 8 * sum(map(len, pack_metadata(photo).values()))
        return np.array([sum(stripes) + beside], np.float64)

    def decode(self, container: Container, limits: Limits | None = None) -> np.ndarray:
        """(H, W), (H, W, 3), or with alpha (H, W, 2), (H, W, 4), uint8 or uint16."""
        return self.decode_photo(container, limits).array()

    def decode_photo(self, container: Container, limits: Limits | None = None) -> Photo:
        """The pixels with alpha, and the metadata."""
        limits = Limits.of(limits)
        layout = layout_of(container, limits)
        if container.items is None:
            known = {STRIPE, *names_of(container.version)}
            if STRIPE not in container.sections or not set(container.sections) <= known:
                raise DamagedError("an image file with other sections than an image has")
            stripes, extras = [container.sections[STRIPE]], container.sections
        else:
            if len(container.items) != layout.stripes + len(layout.extras):
                raise DamagedError("an image file with more or fewer stripes than its header says")
            stripes = list(container.items[: layout.stripes])
            extras = dict(zip(layout.extras, container.items[layout.stripes :], strict=True))
        kept = unpack_metadata(extras, limits)
        pixels = self._decode_stripes(layout, 0, stripes, limits, metadata_bytes(kept))
        check_samples(container, pixels)
        if layout.channels in (2, 4):
            colours = pixels[:, :, 0] if layout.channels == 2 else pixels[:, :, :3]
            return Photo(np.ascontiguousarray(colours), np.ascontiguousarray(pixels[:, :, -1]), **kept)
        return Photo(pixels[:, :, 0] if layout.channels == 1 else pixels, None, **kept)

    def decode_rows(
        self, source: bytes | str | Path, first: int, last: int, limits: Limits | None = None
    ) -> np.ndarray:
        """Rows first to last (last not among them) of a file; of a large image, only their stripes are read.

        Raises InputError for rows that the image does not have, and as `decode`.
        """
        from obverse.codec import codec_of
        from obverse.container import read

        limits = Limits.of(limits)
        header = read_header(source, limits)
        codec = codec_of(Container(header.codec, header.config, header.shape, {}, header.model))
        if not isinstance(codec, ImageLosslessCodec):
            raise InputError(f"a file of codec {header.codec!r}, not {self.id!r}: decode it whole")
        layout = layout_of(header, limits)
        if not 0 <= first < last <= layout.height:
            raise InputError(f"there are no rows {first} to {last} in an image of {layout.height} rows")
        if header.items is None:
            whole = codec.decode(read(source, limits), limits=limits)
            return whole[first:last]
        low, high = first // layout.rows, -(-last // layout.rows)
        with ItemReader(source, limits) as reader:
            if len(reader) != layout.stripes + len(layout.extras):
                raise DamagedError("an image file with more or fewer stripes than its header says")
            stripes = [reader[i] for i in range(low, high)]
        pixels = codec._decode_stripes(layout, low, stripes, limits)
        pixels = pixels[first - low * layout.rows : last - low * layout.rows]
        return pixels[:, :, 0] if layout.channels == 1 else pixels

    def recover(self, source: SourceLike, limits: Limits | None = None) -> tuple[np.ndarray, list[str]]:
        """The pixels of a cut or damaged file of several stripes, black where they are lost, and what is missing.

        Raises InputError for a file of one stripe, which is whole or nothing; DecodeError where header or index
        are not whole; WrongModelError for another model's file.
        """
        limits = Limits.of(limits)
        header, items, _ = recover_items(source, limits)
        self.check_written_here(header)
        layout = layout_of(header, limits)
        if len(items) != layout.stripes + len(layout.extras):
            raise DamagedError("an image file with more or fewer stripes than its header says")
        black = methods.encode_flat(np.zeros(layout.channels, np.uint16 if layout.depth == 16 else np.uint8))
        stripes = [black if item is None else item for item in items[: layout.stripes]]
        lost = {i for i, item in enumerate(items[: layout.stripes]) if item is None}
        try:
            pixels = self._decode_stripes(layout, 0, stripes, limits)
        except DamagedError:  # of a section whose checksum holds: each by itself tells which
            for i in range(len(stripes)):
                try:
                    self._decode_stripes(layout, i, stripes[i : i + 1], limits)
                except DamagedError:
                    stripes[i] = black
                    lost.add(i)
            pixels = self._decode_stripes(layout, 0, stripes, limits)
        missing = []
        for i in sorted(lost):
            rows = layout.rows_of(i)
            missing.append(f"rows {rows.start} to {rows.stop - 1} are missing, and black: stripe {i} is lost")
        if layout.extras:
            missing.append(f"not recovered: {', '.join(layout.extras)}")
        if len(lost) == layout.stripes:
            pixels = pixels[:0]
        return (pixels[:, :, 0] if layout.channels == 1 else pixels), missing

    def _decode_stripes(
        self, layout: Layout, first: int, stripes: list[bytes], limits: Limits, held: int = 0
    ) -> np.ndarray:
        """(H, W, C) of these stripes, of which `first` is the number of the first one, beside so many bytes held."""
        slices = [layout.rows_of(first + i) for i in range(len(stripes))]
        height = slices[-1].stop - slices[0].start
        sample = layout.channels * layout.depth // 8
        most = max(
            methods.work_bytes(data, rows.stop - rows.start, layout.width)
            for data, rows in zip(stripes, slices, strict=True)
        )
        result = held + 2 * height * layout.width * sample
        limits.check_memory(result + most)
        threads = (limits.memory - result) // max(most, 1)  # as many as there is memory for
        pixels = np.empty(
            (height, layout.width, layout.channels), np.uint16 if layout.depth == 16 else np.uint8
        )
        raster = self.raster

        def decode(i: int) -> None:
            rows = slices[i]
            pixels[rows.start - slices[0].start : rows.stop - slices[0].start] = methods.decode_stripe(
                raster, stripes[i], rows.stop - rows.start, layout.width, layout.channels, layout.depth
            )

        _in_threads(decode, range(len(stripes)), threads)
        return near.dequantise(pixels, layout.step)


def _deep(pixels: np.ndarray) -> bool:
    """Whether it is of a kind that `deep` codes."""
    return pixels.itemsize == 2 and pixels.shape[2] > 1


def _encode_stripe(raster: RasterModel, pixels: np.ndarray) -> bytes:
    return (deep if _deep(pixels) else methods).encode_stripe(raster, pixels)


def _stripe_bits(raster: RasterModel, pixels: np.ndarray) -> float:
    return (deep if _deep(pixels) else methods).stripe_bits(raster, pixels)


def _encoding_work(pixels: int) -> int:
    """Bytes that a stripe of so many pixels takes while it is coded; one that is larger than all is of one colour."""
    return WORK_BYTES * min(pixels, STRIPE_PIXELS) + DRAWN_BYTES * max(
        0, min(pixels, DRAWN_STRIPE_PIXELS) - STRIPE_PIXELS
    )


def stripe_rows(pixels: np.ndarray) -> int:
    """How many rows of an image (H, W, C) make a stripe."""
    height, width, _ = pixels.shape
    if height * width <= STRIPE_PIXELS or (pixels == pixels[0, 0]).all():
        return height
    drawn = drawn_share(pixels) >= MOSTLY_DRAWN
    stripes = -(-height * width // (DRAWN_STRIPE_PIXELS if drawn else STRIPE_PIXELS))
    return -(-height // stripes)  # all about equally high


def layout_of(file: Container | Header, limits: Limits) -> Layout:
    """The header of a file, checked. Raises DamagedError, LimitError."""
    config, shape, stream = file.config, file.shape, file.items is not None
    kind, rows, extras = config.get(0), config.get(1), config.get(2, [])
    if len(shape) != 2 or min(shape) < 1 or not {0} <= set(config) <= {0, 1, 2, 3}:
        raise DamagedError("not the header of a lossless image")
    height, width = shape
    if type(kind) is not int or not 0 <= kind < (OLD_KINDS if file.version == 1 else len(KINDS)):
        raise DamagedError("a lossless image of a kind that there is not")
    if not stream:
        if not set(config) <= {0, 3}:
            raise DamagedError("a lossless image of one stripe with the header of several")
        rows = height
    if type(rows) is not int or not 1 <= rows <= height or (stream and rows == height):
        raise DamagedError("a lossless image with impossible stripes")
    if type(extras) is not list or any(
        extras.count(e) > 1 or e not in names_of(file.version) for e in extras
    ):
        raise DamagedError("a lossless image with other items than an image has")
    step = config.get(3, 1)
    if 3 in config and (file.version == 1 or type(step) is not int or not 2 <= step < 2 ** KINDS[kind][1]):
        raise DamagedError("an image with an impossible step between values")
    limits.check_pixels(height * width)
    return Layout(height, width, *KINDS[kind], step, rows, tuple(extras))


def _in_threads(work: Callable[[int], Any], numbers: Iterable[int], threads: int = 64) -> list[Any]:
    """work of every number, in order, by at most so many threads; the first error is raised."""
    numbers = list(numbers)
    if len(numbers) == 1:
        return [work(numbers[0])]
    with ThreadPoolExecutor(min(available_threads(), threads, len(numbers))) as pool:
        try:
            return list(pool.map(work, numbers))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # what has not begun need not
            raise
