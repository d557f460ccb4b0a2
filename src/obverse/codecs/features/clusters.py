"""A cluster for each vector, then the bottleneck of what is left: for features at few bits, which lie in clusters.

    x ──► cluster of least cost, i ──► x - word i ──► FeatureBottleneck ──► i, z ──► tables ──► bits
    x̂ ◄── + word i                 ◄── ŷ          ◄── z

Below some tens of bytes a vector most coefficients get no bits at all, and what a transform then leaves is far from
independent: a word for each of some hundred clusters says in one symbol what many coefficients have in common. It is
the first stage of residual quantisation (Juang and Gray, ICASSP 1982; Barnes, Rizvi and Nasrabadi, IEEE Trans. Image
Process. 5(2), 1996), with entropy-coded symbols. Which cluster a vector is given is the encoder's choice: among those
that are nearest it is the one whose word and coefficients together have the least distortion + lmbda * bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codecs.features.bottleneck import FIELDS, FeatureBottleneck, smallest
from obverse.coding import TableFamily
from obverse.errors import DamagedError
from obverse.priors.code_lengths import LARGEST, tables_of

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Symbols = npt.NDArray[np.int32]

CLUSTER_FIELDS = {"words": "i", "word_unit": "f", "word_lengths": "u"}
TRIED = 6  # clusters that a vector is coded with, to see which costs least
ROWS = 1024  # vectors that are compared with all words at once


@dataclass(frozen=True)
class ClusteredBottleneck:
    """As a FeatureBottleneck, with M words: the first symbol of a vector is the number of its cluster.

    rest: of vectors minus their word; its mean is that of all vectors. words: (M, d) integers, in units of word_unit
    (1,) times the scales. word_lengths: (M + 1,) code lengths of the clusters in eighths of a bit, uint8, escape last.
    """

    rest: FeatureBottleneck
    words: Array
    word_unit: Floats
    word_lengths: npt.NDArray[np.uint8]

    @property
    def mean(self) -> Array:
        """(d,) of all vectors."""
        return self.rest.mean

    @property
    def scales(self) -> Array:
        """(d,), the unit in which distortion counts; or (0,)."""
        return self.rest.scales

    @property
    def dimensions(self) -> int:
        """Numbers in a feature vector, d."""
        return self.rest.dimensions

    @property
    def coefficients(self) -> int:
        """Coefficients that are coded beside the cluster, K."""
        return self.rest.coefficients

    @property
    def width(self) -> int:
        """Symbols that a vector has in a file."""
        return 1 + self.rest.coefficients

    @property
    def absolute(self) -> bool:
        """Distortion is L2 squared."""
        return self.rest.absolute

    @property
    def lmbda(self) -> float:
        """Distortion that a bit must save."""
        return self.rest.lmbda

    @cached_property
    def tables(self) -> TableFamily:
        """That of the clusters, then one a coefficient."""
        return tables_of(
            np.concatenate([self.word_lengths, self.rest.lengths]),
            np.append(len(self.word_lengths), self.rest.sizes),
            np.append(0, self.rest.lows),
        )

    # -- features to symbols ---------------------------------------------------------------------------------

    @cached_property
    def _bits(self) -> Floats:
        """(M,) of each cluster."""
        return self.tables.precision - np.log2(self.tables.frequencies(0)[:-1])

    def quantise(self, features: Array) -> Symbols:
        """(n, d) -> (1 + K, n): the cluster, then z. Nothing but the encoder calls this."""
        found = np.empty((self.width, len(features)), np.int32)
        for first in range(0, len(features), ROWS):
            here = slice(first, first + ROWS)
            found[:, here] = self._choose(features[here])
        return found

    @cached_property
    def _words(self) -> tuple[Floats, Floats, Floats, Floats]:
        """(M, d) words; (M, K) their coefficients, and their products with the basis; (K, K) those of the basis."""
        words, rest = self.words * self.word_unit, self.rest
        if not len(rest.basis):
            places = words[:, rest.kept]
            return words, places, places, np.eye(rest.coefficients)
        rows = rest.basis * rest.basis_scales[:, None]
        return words, words @ rest.analysis, words @ rows.T, rows @ rows.T

    def _choose(self, features: Array) -> Symbols:
        words, places, views, gram = self._words
        x = features.astype(np.float64) - self.mean
        if self.scales.size:
            x /= self.scales
        y = seen = x[:, self.rest.kept]
        if len(self.rest.basis):
            y, seen = x @ self.rest.analysis, x @ (self.rest.basis * self.rest.basis_scales[:, None]).T
        nearness = np.square(words).sum(1) - 2 * x @ words.T + self.lmbda * self._bits
        tried = min(TRIED, len(words))
        some = np.argpartition(nearness, tried - 1, 1)[:, :tried]
        best = np.empty((self.width, len(x)), np.int32)
        least = np.full(len(x), np.inf)
        for clusters in some.T:
            left = y - places[clusters]
            z, costs = self.rest.choose(np.ascontiguousarray(left.T))
            levels = self.rest.levels(z)
            # |x - word - levels B|^2 in place of |left - levels|^2: a coarse basis B is not orthonormal
            costs -= np.square(left - levels).sum(1)
            costs += nearness[np.arange(len(x)), clusters]
            costs += (levels @ gram * levels).sum(1) - 2 * (levels * (seen - views[clusters])).sum(1)
            better = costs < least
            least[better] = costs[better]
            best[0, better] = clusters[better]
            best[1:, better] = z[:, better]
        return best

    def rate_bits(self, symbols: Symbols) -> Floats:
        """Ideal code length of each vector in bits, (n,), for symbols (1 + K, n)."""
        index = np.broadcast_to(np.arange(self.width)[:, None], symbols.shape)
        return np.asarray(self.tables.bits(symbols, index).sum(0))

    # -- symbols to features ---------------------------------------------------------------------------------

    @cached_property
    def _centres(self) -> Floats:
        """(M, d): what coefficients of 0 are decoded to."""
        with np.errstate(over="ignore", invalid="ignore"):
            words = self.words * self.word_unit
            return (words * self.scales if self.scales.size else words) + self.mean

    def dequantise(self, symbols: Symbols) -> Array:
        """(1 + K, n) -> x̂ (n, d) in the mean's dtype, as FeatureBottleneck does. Raises DamagedError."""
        clusters = symbols[0]
        if clusters.size and not 0 <= int(clusters.min()) <= int(clusters.max()) < len(self.words):
            raise DamagedError("a vector is of a cluster that there is not")
        return self.rest.dequantise(symbols[1:], self._centres[clusters])

    # -- storage ---------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Array]:
        """Arrays to store: pass them to `model_from`."""
        own = {"words": smallest(self.words), "word_unit": self.word_unit, "word_lengths": self.word_lengths}
        return self.rest.state() | own


FeatureModel = FeatureBottleneck | ClusteredBottleneck


def model_from(state: Mapping[str, Array]) -> FeatureModel:
    """The model of these arrays, with clusters where there are words. Raises DamagedError for what is no model."""
    if "words" not in state:
        return FeatureBottleneck.from_state(state)
    if set(state) != {*FIELDS, *CLUSTER_FIELDS} or any(
        state[name].dtype.kind != kind for name, kind in CLUSTER_FIELDS.items()
    ):
        raise DamagedError("the model of the features has other fields than it should")
    rest = FeatureBottleneck.from_state({name: state[name] for name in FIELDS})
    words, unit, lengths = state["words"], state["word_unit"].astype(np.float64), state["word_lengths"]
    if (
        words.ndim != 2 or words.shape[1] != rest.dimensions or not 1 <= len(words) < LARGEST
        or unit.shape != (1,) or lengths.shape != (len(words) + 1,) or lengths.dtype != np.uint8
    ):  # fmt: skip
        raise DamagedError("the clusters of the features have arrays of sizes that do not agree")
    if not np.isfinite(unit).all() or unit[0] <= 0 or rest.absolute:
        raise DamagedError("the clusters of the features hold numbers that cannot be")
    model = ClusteredBottleneck(rest, words, unit, lengths)
    if not len(model.tables):
        raise DamagedError("the clusters of the features have no table")
    return model
