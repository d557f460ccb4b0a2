"""From p(x|y) to the odds of labels, and from a label back to its point.

    point j = low + modulus * m        low: known from the trellis        label = m mod K

A receiver that knows low and p(x|y) considers the K consecutive m around the mean of p(x|y): they have all K
labels. The probability of each is the mixture's density at the point, widened by the quantiser's own noise, which
is close to Gaussian for trellis-coded quantisation.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.jit import njit

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Labels:
    """The labels of n samples given a mixture p(x|y) = sum_k weights N(means, scales**2) and low.

    weights, means, scales: (n, components). low: (n,) j mod modulus. step: distance of neighbouring points.
    noise: variance of the quantiser's error. alphabet: K.
    """

    def __init__(
        self, weights: Floats, means: Floats, scales: Floats, low: Ints, modulus: int, step: float, noise: float,
        alphabet: int,
    ):  # fmt: skip
        self.weights, self.means = np.ascontiguousarray(weights), np.ascontiguousarray(means)
        self.variances = np.ascontiguousarray(scales**2)
        self.low, self.modulus, self.step, self.noise, self.alphabet = low, modulus, step, noise, alphabet
        centre = (weights * means).sum(1)
        middle = np.clip(np.rint((centre / step - low) / modulus), -(2.0**50), 2.0**50).astype(np.int64)
        self.first = middle - alphabet // 2  # the smallest m considered

    def log_q(self, first: int, last: int) -> npt.NDArray[np.float32]:
        """(last - first, K) ln of the density at the point of each label."""
        out = np.empty((last - first, self.alphabet), np.float32)
        part = slice(first, last)
        _log_density(
            self.weights[part], self.means[part], self.variances[part] + self.noise, self.low[part],
            self.modulus, self.first[part], self.step, out,
        )  # fmt: skip
        return out

    def points(self, labels: Ints) -> Ints:
        """(n,) the considered point of each label."""
        m = self.first + (labels - self.first) % self.alphabet
        return self.low + self.modulus * m

    def expectation(self, points: Ints) -> Floats:
        """(n,) E[x | point, y] where point * step = x + N(0, noise)."""
        q = (points * self.step)[:, None]
        wide = self.variances + self.noise
        log_w = np.log(np.maximum(self.weights, 1e-300)) - 0.5 * ((q - self.means) ** 2 / wide + np.log(wide))
        w = np.exp(log_w - log_w.max(1, keepdims=True))
        mean = (q * self.variances + self.means * self.noise) / wide
        return np.asarray((w * mean).sum(1) / w.sum(1))


@njit(cache=True, nogil=True)
def _log_density(
    weights: Any, means: Any, variances: Any, low: Any, modulus: int, first: Any, step: float, out: Any
) -> None:  # fmt: skip
    components, size = weights.shape[1], out.shape[1]
    logs = np.empty(components)
    for i in range(out.shape[0]):
        for k in range(components):
            logs[k] = math.log(max(weights[i, k], 1e-300)) - 0.5 * math.log(variances[i, k])
        for c in range(size):
            m = first[i] + c
            x = (low[i] + modulus * m) * step
            top = -1e300
            for k in range(components):
                top = max(top, logs[k] - 0.5 * (x - means[i, k]) ** 2 / variances[i, k])
            total = 0.0
            for k in range(components):
                total += math.exp(logs[k] - 0.5 * (x - means[i, k]) ** 2 / variances[i, k] - top)
            out[i, m % size] = top + math.log(total)
