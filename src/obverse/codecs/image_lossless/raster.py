"""The model of `image-lossless`: each pixel's distribution, from least squares and a small exact network.

context of a pixel ──► prediction p, activity, features x            raster_context
                       x ──► exact network ──► mixture of logistics  raster_network
values seen before ──► interval of the pixel's value                 seen_values, raster_code
"""

from __future__ import annotations

import zlib

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from obverse.codecs.image_lossless import context
from obverse.codecs.image_lossless.context import PIXEL_WEIGHTS, SIDE, TOP, neighbours
from obverse.codecs.image_lossless.network import Networks, checked
from obverse.codecs.image_lossless.pixels import code
from obverse.codecs.image_lossless.seen_values import nothing_seen
from obverse.coding import Message
from obverse.coding.logistic_mixture import EXPONENTIAL, INVERSE_SCALE, PRECISION, SIGMOID
from obverse.coding.rans import LOW
from obverse.container.varint import decode_varint, encode_varint
from obverse.errors import DamagedError, ExportError, ModelError, TruncatedError
from obverse.zoo import StoredModel

ORDER = [1, 0, 2]  # green is coded first, then red, then blue
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
        settings, starts, lengths = self._intervals(planes, depth)
        message = Message()
        message.push_intervals(starts, lengths, PRECISION)
        return settings + message.to_bytes()

    def bits(self, planes: np.ndarray, depth: int = 8) -> float:
        """What the networks give to what `encode` codes, and the bits of its settings."""
        settings, _, lengths = self._intervals(planes, depth)
        return 8 * len(settings) + float((PRECISION - np.log2(lengths)).sum())

    def _intervals(self, planes: np.ndarray, depth: int) -> tuple[bytes, np.ndarray, np.ndarray]:
        """The settings, and starts and lengths (n,) of the intervals that stand for the pixels, of 2^PRECISION."""
        order = ORDER if len(planes) == 3 else [0]
        values = np.ascontiguousarray(planes[order], np.int32)
        front = b""
        if depth == 8:
            use_seen = worth_seeing(values)
        else:
            values, depth, front = ranks_of(values, depth)
            use_seen = RANKED if front else 0
        starts, lengths = np.empty(2 * values.size, np.uint64), np.empty(2 * values.size, np.uint64)
        _, _, count = self._run(
            False, values, depth, use_seen, np.uint64(0), np.zeros(1, np.uint32), 0, starts, lengths
        )
        return bytes([use_seen]) + front, starts[:count], lengths[:count]

    def decode(self, data: bytes, channels: int, height: int, width: int, depth: int = 8) -> np.ndarray:
        """The inverse of `encode`: (C, H, W) uint8, or uint16 for more than 8 bits. Raises DamagedError."""
        if not data or (data[0] >> channels if depth == 8 else data[0] not in (0, RANKED)):
            raise DamagedError("the pixels of the image are damaged")
        use_seen, at, used = data[0], 1, None
        if use_seen == RANKED:
            used, at = used_values(data, at)
            use_seen, depth = 0, rank_depth(len(used))
        message = Message.from_bytes(data[at:])
        values = np.zeros((channels, height, width), np.int32)
        state, words, count = message.parts()
        none = np.empty(0, np.uint64)
        state, left, _ = self._run(True, values, depth, use_seen, np.uint64(state), words, count, none, none)
        if left < 0:
            raise DamagedError("the file holds less than its image")
        if left != 0 or int(state) != int(LOW):
            raise DamagedError("the file holds more than its image")
        if used is not None:
            if int(values.max()) >= len(used):
                raise DamagedError("the image has a value that is not in its list")
            return np.ascontiguousarray(used[values], np.uint16)
        back = values[np.argsort(ORDER)] if channels == 3 else values
        return np.ascontiguousarray(back, np.uint8 if depth == 8 else np.uint16)

    def _run(self, decoding, values, depth, use_seen, state, words, count, starts, lengths):  # type: ignore[no-untyped-def]
        channels, height, width = values.shape
        stride, plane = width + 2 * SIDE, (height + TOP) * (width + 2 * SIDE)
        return code(
            decoding, values, channels, height, width, depth, 0 if channels == 3 else 3,
            neighbours(channels, plane, stride), self.networks, context.workspace(channels, height, width, depth),
            use_seen, nothing_seen(channels), state, words, count, starts, lengths,
            PIXEL_WEIGHTS, EXPONENTIAL, INVERSE_SCALE, SIGMOID,
        )  # fmt: skip


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


# -- 16 bits of which fewer are used ------------------------------------------------------------------------


def rank_depth(count: int) -> int:
    """Bits that the ranks of so many values are coded with, at least 8."""
    return max(8, (count - 1).bit_length())


def ranks_of(values: np.ndarray, depth: int) -> tuple[np.ndarray, int, bytes]:
    """Values as ranks among those that occur, their depth, and the list of those; unchanged where that is no gain.

    A camera's 12 bits, for instance, come as 16 of which every sixteenth value is used.
    """
    used = np.unique(values)
    reach = int(used[-1] - used[0]) + 1
    bits = np.zeros(1 << 16, np.uint8)
    bits[used] = 1
    packed = zlib.compress(np.packbits(bits).tobytes(), 9)
    if values.size * np.log2(reach / len(used)) < 12 * len(packed):
        return values, depth, b""
    ranks = np.searchsorted(used, values).astype(np.int32)
    return ranks, rank_depth(len(used)), encode_varint(len(packed)) + packed


def used_values(data: bytes, at: int) -> tuple[np.ndarray, int]:
    """The list that `ranks_of` made, and where it ends. Raises DamagedError."""
    stream = zlib.decompressobj()
    try:
        length, at = decode_varint(data, at)
        raw = stream.decompress(data[at : at + length], (1 << 13) + 1)
    except (zlib.error, TruncatedError) as error:
        raise DamagedError(f"the list of values is damaged: {error}") from None
    if len(raw) != 1 << 13 or not stream.eof or stream.unused_data or length > len(data) - at:
        raise DamagedError("the list of values does not have the length it should")
    used = np.flatnonzero(np.unpackbits(np.frombuffer(raw, np.uint8)))
    if not len(used):
        raise DamagedError("the list of values is empty")
    return used, at + length
