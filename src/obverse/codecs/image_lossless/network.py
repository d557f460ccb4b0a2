"""The network of `image-lossless`: from the features of a pixel to the mixture of logistics that it is coded with.

    features ──► layer ──► activate ──► layer ──► activate ──► layer ──► mixture

Weights and activations are integers in float32 whose sums stay below 2**24, so they are exact in any order (see
`transforms.exact`), and fast-math, which picks the order, does no harm here. The outputs are the logits, means and
scales of K logistics, the latter two in units of the activity, so that the same network serves dark and bright, smooth
and rough, 8 and 16 bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from obverse.codecs.image_lossless.context import LARGEST_FEATURE, inline
from obverse.errors import ExportError
from obverse.jit import njit

X_UNIT = 32  # features count in 1/32
W_BITS = 10  # weights count in 2**-10
H_UNIT = 32  # hidden activations count in 1/32, from 0 to 255

_fast: Any = njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


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

    def flat(self) -> Networks:
        """The same with weights as vectors, which is how `layer` takes them."""
        return self._replace(one=self.one.ravel(), two=self.two.ravel(), out=self.out.ravel())


def checked(networks: Networks) -> Networks:
    """The networks, if all of their sums are proven to stay below 2**24. Raises ExportError."""
    limits = {"one": LARGEST_FEATURE, "two": 255, "out": 255}
    for name, largest in limits.items():
        weight, bias = getattr(networks, name), getattr(networks, f"{name}_bias")
        weight, bias = np.abs(weight.astype(np.float64)), np.abs(bias.astype(np.float64))
        bound = (weight.sum(axis=1) * largest + bias).max()  # float32 would round it
        if not bound < 2**24:
            raise ExportError(
                f"sums of layer {name!r} may reach {bound:.3g}, above 2**24: smaller weights are needed"
            )
    return networks


@_fast
def layer(x, count, w, rows, bias, c, sums):  # type: ignore[no-untyped-def]
    """sums = x @ weight[c] + bias[c]: integers below 2**24, exact in any order.

    w: weight (C, rows, width), flat: with Numba's own `ravel` nothing could be loaded without Numba.

    Eight inputs at a time, so that `sums` travels through memory less often: count is rounded up to a multiple of
    8. Unsigned indices spare Numba the check for negative ones, which would keep the loop from being vectorised.
    """
    width = np.uint64(bias.shape[1])
    at = np.uint64(c) * np.uint64(rows) * width
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
