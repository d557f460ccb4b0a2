"""The loop of `image-lossless`: pixel after pixel, what is known of it, its distribution, its interval or its value.

Coding and decoding are one function, so that what they know of a pixel cannot differ. `collect` walks the same way for
training; a function for what both do first with a pixel made decoding a seventh slower, so it stands in both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from obverse.codecs.image_lossless import context
from obverse.codecs.image_lossless.context import BLOCK, SIDE, TOP, compiled, inline
from obverse.codecs.image_lossless.network import Networks, activate, layer, mixture
from obverse.codecs.image_lossless.seen_values import (
    LEAST_MASS,
    REACH,
    bounded,
    class_of,
    key_of,
    learn_class,
    remember_value,
    was_seen,
)
from obverse.coding.logistic_mixture import FRACTION, cumulative
from obverse.coding.rans import refill


class Scratch(NamedTuple):
    """What `code` knows of one pixel. It makes no arrays itself: what does cannot be loaded without Numba."""

    features: np.ndarray  # (F) float32
    sums: np.ndarray  # (H) float32, of the network's layers
    sums2: np.ndarray  # (H2) float32
    outputs: np.ndarray  # (3 K) float32
    weights: np.ndarray  # (1, K) int64, of the mixture
    means: np.ndarray  # (1, K) int64
    scales: np.ndarray  # (1, K) int64
    edges: np.ndarray  # (2**depth + 1) int64: the boundaries of the values


def scratch(networks: Networks, depth: int) -> Scratch:
    """Fresh arrays."""
    _, inputs, hidden = networks.one.shape
    components = networks.out.shape[2] // 3
    weights, means, scales = np.zeros((3, 1, components), np.int64)
    return Scratch(
        np.zeros(inputs, np.float32), np.zeros(hidden, np.float32), np.zeros(networks.two.shape[2], np.float32),
        np.zeros(3 * components, np.float32), weights, means, scales,
        np.arange((1 << depth) + 1) * FRACTION - FRACTION // 2,
    )  # fmt: skip


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
def window_masses(seen, key, low, high, count, weights, means, scales, edges, inverse, table):  # type: ignore[no-untyped-def]
    """Fill seen.sums: at v - low + 1 the mass of the seen values low to v. -> that of all."""
    mass = np.int64(0)
    edge, below = np.int64(-1), np.int64(0)  # the last boundary that was computed
    seen.sums[0] = 0
    for v in range(low, high + 1):
        if was_seen(seen, key, v):
            if edge != v:
                below = cumulative(v, 0, count, weights, means, scales, edges, inverse, table)
            edge = v + 1
            above = cumulative(edge, 0, count, weights, means, scales, edges, inverse, table)
            mass += above - below
            below = above
        seen.sums[np.uint64(v - low + 1)] = mass
    return mass


@inline
def mass_below(seen, v, low, high):  # type: ignore[no-untyped-def]
    """Of the seen values in the window, those below v."""
    return seen.sums[np.uint64(min(max(v - low, 0), high - low + 1))]


@compiled
def code(decoding, planes, channels, height, width, depth, level, first_network, near, networks, work, scratch,
         use_seen, seen, x_state, words, n, starts, lengths, pixel_weights, exponential, inverse, table):  # type: ignore[no-untyped-def]  # fmt: skip
    """Code planes (C, H, W), or decode into them. -> state, words left (-1: the message was empty), intervals.

    level: as `context.describe` takes it. networks: flat. use_seen: bit c is set if channel c is coded by
    `seen_values`. When coding, the intervals out of 2**24 go to starts and lengths, in the order in which they are
    popped; there is room for two of each value.
    """
    stride, plane = width + 2 * SIDE, (height + TOP) * (width + 2 * SIDE)
    hidden, hidden2 = networks.one_bias.shape[1], networks.two_bias.shape[1]
    components = networks.out_bias.shape[1] // 3
    features, sums, sums2, outputs = scratch.features, scratch.sums, scratch.sums2, scratch.outputs
    weights, means, scales, edges = scratch.weights, scratch.means, scratch.scales, scratch.edges
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
                    work.pixels, work.errors, at, stride, plane, c, near, p, depth, level, features
                )
                inputs = near.counts[c, 1] + near.counts[c, 2] + near.counts[c, 3] + 4
                layer(features, inputs, networks.one, len(features), networks.one_bias, network, sums)
                activate(sums, hidden)
                layer(sums, hidden, networks.two, hidden, networks.two_bias, network, sums2)
                activate(sums2, hidden2)
                layer(sums2, hidden2, networks.out, hidden2, networks.out_bias, network, outputs)
                mixture(outputs, p, activity, components, exponential, weights, means, scales)

                value = np.int64(0) if decoding else np.int64(planes[c, y, x])
                key, low, high, mass = np.int64(0), np.int64(0), np.int64(-1), np.int64(0)
                few, octave, hit = 0, 0, False
                if use_seen >> c & 1:
                    key = key_of(
                        c, np.int64(planes[0, y, x]), np.int64(planes[1, y, x]) if c == 2 else np.int64(0)
                    )
                    reach = min(
                        np.int64(4) + ((4 + (activity & 3)) << max((activity >> 2) - 9, 0)), np.int64(REACH)
                    )
                    low, high = max((p >> 6) - reach, np.int64(0)), min((p >> 6) + reach, count - 1)
                    mass = window_masses(
                        seen, key, low, high, count, weights, means, scales, edges, inverse, table
                    )
                told = (
                    mass >= LEAST_MASS and mass <= full - LEAST_MASS
                )  # whether it is told if the value was seen
                if told:
                    few, octave = class_of(seen, key, mass)
                    if seen.probability[c, few, octave] < 0:
                        seen.probability[c, few, octave] = bounded(mass >> 2)
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
                    # as good as all values were seen, or none: they are not told from the others
                    mass = np.int64(0)
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
                            f = cumulative(middle, 0, count, weights, means, scales, edges, inverse, table)
                            if f - mass_below(seen, middle, low, high) <= target:
                                value = middle
                            else:
                                end = middle
                if hit:
                    below, above = mass_below(seen, value, low, high), mass_below(seen, value + 1, low, high)
                else:
                    below = cumulative(value, 0, count, weights, means, scales, edges, inverse, table)
                    above = cumulative(value + 1, 0, count, weights, means, scales, edges, inverse, table)
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
                    work.pixels, work.errors, at, stride, plane, c, near, p, depth, 4 * depth, row
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
