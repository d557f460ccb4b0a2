"""Sets of 32x32 colour images, lossless, by an integer discrete flow.

    images ──► segments of 250, each one message:
        flow ──► a of the coarsest level, then d, b, c of each level, the coarsest first ──► push, the last first
    message ──► pop a ──► mixtures of d ──► pop d ──► couplings backwards ──► mixtures of b ──► ... ──► images

The networks and the mixtures are integers, so that both ends have the same (`codecs/flow/exact_networks.py`).
A segment that the model does not fit is stored without it (`codecs/stored_segments.py`).
Segments are independent: one is read without the others, and a file that is cut gives back those that are whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from obverse.codecs.flow import METHOD
from obverse.codecs.flow.exact_networks import ExactIntegerFlow
from obverse.codecs.flow.options import FlowOptions
from obverse.codecs.flow.recipe import FlowConfig
from obverse.codecs.model_codec import ModelCodec, from_model
from obverse.codecs.stored_segments import (
    MODEL,
    Samples,
    Stored,
    check_methods,
    checked_count,
    method_of,
    shortest,
    warn_of,
)
from obverse.coding import Message
from obverse.coding.logistic_mixture import LogisticMixtures
from obverse.container import Container, Limits
from obverse.container.header import Header
from obverse.container.recover import recover_items
from obverse.container.samples import check_samples, with_samples
from obverse.container.source import SourceLike
from obverse.data.image_sets import check_image_set
from obverse.errors import (
    DamagedError,
    DecodeError,
    MessageEmptyError,
    UnsupportedInputError,
)
from obverse.method import Method

SEGMENT = 250  # images of a message
LARGEST_SEGMENT = 1000  # so that a file cannot ask for more memory than its images take
SIDE = 32
STORED = 1  # the config's key: how many segments are stored without the model
SAMPLES = Samples(SIDE * 3, step=3)
IMAGE_BYTES = (
    600_000  # memory that an image of a segment takes while networks of the usual sizes code it, at most
)

Images = npt.NDArray[np.uint8]
Symbols = npt.NDArray[np.int32]


class FlowCodec(ModelCodec):
    """Sets of 32x32 RGB images, uint8."""

    method: ClassVar[Method] = METHOD

    @from_model
    def networks(self) -> ExactIntegerFlow:
        config = FlowConfig.from_dict(self.model.config.get("model"))
        return ExactIntegerFlow.from_state(config, self.weights)

    def encode(self, data: Any, options: FlowOptions | None = None) -> Container:
        """(n, 32, 32, 3) uint8 to a container, one item for each segment.

        Raises InputError, UnsupportedInputError (shape, type).
        """
        images = _checked(data)
        options = options or FlowOptions()
        segment = int(options.segment)
        messages = []
        for first in range(0, len(images), segment):
            message = Message()
            for symbols, mixtures in reversed(list(self.symbols(images[first : first + segment]))):
                message.push_mixtures(symbols, mixtures)
            messages.append(message.to_bytes())
        stored = Stored(tuple(messages), 0, segment)
        if not options.model_only:
            stored = shortest(SAMPLES, messages, images, segment)
        warn_of(stored, sum(map(len, messages)), self.model.name, "try image-lossless, or another model")
        config = {0: stored.segment} | ({STORED: stored.stored} if stored.stored else {})
        container = Container(self.id, config, images.shape, {}, self.fingerprint, options.kept, stored.items)
        return with_samples(container, images)

    def symbols(self, images: Images) -> Iterator[tuple[Symbols, LogisticMixtures]]:
        """What is coded for these images, with its mixtures, in the order in which the receiver pops it."""
        values = iter(self.networks(images))
        coded: list[tuple[Symbols, LogisticMixtures]] = []

        def coder(mixtures: LogisticMixtures) -> Symbols:
            symbols = next(values)
            coded.append((symbols, mixtures))
            return symbols

        self.networks.run(len(images), SIDE, coder)
        return iter(coded)

    def rate_bits(self, data: Any, options: FlowOptions | None = None) -> npt.NDArray[np.float64]:
        """What each image costs in bits, (n,): by the model, or its share of a segment that is stored without it."""
        images = _checked(data)
        options = options or FlowOptions()
        segment = int(options.segment)
        rates = np.zeros(len(images))
        for first in range(0, len(images), segment):
            here = slice(first, first + segment)
            for symbols, mixtures in self.symbols(images[here]):
                rates[here] += mixtures.bits(symbols).sum(axis=(1, 2))
        return rates if options.model_only else SAMPLES.rates(rates, images, segment)

    def decode(self, container: Container, limits: Limits | None = None) -> Images:
        """(n, 32, 32, 3) uint8. Raises DamagedError, LimitError."""
        plan = self._plan(container, container.items, Limits.of(limits))
        check_methods(container.items or (), plan.stored)
        images = np.empty(container.shape, np.uint8)
        for number, payload in enumerate(container.items or ()):
            first, end = plan.range_of(number)
            images[first:end] = self._segment(payload, end - first, plan)
        check_samples(container, images)
        return images

    def recover(self, source: SourceLike, limits: Limits | None = None) -> tuple[Images, list[str]]:
        """The images of all segments that are whole, in order, and sentences that name those that are missing.

        For files that were cut or damaged. Raises DecodeError where header or index are not whole, and
        WrongModelError for another model's file.
        """
        limits = Limits.of(limits)
        header, items, _ = recover_items(source, limits)
        self.check_written_here(header)
        plan = self._plan(header, items, limits)
        kept, missing = [np.empty((0, *header.shape[1:]), np.uint8)], []
        for number, payload in enumerate(items):
            first, end = plan.range_of(number)
            why = "cut off or damaged"
            if payload is not None:
                try:
                    kept.append(self._segment(payload, end - first, plan))
                    continue
                except DecodeError as error:
                    why = f"damaged: {error}"
            missing.append(f"images {first} to {end - 1} are missing: segment {number} is {why}")
        return np.concatenate(kept), missing

    def _plan(self, header: Container | Header, items: Any, limits: Limits) -> Plan:
        """How the images lie in segments, from a header that is checked. Raises DamagedError, LimitError."""
        config, shape = header.config, header.shape
        segment = config.get(0)
        if (
            not {0} <= set(config) <= {0, STORED} or type(segment) is not int or not 1 <= segment < 2**31
            or items is None or len(shape) != 4 or shape[0] < 1 or tuple(shape[1:]) != (SIDE, SIDE, 3)
            or len(items) != -(-shape[0] // segment)
        ):  # fmt: skip
            raise DamagedError("not the header of a set of 32x32 colour images")
        plan = Plan(segment, shape[0], checked_count(config, STORED, header.version, len(items)))
        if segment > LARGEST_SEGMENT and plan.stored < len(items):
            raise DamagedError("not the header of a set of 32x32 colour images: its segments are too long")
        limits.check_pixels(shape[0] * SIDE * SIDE)
        work = 2 * SIDE * SIDE * 3 if plan.stored == len(items) else image_bytes(self.networks.config)
        limits.check_memory(shape[0] * SIDE * SIDE * 3 + min(segment, shape[0]) * work)
        return plan

    def _segment(self, payload: bytes, count: int, plan: Plan) -> Images:
        """Decode one segment of `count` images, by its method. Raises DamagedError."""
        method, data = method_of(payload, plan.stored > 0)
        if method == MODEL and count <= LARGEST_SEGMENT:
            return self._pop(data, count)
        return SAMPLES.restore(method, data, count * SIDE).reshape(count, SIDE, SIDE, 3)

    def _pop(self, payload: bytes, count: int) -> Images:
        """Decode one segment of `count` images. Raises DamagedError."""
        message = Message.from_bytes(payload)
        try:
            images = self.networks.run(count, SIDE, message.pop_mixtures)
        except MessageEmptyError:
            raise DamagedError("a segment holds fewer images than the file says") from None
        if not message.empty:
            raise DamagedError("a segment holds more than its images")
        return images


@dataclass(frozen=True)
class Plan:
    """How a file's images lie in segments: images of one, images in all, and segments without the model."""

    segment: int
    count: int
    stored: int

    def range_of(self, number: int) -> tuple[int, int]:
        """First image of a segment, and one past its last."""
        return number * self.segment, min(self.count, (number + 1) * self.segment)


def _checked(data: Any) -> Images:
    """The data, if it is a set of 32x32 colour images."""
    images = check_image_set(data)
    if images.shape[1:] != (SIDE, SIDE, 3):
        raise UnsupportedInputError(
            f"the flow codes sets of shape (n, 32, 32, 3), not {images.shape}; use image-lossless for other sizes"
        )
    return images


def image_bytes(config: FlowConfig) -> int:
    """Memory that an image of a segment takes while it is coded, at most: as the widest layer of these networks."""
    usual = FlowConfig()
    sizes = ("width", "hidden", "components", "coupling")
    return math.ceil(IMAGE_BYTES * max(1, *(getattr(config, name) / getattr(usual, name) for name in sizes)))
