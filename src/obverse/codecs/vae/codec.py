"""Sets of small images, lossless, bits back from a latent variable.

    images ──► segments of 1000, each one chain on one message:

    initial bits ──► push image n-1 ──► ... ──► push image 0 ──► item of the file      (see coding/bits_back.py)
    item ──► pop image 0 ──► ... ──► pop image n-1 ──► the initial bits again, compared bit for bit

Images cost their negative ELBO, and a chain its initial bits once. Segments are independent: a file that is cut
gives back every segment that is whole, and all segments advance together, one image each at a time, so that the
networks run on batches. The networks are exact, so a batch gives what its images give alone. A segment that is shorter
without the model is stored so (`codecs/stored_segments.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

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
from obverse.codecs.vae import METHOD
from obverse.codecs.vae.exact_networks import BIN_BITS, BINS, ExactVae
from obverse.codecs.vae.lanes import UNIFORM, LanePixels, VaeLanes
from obverse.codecs.vae.options import VaeOptions
from obverse.codecs.vae.recipe import VaeConfig
from obverse.coding import Message
from obverse.coding.bits_back import pop_item, push_item
from obverse.container import Container, Limits, write
from obverse.container.header import Header
from obverse.container.recover import recover_items
from obverse.container.samples import check_samples, with_samples
from obverse.container.source import SourceLike
from obverse.data.image_sets import check_image_set
from obverse.errors import (
    DamagedError,
    DecodeError,
    InputError,
    MessageEmptyError,
    UnsupportedInputError,
)
from obverse.method import Method

SEGMENT = 1000  # images of a chain
AT_ONCE = 64  # chains that advance together
MOST_INITIAL = 1 << 16  # symbols of initial bits that a file may name
STORED_BYTES = 12  # memory a pixel of a segment takes that is stored without the model
STORED = 3  # the config's key: how many segments that are

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ChainReport:
    """What a set costs, in bits.

    net_bits: (n,) by how much each image made its message longer. initial_bits: of all chains together.
    alone_bits: what an image costs as a chain of its own, initial bits and all, the mean over the images that each
    chain began with. file_bytes: the whole file. pixels: of all images.
    """

    net_bits: npt.NDArray[np.float64]
    initial_bits: float
    alone_bits: float
    file_bytes: int
    pixels: int

    @property
    def net_rate_bits(self) -> float:
        """Bits a pixel without the initial bits, which the receiver gets back."""
        return float(self.net_bits.sum()) / self.pixels

    @property
    def file_rate_bits(self) -> float:
        """Bits a pixel of the file, initial bits and everything else counted."""
        return 8 * self.file_bytes / self.pixels


def initial_message(count: int, seed: int, number: int) -> Message:
    """The message that chain `number` begins with: `count` symbols of BIN_BITS bits, drawn by a hash.

    Both ends make it, on any machine and with any library version, so the receiver can compare.
    """
    key = seed.to_bytes(8, "little") + number.to_bytes(8, "little")
    drawn = np.frombuffer(hashlib.shake_128(key).digest(2 * count), "<u2") % BINS
    message = Message(interleave=False)
    message.push(drawn.astype(np.int32), UNIFORM, np.zeros(count, np.uint8))
    return message


def _last_of_segments(count: int, segment: int) -> npt.NDArray[np.int64]:
    """Which of so many images are the last of their segments: those that chains begin with."""
    return np.minimum(np.arange(segment, count + segment, segment), count) - 1


class VaeCodec(ModelCodec):
    """Sets of grayscale images of the one size and range that the model was trained for.

    images (n, H, W) ──► chains ──► items of a Container ──► chains ──► images, and the initial bits again
    """

    method: ClassVar[Method] = METHOD

    @from_model
    def networks(self) -> ExactVae:
        return ExactVae.from_state(VaeConfig.from_dict(self.model.config.get("model")), self.weights)

    @property
    def samples(self) -> Samples:
        """How pixels are stored without the model."""
        return Samples(self.networks.config.width, levels=self.networks.config.levels)

    @from_model
    def lanes(self) -> VaeLanes:
        return VaeLanes(self.networks)

    def encode(
        self,
        data: Any,
        options: VaeOptions | None = None,
    ) -> Container:
        """(n, H, W) uint8 to a container, one item for each segment.

        Raises InputError (also when `initial` is too few), UnsupportedInputError.
        """
        images = self._images(data)
        return self._encode(images, options or VaeOptions())[0]

    def report(self, data: Any, options: VaeOptions | None = None) -> ChainReport:
        """What the set costs with the model, measured on the messages that `encode` makes with `model_only`."""
        images = self._images(data)
        options = replace(options or VaeOptions(), model_only=True)
        container, growth = self._encode(images, options)
        count, segment = container.config[0], options.segment
        ends = _last_of_segments(len(images), segment)
        alone = growth[ends] + count * BIN_BITS
        return ChainReport(
            growth,
            float(count * BIN_BITS * len(ends)),
            float(alone.mean()),
            len(write(container)),
            images.size,
        )

    def rate_bits(self, data: Any, options: VaeOptions | None = None) -> npt.NDArray[np.float64]:
        """(n,) negative ELBO of each image in bits; the image that a chain begins with carries its initial bits too.

        Where the model does not fit, an image has its share of what its segment takes without it.
        """
        images = self._images(data)
        options = options or VaeOptions()
        bits = self.elbo(images)
        segment = int(options.segment)
        count = (
            self._enough(images, int(options.seed), segment)
            if options.initial is None
            else int(options.initial)
        )
        bits[_last_of_segments(len(images), segment)] += count * BIN_BITS
        return bits if options.model_only else self.samples.rates(bits, images, segment)

    def elbo(self, data: Any, seed: int = 1) -> npt.NDArray[np.float64]:
        """The negative ELBO of each image in bits, (n,), of the exact networks and tables.

        For one sample z of the posterior each, drawn with `seed` and not by a chain's bits.
        """
        images = self._images(data)
        rates = np.empty(len(images))
        for first in range(0, len(images), AT_ONCE):
            batch = images[first : first + AT_ONCE]
            messages = [Message.random(1000, seed * len(images) + first + i) for i in range(len(batch))]
            bits = np.zeros(len(batch))
            below: Array = batch
            for layer in range(self.lanes.layers):
                posterior = self.lanes.posterior(layer, below)
                z = posterior.pop(messages)
                bits -= posterior.bits(z)
                given = self.lanes.likelihood(layer, z)
                parts = given.phases(below) if isinstance(given, LanePixels) else [(given, below)]
                bits += sum(mixtures.bits(values) for mixtures, values in parts)
                below = z
            rates[first : first + AT_ONCE] = bits + self.networks.config.top * BIN_BITS
        return rates

    def decode(self, container: Container, limits: Limits | None = None) -> Array:
        """(n, H, W) uint8. Raises DamagedError, also when the initial bits do not come back as they were."""
        plan = self._plan(container, container.items, Limits.of(limits))
        check_methods(container.items or (), plan.stored)
        images = np.empty(container.shape, np.uint8)
        for numbers in _groups(range(plan.chains)):
            self._segments(plan, [(i, (container.items or ())[i]) for i in numbers], images)
        check_samples(container, images)
        return images

    def recover(self, source: SourceLike, limits: Limits | None = None) -> tuple[Array, list[str]]:
        """The images of all segments that are whole, in order, and which images are missing, and why.

        For files that were cut or damaged. Raises DecodeError where header or index are not whole, and
        WrongModelError for another model's file.
        """
        limits = Limits.of(limits)
        header, items, _ = recover_items(source, limits)
        self.check_written_here(header)
        plan = self._plan(header, items, limits)
        images = np.empty(header.shape, np.uint8)
        broken = {i: "cut off or damaged" for i, item in enumerate(items) if item is None}
        for numbers in _groups([i for i in range(plan.chains) if i not in broken]):
            try:
                self._segments(plan, [(i, items[i] or b"") for i in numbers], images)
            except DecodeError:  # one of them: each by itself tells which
                for i in numbers:
                    try:
                        self._segments(plan, [(i, items[i] or b"")], images)
                    except DecodeError as error:
                        broken[i] = str(error)
        missing = []
        kept = np.ones(len(images), bool)
        for i, why in sorted(broken.items()):
            first, end = plan.range_of(i)
            kept[first:end] = False
            missing.append(f"images {first} to {end - 1} are missing: segment {i} is {why}")
        return images[kept], missing

    # -- chains ------------------------------------------------------------------------------------------------

    def _images(self, data: Any) -> Array:
        """The data, checked against what the model was trained for."""
        images = check_image_set(data)
        config = self.networks.config
        wanted = (config.height, config.width)
        if images.shape[1:] != wanted:
            raise UnsupportedInputError(
                f"the model {self.model.name} codes sets of shape (n, {wanted[0]}, {wanted[1]}), not {images.shape}; "
                "choose another model, or train one (obverse train vae)"
            )
        if int(images.max()) >= config.levels:
            raise UnsupportedInputError(
                f"the model {self.model.name} codes pixels 0 to {config.levels - 1}, the images reach {images.max()}: "
                "choose a model of 8-bit images, or binarise them first"
            )
        return images

    def _encode(self, images: Array, options: VaeOptions) -> tuple[Container, npt.NDArray[np.float64]]:
        """The container, and by how many bits each image made its chain longer."""
        seed, segment, initial = int(options.seed), int(options.segment), options.initial
        chains = -(-len(images) // segment)
        count = initial if initial is not None else self._enough(images, seed, segment)
        while True:
            try:
                messages: list[bytes] = []
                growth = np.empty(len(images))
                for numbers in _groups(range(chains)):
                    messages += self._push(images, seed, segment, count, numbers, growth)
                break
            except MessageEmptyError as error:
                if initial is not None or count >= MOST_INITIAL:
                    raise InputError(
                        f"not enough initial bits: {count} symbols of {BIN_BITS} bits ran out while an image chose its "
                        "latents; give more, or leave the number to the codec"
                    ) from error
                count = min(MOST_INITIAL, count + max(2, count // 50))
        stored = Stored(tuple(messages), 0, segment)
        if not options.model_only:
            stored = shortest(self.samples, messages, images, segment)
        warn_of(
            stored,
            sum(map(len, messages)),
            self.model.name,
            "use another model, or train one (obverse train vae)",
        )
        config = {0: count, 1: seed, 2: stored.segment} | ({STORED: stored.stored} if stored.stored else {})
        container = Container(self.id, config, images.shape, {}, self.fingerprint, options.kept, stored.items)
        return with_samples(container, images), growth

    def _enough(self, images: Array, seed: int, segment: int) -> int:
        """About how many initial symbols the first image of each chain takes: those that choose its z1."""
        ends = _last_of_segments(len(images), segment)
        most = 0.0
        for numbers in _groups(range(len(ends))):
            plenty = [initial_message(4 * BINS, seed, i) for i in numbers]
            before = plenty[0].bits
            self.lanes.posterior(0, images[ends[numbers]]).pop(plenty)
            most = max(most, *(before - message.bits for message in plenty))
        return int(most / BIN_BITS) + 1

    def _push(
        self, images: Array, seed: int, segment: int, count: int, numbers: list[int], growth: Array
    ) -> list[bytes]:
        """The chains of these numbers; fills in `growth`."""
        messages = [initial_message(count, seed, i) for i in numbers]
        starts = np.array(numbers) * segment
        lengths = np.minimum(segment, len(images) - starts)
        for done in range(int(lengths.max())):
            active = np.flatnonzero(lengths > done)
            at = (starts + lengths - 1 - done)[active]  # last image first
            lanes = [messages[i] for i in active]
            before = [message.bits for message in lanes]
            push_item(lanes, images[at], self.lanes)
            growth[at] = [message.bits - was for message, was in zip(lanes, before, strict=True)]
        return [message.to_bytes() for message in messages]

    def _segments(self, plan: Plan, segments: list[tuple[int, bytes]], images: Array) -> None:
        """Decode segments, given as number and payload, into `images`, each by its method. Raises DamagedError."""
        chains = []
        for number, payload in segments:
            method, data = method_of(payload, plan.stored > 0)
            if method == MODEL:
                chains.append((number, data))
                continue
            first, end = plan.range_of(number)
            rows = self.samples.restore(method, data, (end - first) * images.shape[1])
            images[first:end] = rows.reshape(images[first:end].shape)
        if chains:
            self._pop(plan, chains, images)

    def _pop(self, plan: Plan, chains: list[tuple[int, bytes]], images: Array) -> None:
        """Decode chains, given as number and payload, into `images`. Raises DamagedError."""
        messages = [Message.from_bytes(payload, interleave=False) for _, payload in chains]
        ranges = np.array([plan.range_of(number) for number, _ in chains])
        lengths = ranges[:, 1] - ranges[:, 0]
        try:
            for done in range(int(lengths.max())):
                active = np.flatnonzero(lengths > done)
                lanes = [messages[i] for i in active]
                images[ranges[active, 0] + done] = pop_item(lanes, self.lanes)
        except MessageEmptyError:
            raise DamagedError("a chain holds fewer images than the file says") from None
        for (number, _), message in zip(chains, messages, strict=True):
            if message != initial_message(plan.initial, plan.seed, number):
                first, end = plan.range_of(number)
                raise DamagedError(
                    f"the initial bits of images {first} to {end - 1} did not come back as they were: the file is "
                    "damaged; get a fresh copy"
                )

    def _plan(self, header: Container | Header, items: Any, limits: Limits) -> Plan:
        """The header's numbers, checked. Raises DamagedError, LimitError."""
        config, shape, model = header.config, header.shape, self.networks.config
        values = [config.get(key) for key in (0, 1, 2)]
        if (
            not {0, 1, 2} <= set(config) <= {0, 1, 2, STORED} or any(type(value) is not int for value in values)
            or items is None or len(shape) != 3 or shape[0] < 1 or tuple(shape[1:]) != (model.height, model.width)
        ):  # fmt: skip
            raise DamagedError("not the header of a set of images of this model")
        initial, seed, segment = values
        stored = checked_count(config, STORED, header.version, len(items))
        plan = Plan(int(initial), int(seed), int(segment), shape[0], stored)
        if (
            not 0 <= plan.initial <= MOST_INITIAL or not 0 <= plan.seed < 2**63 or not 1 <= plan.segment < 2**31
            or plan.chains != len(items)
        ):  # fmt: skip
            raise DamagedError("the header's numbers of a set of images cannot be")
        pixels = model.height * model.width
        limits.check_pixels(pixels)
        limits.check_memory(plan.count * pixels + min(AT_ONCE, plan.chains) * self.networks.image_bytes())
        if plan.stored:
            limits.check_memory(plan.count * pixels + min(plan.segment, plan.count) * pixels * STORED_BYTES)
        return plan


@dataclass(frozen=True)
class Plan:
    """How a file's images lie in chains.

    initial: symbols. seed: of the initial bits. segment: images of a chain. count: images in all. stored: segments that
    are no chains, but stored without the model.
    """

    initial: int
    seed: int
    segment: int
    count: int
    stored: int

    @property
    def chains(self) -> int:
        return -(-self.count // self.segment)

    def range_of(self, number: int) -> tuple[int, int]:
        """First image of a chain, and one past its last."""
        return number * self.segment, min(self.count, (number + 1) * self.segment)


def _groups(numbers: Any) -> Iterator[list[int]]:
    """At most AT_ONCE at a time."""
    numbers = list(numbers)
    for first in range(0, len(numbers), AT_ONCE):
        yield numbers[first : first + AT_ONCE]
