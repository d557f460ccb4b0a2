"""A latent-variable model as distributions that bits-back coding pushes on and pops from messages.

    x ──► posterior ──► LaneMixtures of z1, z2       z1 ──► LanePixels of x, three phases of LaneMixtures
    z2 ──► LaneMixtures of z1                        LaneUniform of z2

Everything is for a batch on a list of messages, row i on message i: so many chains run the networks at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from obverse.codecs.vae.exact_networks import BIN_BITS, BINS, ExactVae
from obverse.codecs.vae.networks import PHASES
from obverse.coding import LogisticMixtures, Message, TableFamily
from obverse.coding.logistic_mixture import PRECISION, WEIGHT_TOTAL

Array = npt.NDArray[Any]
Lanes = list[Message]

UNIFORM = TableFamily.from_frequencies([[1] * BINS], [0], BIN_BITS, escape=False)


@dataclass(frozen=True)
class LaneMixtures:
    """Symbols (B, n) under mixtures with weights, means and scales (B, n, K), row i on message i."""

    weights: Array
    means: Array
    scales: Array
    high: int
    edges: Array | None = None

    def push(self, messages: Lanes, symbols: Array) -> None:
        mixtures = LogisticMixtures(self.weights, self.means, self.scales, 0, self.high, self.edges)
        starts, lengths = mixtures.intervals(symbols)
        for message, start, length in zip(messages, starts, lengths, strict=True):
            message.push_intervals(start, length, PRECISION)

    def pop(self, messages: Lanes) -> Array:
        rows = []
        for lane, message in enumerate(messages):
            of_lane = (self.weights[lane], self.means[lane], self.scales[lane])
            rows.append(message.pop_mixtures(LogisticMixtures(*of_lane, 0, self.high, self.edges)))
        return np.stack(rows)

    def bits(self, symbols: Array) -> npt.NDArray[np.float64]:
        """The information of each row, (B,)."""
        mixtures = LogisticMixtures(self.weights, self.means, self.scales, 0, self.high, self.edges)
        return np.asarray(mixtures.bits(symbols).sum(axis=1))


@dataclass(frozen=True)
class LaneUniform:
    """Numbers (B, n) of bins of equal mass."""

    count: int

    def push(self, messages: Lanes, symbols: Array) -> None:
        for message, row in zip(messages, symbols, strict=True):
            message.push(row, UNIFORM, np.zeros(self.count, np.uint8))

    def pop(self, messages: Lanes) -> Array:
        return np.stack([message.pop(UNIFORM, np.zeros(self.count, np.uint8)) for message in messages])


@dataclass(frozen=True)
class LanePixels:
    """Images (B, H, W) given the bins of z1: phase after phase, each given those before."""

    networks: ExactVae
    bins: Array

    def phases(self, images: Array) -> list[tuple[LaneMixtures, Array]]:
        """Each phase's distribution and symbols, for images that are known."""
        features = self.networks.features(self.bins)
        pixels = self.networks.split(images)
        return [
            (
                self._mixtures(number, features, pixels[:number]),
                values.flatten(1).numpy().astype(np.int32),
            )
            for number, values in enumerate(pixels)
        ]

    def push(self, messages: Lanes, symbols: Array) -> None:
        for mixtures, values in reversed(self.phases(symbols)):
            mixtures.push(messages, values)

    def pop(self, messages: Lanes) -> Array:
        features = self.networks.features(self.bins)
        known: list[torch.Tensor] = []
        popped = []
        for number in range(len(PHASES)):
            popped.append(self._mixtures(number, features, known).pop(messages))
            known.append(self.networks.as_phase(number, popped[-1]))
        return self.networks.join(popped)

    def _mixtures(self, number: int, features: torch.Tensor, known: list[torch.Tensor]) -> LaneMixtures:
        high = self.networks.config.levels - 1
        return LaneMixtures(*self.networks.phase(number, features, known), high)


class VaeLanes:
    """The `LatentModel` of bits-back coding, for a batch on a list of messages."""

    def __init__(self, networks: ExactVae):
        self.networks = networks
        self.layers = len(networks.config.latents)

    def posterior(self, layer: int, below: Array) -> LaneMixtures:
        return self._latents(layer, *self.networks.posterior(layer, below))

    def likelihood(self, layer: int, above: Array) -> LanePixels | LaneMixtures:
        if layer == 0:
            return LanePixels(self.networks, above)
        return self._latents(layer - 1, *self.networks.prior(above))

    def prior(self) -> LaneUniform:
        return LaneUniform(self.networks.config.top)

    def _latents(self, layer: int, means: Array, scales: Array) -> LaneMixtures:
        one = np.full((*means.shape, 1), WEIGHT_TOTAL)
        return LaneMixtures(one, means[..., None], scales[..., None], BINS - 1, self.networks.edges[layer])
