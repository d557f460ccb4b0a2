"""What the coder knows of a pixel before it is coded: a prediction, an activity, and the features of a network.

    decoded pixels ──► least squares over the neighbourhood ──► prediction, its errors so far ──► activity
          │                                                          │                              │
          └──────────────► differences to the prediction, ───────────┴── in units of the activity ◄─┘
                           features of the network

Pixels come in raster order, the channels of a pixel one after the other. The prediction of a channel is linear in
its neighbours (and in the channels that the pixel already has), with weights that minimise the squared error
over the pixels around, each weighted by the inverse of its activity (Li and Orchard, "Edge-directed prediction
for lossless compression of natural images", IEEE Trans. Image Processing 2001; weighting as in Meyer and
Tischer, "Glicbawls", DCC 2001). Their normal equations are sums over blocks of 16 x 16 pixels, added up over the
blocks around, and are solved once for every 16 pixels of a row.

Everything is integers, but for the solution of the normal equations: that uses float64 additions,
multiplications and divisions in a fixed order and nothing else, each of which IEEE 754 defines to the last bit, and
its weights are rounded to integers. So encoder and decoder agree on every machine. Nothing here may be compiled with
fast-math, which would change the order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from obverse.jit import njit

TOP, SIDE = 2, 3  # rows above and columns beside the picture that neighbours reach into
BLOCK = 16  # pixels along each side of a block of normal equations
UNIT = 64  # predictions and errors count in 1/64 of a grey level
WEIGHT_BITS = 14  # of the weights of a prediction
RIDGE = 300.0  # added to the diagonal of the normal equations
LARGEST_FEATURE = 255

# neighbours (dy, dx), the nearest first; the first of each plane is what differences are taken from
OWN = ((0, -1), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0), (-1, -2), (-1, 2), (-2, -1), (-2, 1), (-2, -2),
       (-2, 2), (0, -3))  # fmt: skip
OTHER = ((0, -1), (0, 0), (-1, 0), (-1, -1), (-1, 1), (0, -2), (-2, 0))  # in channels the pixel already has
ERRORS = (*OWN[:12], (0, -3))
NEAR_ERRORS = ((0, -1), (-1, 0))  # of channels that the pixel does not have yet
EXTRA = 4  # features that are no differences: three logarithms and the prediction

# the weight of a pixel of activity 4 e + f: exact products of integers and powers of two
PIXEL_WEIGHTS = np.array([(8 - a % 4) * 2.0 ** (12 - a // 4) for a in range(160)])

_options: Any = {"cache": True, "nogil": True, "error_model": "numpy"}
compiled: Any = njit(**_options)
inline: Any = njit(forceinline=True, **_options)


class Neighbours(NamedTuple):
    """Where the features of each channel lie: offsets into the flat padded planes, a row a channel.

    regressors, references: their differences are what the prediction is linear in. values: less the
    prediction they are features. errors: of predictions already coded, features. first, second: their
    differences are features. counts: (C, 4), how many entries of a row of regressors, values, errors and
    first count.
    """

    regressors: np.ndarray
    references: np.ndarray
    values: np.ndarray
    errors: np.ndarray
    first: np.ndarray
    second: np.ndarray
    counts: np.ndarray


def neighbours(channels: int, plane: int, stride: int) -> Neighbours:
    """The offsets for a picture of so many channels. plane: entries of a padded plane; stride: of its rows."""
    rows: list[list[list[int]]] = []
    for channel in range(channels):

        def at(other: int, place: tuple[int, int], channel: int = channel) -> int:
            return (other - channel) * plane + place[0] * stride + place[1]

        had = range(channel - 1, -1, -1)  # the latest first
        pairs = [(at(channel, p), at(channel, OWN[0])) for p in OWN[1:]]
        pairs += [(at(k, p), at(k, OTHER[0])) for k in had for p in OTHER[1:]]
        errors = [at(channel, p) for p in ERRORS]
        errors += [at(k, p) for k in had for p in ((0, 0), *NEAR_ERRORS)]
        errors += [at(k, p) for k in range(channel + 1, channels) for p in NEAR_ERRORS]
        gradients = [(at(k, (0, 0)), at(k, p)) for k in had for p in OWN[:4]]
        rows.append([
            [a for a, _ in pairs], [b for _, b in pairs], [at(channel, p) for p in OWN], errors,
            [a for a, _ in gradients], [b for _, b in gradients],
        ])  # fmt: skip
    columns = []
    for kind in range(6):
        longest = max(1, *(len(row[kind]) for row in rows)) if channels > 1 else max(1, len(rows[0][kind]))
        columns.append(np.array([row[kind] + [0] * (longest - len(row[kind])) for row in rows], np.int64))
    counts = np.array([[len(row[kind]) for kind in (0, 2, 3, 4)] for row in rows], np.int64)
    return Neighbours(*columns, counts)


def feature_counts(channels: int) -> list[int]:
    """How many features each channel has."""
    return (neighbours(channels, 0, 0).counts[:, 1:].sum(1) + EXTRA).tolist()


class Workspace(NamedTuple):
    """The arrays that coding a stripe of C channels works on; m is the largest number of regressors + 1,
    rounded up to a multiple of 4."""

    pixels: np.ndarray  # (C * plane) int32, padded planes
    errors: np.ndarray  # (C * plane) int32, in 1/UNIT
    current: np.ndarray  # (C, blocks + 4, m, m) float64: normal equations of this row of blocks
    above: np.ndarray  # the same of the row of blocks above
    weights: np.ndarray  # (C, m) int64, of the prediction
    equations: np.ndarray  # (m, m) float64
    regressors: np.ndarray  # (m) float64
    column: np.ndarray  # (m) float64
    solution: np.ndarray  # (m) float64


def workspace(channels: int, height: int, width: int, depth: int) -> Workspace:
    """Fresh arrays; the padding above and to the left of the picture holds mid-grey."""
    plane = (height + TOP) * (width + 2 * SIDE)
    m = (int(neighbours(channels, 0, 0).counts[:, 0].max()) // 4 + 1) * 4
    blocks = (channels, -(-width // BLOCK) + 4, m, m)
    return Workspace(
        np.full(channels * plane, 1 << (depth - 1), np.int32), np.zeros(channels * plane, np.int32),
        np.zeros(blocks), np.zeros(blocks), np.zeros((channels, m), np.int64),
        np.zeros((m, m)), np.zeros(m), np.zeros(m), np.zeros(m),
    )  # fmt: skip


@compiled
def solve(a, column, solution, n, weights, c):  # type: ignore[no-untyped-def]
    """Weights that solve the normal equations, rounded to integers.

    a: the lower triangle of the n x n matrix and, in row n, the right side, float64; it is overwritten. By an
    LDL' decomposition, one column after the other. column, solution: scratch of at least n + 1 entries.
    """
    for i in range(n):
        inverse = 1.0 / max(a[i, i], 1e-9)
        for k in range(i + 1, n):
            column[k] = a[k, i]
        for j in range(i + 1, n + 1):
            factor = a[j, i] * inverse
            for k in range(i + 1, min(j, n - 1) + 1):
                a[j, k] -= factor * column[k]
    for i in range(n - 1, -1, -1):
        total = a[n, i]
        for j in range(i + 1, n):
            total -= a[j, i] * solution[j]
        solution[i] = total / max(a[i, i], 1e-9)
        limited = min(max(solution[i], -16.0), 16.0)
        weights[c, i] = np.int64(np.floor(limited * 16384.0 + 0.5))


@compiled
def gather_equations(current, above, c, block, n, a):  # type: ignore[no-untyped-def]
    """Add up the normal equations of the blocks around, their lower triangles; the nearer ones count double."""
    b = block + 2
    for i in range(n + 1):
        for j in range(((i >> 2) + 1) << 2):
            a[i, j] = (
                2.0
                * (
                    current[c, b, i, j]
                    + current[c, b - 1, i, j]
                    + current[c, b + 1, i, j]
                    + above[c, b, i, j]
                )
                + (current[c, b - 2, i, j] + above[c, b - 1, i, j] + above[c, b + 1, i, j])
                + (above[c, b - 2, i, j] + above[c, b + 2, i, j])
            )
    for i in range(n):
        a[i, i] += RIDGE


@inline
def logarithm(v):  # type: ignore[no-untyped-def]
    """Four steps an octave: 4 e + f of v = (4 + f) 2**(e - 2) + ..., for v >= 4."""
    e = 2
    while v >> (e + 1) != 0:
        e += 1
    return 4 * e + ((v >> (e - 2)) & 3)


@inline
def absolute_sum(errors, at, stride):  # type: ignore[no-untyped-def]
    """Of the errors next to the pixel, weights summing to 8."""
    return (
        2 * (abs(errors[at - 1]) + abs(errors[at - stride]))
        + abs(errors[at - stride - 1]) + abs(errors[at - stride + 1])
        + abs(errors[at - 2]) + abs(errors[at - 2 * stride])
    )  # fmt: skip


@inline
def predict(pixels, at, c, near, weights, regressors, top):  # type: ignore[no-untyped-def]
    """The prediction in 1/64 grey level; leaves the regressors in `regressors`."""
    total = np.int64(0)
    for i in range(near.counts[c, 0]):
        r = np.int64(pixels[np.uint64(at + near.regressors[c, i])])
        r -= np.int64(pixels[np.uint64(at + near.references[c, i])])
        regressors[i] = np.float64(r)
        total += weights[c, i] * r
    p = (np.int64(pixels[at - 1]) << 6) + ((total + 128) >> 8)
    return min(max(p, 0), top << 6)


@inline
def describe(pixels, errors, at, stride, plane, c, near, p, depth, level, features):  # type: ignore[no-untyped-def]
    """Fill `features` (float32 integers within LARGEST_FEATURE); -> activity index.

    level: quarters of an octave, 4 a bit: by how much the activity is told less than it is, above that of 8 bits. It is
    the only feature that is not in units of the activity, and the networks have learned from 8 bits.
    """
    around = absolute_sum(errors, at, stride)
    scale = around + 64
    if c > 0:
        scale += 2 * abs(errors[at - plane])
    activity = logarithm(scale)
    e, f = activity >> 2, activity & 3
    factor = 16 if f == 0 else (13 if f == 1 else (11 if f == 2 else 9))
    shift = e - 4
    n = 0
    for i in range(near.counts[c, 1]):
        d = (np.int64(pixels[np.uint64(at + near.values[c, i])]) << 6) - p
        features[n + i] = min(max((d * factor) >> (shift + 2), -255), 255)
    n += near.counts[c, 1]
    for i in range(near.counts[c, 2]):
        d = np.int64(errors[np.uint64(at + near.errors[c, i])])
        features[n + i] = min(max((d * factor) >> shift, -255), 255)
    n += near.counts[c, 2]
    for i in range(near.counts[c, 3]):
        d = np.int64(pixels[np.uint64(at + near.first[c, i])])
        d -= np.int64(pixels[np.uint64(at + near.second[c, i])])
        features[n + i] = min(max(((d << 6) * factor) >> (shift + 2), -255), 255)
    n += near.counts[c, 3]
    far = (
        abs(errors[at - 3]) + abs(errors[at - stride - 2]) + abs(errors[at - stride + 2])
        + abs(errors[at - 2 * stride - 1]) + abs(errors[at - 2 * stride + 1])
        + abs(errors[at - 2 * stride - 2]) + abs(errors[at - 2 * stride + 2]) + abs(errors[at - stride - 3])
    )  # fmt: skip
    w, nw = np.int64(pixels[at - 1]), np.int64(pixels[at - stride - 1])
    north, ne = np.int64(pixels[at - stride]), np.int64(pixels[at - stride + 1])
    steps = (abs(w - nw) + abs(north - nw) + abs(north - ne) + abs(w - north)) << 7
    features[n] = min(4 * activity - 4 * (level - 32), 255)
    features[n + 1] = min(max(8 * (logarithm(far + 64) - activity), -255), 255)
    features[n + 2] = min(max(8 * (logarithm(steps + 64) - activity), -255), 255)
    features[n + 3] = (p >> (depth - 2)) - 128
    return activity


@inline
def learn(current, c, block, n, regressors, target, weight):  # type: ignore[no-untyped-def]
    """Add the pixel to the normal equations of its block, weighted by the inverse of its activity."""
    regressors[n] = np.float64(target)
    for i in range(n + 1):
        scaled = regressors[i] * weight
        for j in range(((i >> 2) + 1) << 2):  # the lower triangle, in steps of four
            current[c, block + 2, i, j] += scaled * regressors[j]
