"""The model of `image-lossless`: each pixel's distribution, from least squares and a small exact network.

context of a pixel ──► prediction p, activity, features x            raster_context
                       x ──► exact network ──► mixture of logistics  raster_network
values seen before ──► interval of the pixel's value                 seen_values, raster_code
"""

from __future__ import annotations

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from obverse.codecs.image_lossless import context
from obverse.codecs.image_lossless.context import PIXEL_WEIGHTS, SIDE, TOP, neighbours
from obverse.codecs.image_lossless.network import Networks, checked
from obverse.codecs.image_lossless.pixels import code, scratch
from obverse.codecs.image_lossless.seen_values import nothing_seen
from obverse.codecs.image_lossless.value_lists import pack_list, rank_depth, ranks_of, read_list, values_of
from obverse.coding import Message
from obverse.coding.logistic_mixture import EXPONENTIAL, INVERSE_SCALE, PRECISION, SIGMOID
from obverse.coding.rans import LOW
from obverse.container.varint import encode_varint
from obverse.errors import DamagedError, ExportError, ModelError
from obverse.zoo import StoredModel

ORDER = [1, 0, 2]  # green is coded first, then red, then blue
LEVELS = range(32, 113)  # of the activity: what the network is told of it stays within its proven limits
USUAL_LEVEL = 4  # a bit of the depth: the level of values that were not looked at
RANKED = 0x80  # the setting of an image of more than 8 bits that is coded as ranks


class RasterModel:
    """Code planes of pixels with the trained networks. A value without state; safe to use from several threads."""

    def __init__(self, networks: Networks):
        self.networks = networks

    @classmethod
    def load(cls, stored: StoredModel) -> RasterModel:
        """The model in a zoo folder. Raises ModelError for one that is none of these."""
        try:
            tensors = load(stored.weights)
            if any(tensors[name].dtype.kind not in "iu" for name in Networks._fields):
                raise ValueError("its weights are no integers")  # of others nothing is proven
            if len(tensors) > len(Networks._fields):
                raise ValueError("it has tensors that it should not have")
            arrays = {name: np.ascontiguousarray(tensors[name], np.float32) for name in Networks._fields}
            networks = checked(Networks(**arrays))
        except (KeyError, ValueError, TypeError, SafetensorError, ExportError) as error:
            raise ModelError(f"the model {stored.name!r} is not one of image-lossless: {error}") from error
        one, two, out = networks.one, networks.two, networks.out
        inputs = -(-max(context.feature_counts(3)) // 8) * 8
        if (
            one.shape[:2] != (4, inputs)
            or two.shape[:2] != (4, one.shape[2])
            or out.shape[:2] != (4, two.shape[2])
            or any(a.shape != (4, b.shape[2]) for a, b in zip(networks[1::2], networks[::2], strict=True))
            or one.shape[2] % 8 + two.shape[2] % 8 + out.shape[2] % 3 != 0
        ):
            raise ModelError(f"the networks of the model {stored.name!r} do not fit together")
        return cls(networks)

    def state(self) -> dict[str, np.ndarray]:
        """What `load` reads: integer arrays by name."""
        return {name: a.astype(np.int32, order="C") for name, a in self.networks._asdict().items()}

    def encode(self, planes: np.ndarray, depth: int = 8) -> bytes:
        """(C, H, W) integers of `depth` bits, C = 3 (red, green, blue) or 1, to bytes: settings, message."""
        settings, starts, lengths = self._coded(planes, depth)
        return settings + _message(starts, lengths)

    def bits(self, planes: np.ndarray, depth: int = 8) -> float:
        """What the networks give to what `encode` codes, and the bits of its settings."""
        settings, _, lengths = self._coded(planes, depth)
        return 8 * len(settings) + _bits(lengths)

    def _coded(self, planes: np.ndarray, depth: int) -> tuple[bytes, np.ndarray, np.ndarray]:
        """The settings, and the intervals of `_intervals`."""
        values = _in_order(planes)
        front = b""
        if depth == 8:
            use_seen = worth_seeing(values)
        else:
            values, depth, front = listed(values, depth)
            use_seen = RANKED if front else 0
        return bytes([use_seen]) + front, *self._intervals(values, depth, use_seen, USUAL_LEVEL * depth)

    def decode(self, data: bytes, channels: int, height: int, width: int, depth: int = 8) -> np.ndarray:
        """The inverse of `encode`: (C, H, W) uint8, or uint16 for more than 8 bits. Raises DamagedError."""
        if not data or (data[0] >> channels if depth == 8 else data[0] not in (0, RANKED)):
            raise DamagedError("the pixels of the image are damaged")
        use_seen, at, used = data[0], 1, None
        if use_seen == RANKED:
            used, at = read_list(data, at)
            use_seen, depth = 0, rank_depth(len(used))
        shape = (channels, height, width)
        values = self._values(data[at:], shape, depth, use_seen, USUAL_LEVEL * depth)
        if used is not None:
            return values_of(values, used)
        return np.ascontiguousarray(values, np.uint8 if depth == 8 else np.uint16)

    def encode_deep(self, planes: np.ndarray, level: int) -> bytes:
        """(C, H, W) uint16, C = 3 or 1, to bytes: the level, the bits of the largest value, message.

        level: in LEVELS, where the network is told that errors are usual; see `context.describe`.
        """
        values = _in_order(planes)
        depth = _depth(values)
        return bytes([level, depth]) + _message(*self._intervals(values, depth, 0, level))

    def deep_bits(self, planes: np.ndarray, level: int) -> float:
        """What the networks give to what `encode_deep` codes, and the bits of its settings."""
        values = _in_order(planes)
        return 16 + _bits(self._intervals(values, _depth(values), 0, level)[1])

    def decode_deep(self, data: bytes, channels: int, height: int, width: int) -> np.ndarray:
        """The inverse of `encode_deep`. Raises DamagedError."""
        if len(data) < 2 or data[0] not in LEVELS or not 8 <= data[1] <= 16:
            raise DamagedError("the pixels of the image are damaged")
        level, depth = data[:2]
        return np.ascontiguousarray(
            self._values(data[2:], (channels, height, width), depth, 0, level), np.uint16
        )

    def _intervals(
        self, values: np.ndarray, depth: int, use_seen: int, level: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Starts and lengths (n,) of the intervals that stand for the pixels, of 2^PRECISION.

        values: (C, H, W) int32, in the order of coding.
        """
        starts, lengths = np.empty(2 * values.size, np.uint64), np.empty(2 * values.size, np.uint64)
        _, _, count = self._run(
            False, values, depth, use_seen, level, np.uint64(0), np.zeros(1, np.uint32), 0, starts, lengths
        )
        return starts[:count], lengths[:count]

    def _values(
        self, data: bytes, shape: tuple[int, int, int], depth: int, use_seen: int, level: int
    ) -> np.ndarray:
        """(C, H, W) int32 of a message, red before green before blue. Raises DamagedError."""
        message = Message.from_bytes(data)
        values = np.zeros(shape, np.int32)
        state, words, count = message.parts()
        none = np.empty(0, np.uint64)
        state, left, _ = self._run(
            True, values, depth, use_seen, level, np.uint64(state), words, count, none, none
        )
        if left < 0:
            raise DamagedError("the file holds less than its image")
        if left != 0 or int(state) != int(LOW):
            raise DamagedError("the file holds more than its image")
        return values[np.argsort(ORDER)] if len(values) == 3 else values

    def _run(self, decoding, values, depth, use_seen, level, state, words, count, starts, lengths):  # type: ignore[no-untyped-def]
        channels, height, width = values.shape
        stride, plane = width + 2 * SIDE, (height + TOP) * (width + 2 * SIDE)
        return code(
            decoding, values, channels, height, width, depth, level, 0 if channels == 3 else 3,
            neighbours(channels, plane, stride), self.networks.flat(),
            context.workspace(channels, height, width, depth), scratch(self.networks, depth),
            use_seen, nothing_seen(channels), state, words, count, starts, lengths,
            PIXEL_WEIGHTS, EXPONENTIAL, INVERSE_SCALE, SIGMOID,
        )  # fmt: skip


def _in_order(planes: np.ndarray) -> np.ndarray:
    """(C, H, W) int32 in the order of coding."""
    return np.ascontiguousarray(planes[ORDER] if len(planes) == 3 else planes, np.int32)


def _depth(values: np.ndarray) -> int:
    """Bits of the largest value, at least 8."""
    return max(8, int(values.max()).bit_length())


def _message(starts: np.ndarray, lengths: np.ndarray) -> bytes:
    message = Message()
    message.push_intervals(starts, lengths, PRECISION)
    return message.to_bytes()


def _bits(lengths: np.ndarray) -> float:
    return float((PRECISION - np.log2(lengths)).sum())


def worth_seeing(values: np.ndarray) -> int:
    """Which channels to code by `seen_values`, as bits: those with gaps, and colours if they are few.

    values: (C, H, W) of 8 bits in the order of coding.
    """
    first = values[0]
    counts = np.bincount(first.ravel(), minlength=256)
    used = np.flatnonzero(counts)
    chosen = int(len(used) < 0.9 * (used[-1] - used[0] + 1))
    if len(values) == 3:
        colours = (values[0] << 16) | (values[1] << 8) | values[2]
        if len(np.unique(colours)) < 0.6 * colours.size:
            chosen |= 6
    return chosen


def listed(values: np.ndarray, depth: int) -> tuple[np.ndarray, int, bytes]:
    """Values as ranks among those that occur, their depth, and the list of those; unchanged where that is no gain."""
    used = np.unique(values)
    reach = int(used[-1] - used[0]) + 1
    packed = pack_list(used)
    if values.size * np.log2(reach / len(used)) < 12 * (len(packed) - len(encode_varint(len(packed)))):
        return values, depth, b""
    return ranks_of(values, used), rank_depth(len(used)), packed
