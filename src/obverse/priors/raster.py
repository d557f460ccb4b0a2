"""The model of `image-lossless`: each pixel's distribution, from least squares and a small exact network.

    context of a pixel ──► prediction p, activity, features x
                           x ──► exact network ──► mixture of logistics around p ──► interval of the pixel's value

`raster_context` makes the features. The network is two hidden layers a channel; weights and activations are
integers in float32 whose sums stay below 2**24, so they are exact in any order (see `transforms.exact`). Its
outputs are the logits, means and scales of K logistics, the latter two in units of the activity, so that the same
network serves dark and bright, smooth and rough, 8 and 16 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from safetensors import SafetensorError
from safetensors.numpy import load

from obverse.coding import Message
from obverse.coding.logistic_mixture import EXPONENTIAL, INVERSE_SCALE, PRECISION, SIGMOID
from obverse.coding.rans import LOW, refill
from obverse.errors import DamagedError, ExportError, InputError
from obverse.priors import raster_context as context
from obverse.priors.raster_context import BLOCK, PIXEL_WEIGHTS, SIDE, TOP, neighbours
from obverse.priors.seen_values import class_of, key_of, learn_class, nothing_seen, remember_value, was_seen
from obverse.zoo import StoredModel

ORDER = [1, 0, 2]  # green is coded first, then red, then blue
X_UNIT = 32  # features count in 1/32
W_BITS = 10  # weights count in 2**-10
H_UNIT = 32  # hidden activations count in 1/32, from 0 to 255

_fast: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})
compiled, inline = context.compiled, context.inline


class Networks(NamedTuple):
    """Integer weights in float32, one network a channel: features ──► one ──► two ──► out.

    one: (C, F, H), one_bias: (C, H); two: (C, H, H2), two_bias: (C, H2); out: (C, H2, 3 K), out_bias: (C, 3 K),
    biases in units of the sums. Unused features have weight 0.
    """

    one: np.ndarray
    one_bias: np.ndarray
    two: np.ndarray
    two_bias: np.ndarray
    out: np.ndarray
    out_bias: np.ndarray


def checked(networks: Networks) -> Networks:
    """The networks, if all of their sums are proven to stay below 2**24. Raises ExportError."""
    limits = {"one": context.LARGEST_FEATURE, "two": 255, "out": 255}
    for name, largest in limits.items():
        weight, bias = getattr(networks, name), getattr(networks, f"{name}_bias")
        bound = (np.abs(weight).sum(axis=1) * largest + np.abs(bias)).max()
        if not bound < 2**24:
            raise ExportError(
                f"sums of layer {name!r} may reach {bound:.3g}, above 2**24: smaller weights are needed"
            )
    return networks


@_fast
def layer(x, count, weight, bias, c, sums):  # type: ignore[no-untyped-def]
    """sums = x @ weight[c] + bias[c]: integers below 2**24, exact in any order.

    Eight inputs at a time, so that `sums` travels through memory less often: count is rounded up to a multiple of
    8. Unsigned indices spare Numba the check for negative ones, which would keep the loop from being vectorised.
    """
    width, rows = np.uint64(weight.shape[2]), np.uint64(weight.shape[1])
    w, at = weight.ravel(), np.uint64(c) * rows * width
    for j in range(width):
        sums[j] = bias[np.uint64(c), j]
    one = np.uint64(1)
    for i in range(np.uint64(0), np.uint64(count), np.uint64(8)):
        i1 = i + one
        i2, i3 = i1 + one, i1 + one + one
        i4, i5 = i3 + one, i3 + one + one
        i6, i7 = i5 + one, i5 + one + one
        x0, x1, x2, x3, x4, x5, x6, x7 = x[i], x[i1], x[i2], x[i3], x[i4], x[i5], x[i6], x[i7]
        a0 = at + i * width
        a1, a2, a3 = a0 + width, a0 + width + width, a0 + width + width + width
        a4 = a3 + width
        a5, a6, a7 = a4 + width, a4 + width + width, a4 + width + width + width
        for j in range(width):
            sums[j] += (
                w[a0 + j] * x0 + w[a1 + j] * x1 + w[a2 + j] * x2 + w[a3 + j] * x3
                + w[a4 + j] * x4 + w[a5 + j] * x5 + w[a6 + j] * x6 + w[a7 + j] * x7
            )  # fmt: skip


@inline
def activate(sums, width):  # type: ignore[no-untyped-def]
    """Rectified, rescaled by 2**-10, rounded, at most 255. In place."""
    for j in range(width):
        sums[j] = min(
            max(np.floor(sums[j] * np.float32(2.0**-10) + np.float32(0.5)), np.float32(0)), np.float32(255)
        )


@inline
def mixture(sums, p, activity, components, exponential, weights, means, scales):  # type: ignore[no-untyped-def]
    """The network's sums (2**-15) to a mixture's integers; as `weights_of`, but without arrays."""
    e, f = activity >> 2, activity & 3
    largest, best = np.int64(-(1 << 60)), 0
    for k in range(components):
        logit = np.int64(sums[k]) >> 11
        weights[0, k] = logit
        if logit > largest:
            largest, best = logit, k
    total = np.int64(0)
    for k in range(components):
        value = exponential[min(largest - weights[0, k], len(exponential) - 1)]
        weights[0, k] = value
        total += value
    rest = np.int64(4096)
    for k in range(components):
        weights[0, k] = weights[0, k] * 4096 // total
        rest -= weights[0, k]
    weights[0, best] += rest
    step = 0 if f == 0 else (3 if f == 1 else (5 if f == 2 else 6))
    base = 40 + 8 * (e - 9) + step
    for k in range(components):
        # one unit of the activity is (4 + f) 2**(e - 5) in 1/64 grey level
        offset = np.int64(sums[components + k]) * (4 + f)
        offset = offset >> (20 - e) if e < 20 else offset << (e - 20)
        means[0, k] = p + min(max(offset, -(1 << 24)), 1 << 24)
        scales[0, k] = min(max(base + (np.int64(sums[2 * components + k]) >> 12), 8), 255)


@inline
def cumulative(v, count, weights, means, scales, components, inverse, table):  # type: ignore[no-untyped-def]
    """F below value v out of 2**24, as `logistic_mixture.cumulative` with the edges of integers from 0 on."""
    if v <= 0:
        return np.int64(0)
    if v >= count:
        return np.int64(1) << 24
    edge = 64 * v - 32
    total = np.int64(0)
    for k in range(components):
        t = (((edge - means[0, k]) * inverse[scales[0, k]]) >> 12) + (16 << 20)
        t = min(max(t, 0), (32 << 20) - 1)
        at = t >> 15
        low = table[at]
        total += weights[0, k] * (low + (((table[at + 1] - low) * (t & 32767)) >> 15))
    return v + (((total >> 8) * ((np.int64(1) << 24) - count)) >> 32)


@inline
def remember(work, c, y, x, at, value, p, plane, stride, width):  # type: ignore[no-untyped-def]
    """Write a pixel and its error, and the padding that stands for pixels outside of the picture."""
    pixels = work.pixels
    pixels[at] = value
    work.errors[at] = (value << 6) - p
    if y == 0:  # above the first row: what is to the left
        for i in range(1, SIDE + 1):
            pixels[at - stride + i] = value
            pixels[at - 2 * stride + i] = value
    if x == 0 and at + stride < (c + 1) * plane:  # to the left of the next row: what is above
        for i in range(1, SIDE + 1):
            pixels[at + stride - i] = value
    if x == width - 1:
        for i in range(1, SIDE + 1):
            pixels[at + i] = value


@compiled
def next_blocks(work):  # type: ignore[no-untyped-def]
    """A new row of blocks begins."""
    for i in range(work.current.size):
        work.above.flat[i] = work.current.flat[i]
        work.current.flat[i] = 0.0


@inline
def window_masses(seen, key, low, high, count, weights, means, scales, components, inverse, table):  # type: ignore[no-untyped-def]
    """Fill seen.sums: at v - low + 1 the mass of the seen values low to v. -> that of all."""
    mass = np.int64(0)
    edge, below = np.int64(-1), np.int64(0)  # the last boundary that was computed
    seen.sums[0] = 0
    for v in range(low, high + 1):
        if was_seen(seen, key, v):
            if edge != v:
                below = cumulative(v, count, weights, means, scales, components, inverse, table)
            edge = v + 1
            above = cumulative(edge, count, weights, means, scales, components, inverse, table)
            mass += above - below
            below = above
        seen.sums[np.uint64(v - low + 1)] = mass
    return mass


@inline
def mass_below(seen, v, low, high):  # type: ignore[no-untyped-def]
    """Of the seen values in the window, those below v."""
    return seen.sums[np.uint64(min(max(v - low, 0), high - low + 1))]


@compiled
def code(decoding, planes, channels, height, width, depth, first_network, near, networks, work, use_seen, seen,
         x_state, words, n, starts, lengths, pixel_weights, exponential, inverse, table):  # type: ignore[no-untyped-def]  # fmt: skip
    """Code planes (C, H, W), or decode into them. -> state, words left (-1: the message was empty), intervals.

    use_seen: bit c is set if channel c is coded by `seen_values`. When coding, the intervals out of 2**24 go to
    starts and lengths, in the order in which they are popped; there is room for two of each value.
    """
    stride, plane = width + 2 * SIDE, (height + TOP) * (width + 2 * SIDE)
    hidden, hidden2 = networks.one.shape[2], networks.two.shape[2]
    components = networks.out.shape[2] // 3
    features = np.zeros(networks.one.shape[1], np.float32)
    sums, sums2 = np.zeros(hidden, np.float32), np.zeros(hidden2, np.float32)
    outputs = np.zeros(3 * components, np.float32)
    weights, means = np.zeros((1, components), np.int64), np.zeros((1, components), np.int64)
    scales = np.zeros((1, components), np.int64)
    count, full = np.int64(1) << depth, np.int64(1) << 24
    position = 0
    for y in range(height):
        if y % BLOCK == 0 and y > 0:
            next_blocks(work)
        for x in range(width):
            block = x // BLOCK
            for c in range(channels):
                network = first_network + c
                regressors = near.counts[c, 0]
                if x % BLOCK == 0:
                    context.gather_equations(work.current, work.above, c, block, regressors, work.equations)
                    context.solve(work.equations, work.column, work.solution, regressors, work.weights, c)
                at = c * plane + (y + TOP) * stride + x + SIDE
                p = context.predict(work.pixels, at, c, near, work.weights, work.regressors, count - 1)
                activity = context.describe(
                    work.pixels, work.errors, at, stride, plane, c, near, p, depth, features
                )
                inputs = near.counts[c, 1] + near.counts[c, 2] + near.counts[c, 3] + 4
                layer(features, inputs, networks.one, networks.one_bias, network, sums)
                activate(sums, hidden)
                layer(sums, hidden, networks.two, networks.two_bias, network, sums2)
                activate(sums2, hidden2)
                layer(sums2, hidden2, networks.out, networks.out_bias, network, outputs)
                mixture(outputs, p, activity, components, exponential, weights, means, scales)

                value = np.int64(0) if decoding else np.int64(planes[c, y, x])
                key, low, high, mass = np.int64(0), np.int64(0), np.int64(-1), np.int64(0)
                few, octave, hit = 0, 0, False
                if use_seen >> c & 1:
                    key = key_of(
                        c, np.int64(planes[0, y, x]), np.int64(planes[1, y, x]) if c == 2 else np.int64(0)
                    )
                    reach = min(
                        np.int64(4) + ((4 + (activity & 3)) << max((activity >> 2) - 9, 0)), np.int64(24)
                    )
                    low, high = max((p >> 6) - reach, np.int64(0)), min((p >> 6) + reach, count - 1)
                    mass = window_masses(
                        seen, key, low, high, count, weights, means, scales, components, inverse, table
                    )
                told = mass >= 64 and mass <= full - 64  # whether it is told if the value was seen
                if told:
                    few, octave = class_of(seen, key, mass)
                    if seen.probability[c, few, octave] < 0:
                        seen.probability[c, few, octave] = min(max(mass >> 2, 1 << 10), (1 << 22) - (1 << 10))
                    chance = seen.probability[c, few, octave] << 2
                    if decoding:
                        slot = np.int64(x_state & np.uint64(0xFFFFFF))
                        hit = slot < chance
                        start, length = (np.int64(0), chance) if hit else (chance, full - chance)
                        x_state = np.uint64(length) * (x_state >> np.uint64(24)) + np.uint64(slot - start)
                        x_state, n = refill(x_state, words, n)
                        if n < 0:
                            return x_state, -1, position
                    else:
                        hit = value >= low and value <= high and was_seen(seen, key, value)
                        starts[position] = np.uint64(0 if hit else chance)
                        lengths[position] = np.uint64(chance if hit else full - chance)
                        position += 1
                    learn_class(seen, c, few, octave, hit)
                elif mass > 0:
                    mass = np.int64(
                        0
                    )  # as good as all values were seen, or none: they are not told from the others
                    for i in range(high - low + 2):
                        seen.sums[i] = 0
                # the values that it can be now, and their mass; those seen are left out of `others`
                total = mass if hit else full - mass
                if decoding:
                    slot = np.int64(x_state & np.uint64(0xFFFFFF))
                    target = ((slot + 1) * total - 1) >> 24
                    if hit:
                        value = low
                        while seen.sums[np.uint64(value - low + 1)] <= target:
                            value += 1
                    else:
                        end = count
                        while end - value > 1:
                            middle = (value + end) >> 1
                            f = cumulative(middle, count, weights, means, scales, components, inverse, table)
                            if f - mass_below(seen, middle, low, high) <= target:
                                value = middle
                            else:
                                end = middle
                if hit:
                    below, above = mass_below(seen, value, low, high), mass_below(seen, value + 1, low, high)
                else:
                    below = cumulative(value, count, weights, means, scales, components, inverse, table)
                    above = cumulative(value + 1, count, weights, means, scales, components, inverse, table)
                    below -= mass_below(seen, value, low, high)
                    above -= mass_below(seen, value + 1, low, high)
                start, stop = (below << 24) // total, (above << 24) // total
                if decoding:
                    x_state = np.uint64(stop - start) * (x_state >> np.uint64(24)) + np.uint64(slot - start)
                    x_state, n = refill(x_state, words, n)
                    if n < 0:
                        return x_state, -1, position
                    planes[c, y, x] = value
                else:
                    starts[position], lengths[position] = np.uint64(start), np.uint64(stop - start)
                    position += 1
                if use_seen >> c & 1:
                    remember_value(seen, key, value)
                target = value - np.int64(work.pixels[at - 1])
                remember(work, c, y, x, at, value, p, plane, stride, width)
                context.learn(
                    work.current, c, block, regressors, work.regressors, target, pixel_weights[activity]
                )
    return x_state, n, position


@compiled
def collect(planes, channels, height, width, depth, near, work, keep, features, predictions, activities, values, who,
            pixel_weights):  # type: ignore[no-untyped-def]  # fmt: skip
    """For training: the features of the pixels that `keep` (H, W) marks. -> how many were stored.

    features: (n, F) float32; predictions (1/64), activities, values, who (the channel): (n,).
    """
    stride, plane = width + 2 * SIDE, (height + TOP) * (width + 2 * SIDE)
    top = (np.int64(1) << depth) - 1
    row = np.zeros(features.shape[1], np.float32)
    n = 0
    for y in range(height):
        if y % BLOCK == 0 and y > 0:
            next_blocks(work)
        for x in range(width):
            block = x // BLOCK
            for c in range(channels):
                regressors = near.counts[c, 0]
                if x % BLOCK == 0:
                    context.gather_equations(work.current, work.above, c, block, regressors, work.equations)
                    context.solve(work.equations, work.column, work.solution, regressors, work.weights, c)
                at = c * plane + (y + TOP) * stride + x + SIDE
                p = context.predict(work.pixels, at, c, near, work.weights, work.regressors, top)
                activity = context.describe(
                    work.pixels, work.errors, at, stride, plane, c, near, p, depth, row
                )
                value = np.int64(planes[c, y, x])
                if keep[y, x]:
                    for i in range(near.counts[c, 1] + near.counts[c, 2] + near.counts[c, 3] + 4):
                        features[n, i] = row[i]
                    predictions[n], activities[n], values[n], who[n] = p, activity, value, c
                    n += 1
                target = value - np.int64(work.pixels[at - 1])
                remember(work, c, y, x, at, value, p, plane, stride, width)
                context.learn(
                    work.current, c, block, regressors, work.regressors, target, pixel_weights[activity]
                )
    return n


class RasterModel:
    """Code planes of pixels with the trained networks. A value without state; safe to use from several threads."""

    def __init__(self, networks: Networks):
        self.networks = networks

    @classmethod
    def load(cls, stored: StoredModel) -> RasterModel:
        """The model in a zoo folder. Raises InputError for one that is none of these."""
        try:
            tensors = load(stored.weights)
            arrays = {name: np.ascontiguousarray(tensors[name], np.float32) for name in Networks._fields}
            networks = checked(Networks(**arrays))
        except (KeyError, ValueError, TypeError, SafetensorError, ExportError) as error:
            raise InputError(f"the model {stored.name!r} is not one of image-lossless: {error}") from error
        one, two, out = networks.one, networks.two, networks.out
        inputs = -(-max(context.feature_counts(3)) // 8) * 8
        if (
            one.shape[:2] != (4, inputs)
            or two.shape[:2] != (4, one.shape[2])
            or out.shape[:2] != (4, two.shape[2])
            or any(a.shape != (4, b.shape[2]) for a, b in zip(networks[1::2], networks[::2], strict=True))
            or one.shape[2] % 8 + two.shape[2] % 8 + out.shape[2] % 3 != 0
        ):
            raise InputError(f"the networks of the model {stored.name!r} do not fit together")
        return cls(networks)

    def state(self) -> dict[str, np.ndarray]:
        """What `load` reads: integer arrays by name."""
        return {
            name: a.astype(np.int32 if name.endswith("bias") else np.int16)
            for name, a in self.networks._asdict().items()
        }

    def encode(self, planes: np.ndarray, depth: int = 8) -> bytes:
        """(C, H, W) integers of `depth` bits, C = 3 (red, green, blue) or 1, to bytes: settings, message."""
        order = ORDER if len(planes) == 3 else [0]
        values = np.ascontiguousarray(planes[order], np.int32)
        use_seen = worth_seeing(values) if depth == 8 else 0
        starts, lengths = np.empty(2 * values.size, np.uint64), np.empty(2 * values.size, np.uint64)
        _, _, count = self._run(
            False, values, depth, use_seen, np.uint64(0), np.zeros(1, np.uint32), 0, starts, lengths
        )
        message = Message()
        message.push_intervals(starts[:count], lengths[:count], PRECISION)
        return bytes([use_seen]) + message.to_bytes()

    def decode(self, data: bytes, channels: int, height: int, width: int, depth: int = 8) -> np.ndarray:
        """The inverse of `encode`: (C, H, W) uint8, or uint16 for more than 8 bits. Raises DamagedError."""
        if not data or data[0] >> channels or (depth > 8 and data[0]):
            raise DamagedError("the pixels of the image are damaged")
        message = Message.from_bytes(data[1:])
        values = np.zeros((channels, height, width), np.int32)
        state, words, count = message.parts()
        none = np.empty(0, np.uint64)
        state, left, _ = self._run(True, values, depth, data[0], np.uint64(state), words, count, none, none)
        if left < 0:
            raise DamagedError("the file holds less than its image")
        if left != 0 or int(state) != int(LOW):
            raise DamagedError("the file holds more than its image")
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
