"""Nested lattices: their labels, their distances, and the cells that suit a price."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from obverse.codecs.wyner_ziv.train_learned import DISTORTIONS
from obverse.quantization.nested_lattice import (
    cell_width,
    lattice_generator,
    nested_labels,
    short_vectors,
    slope_at,
)


def shortest(generator: np.ndarray, indices: int, reach: int = 2) -> int:
    """The squared length of the shortest vector of the sublattice g . z = 0 mod K, by trying all."""
    best = 10**9
    for z in itertools.product(range(-reach, reach + 1), repeat=len(generator)):
        if any(z) and int(np.dot(z, generator)) % indices == 0:
            best = min(best, sum(v * v for v in z))
    return best


def test_scalar_labels_repeat_with_period_k():
    x = torch.linspace(-3, 3, 601)[:, None]
    labels = nested_labels(x, 0.5, torch.zeros(1), torch.from_numpy(lattice_generator(4, 1)), 4)
    assert labels.tolist() == (np.floor(x[:, 0].numpy() / 0.5).astype(int) % 4).tolist()


@pytest.mark.parametrize(("indices", "dimensions", "least"), [(5, 2, 5), (16, 4, 4)])
def test_generators_keep_bins_apart(indices, dimensions, least):
    # 5 labels of Z^2 in the knight's-move lattice; 16 of Z^4 as good as 2 Z^4
    assert shortest(lattice_generator(indices, dimensions), indices) >= least


def test_eight_dimensions_beat_scalar_binning():
    # scalars of K = 2 each: 256 labels, bins 2 apart, squared 4
    generator = lattice_generator(256, 8)
    z = short_vectors(8)
    lengths = (z**2).sum(axis=1)
    assert np.bincount(lengths)[1:4].tolist() == [16, 112, 448]  # r_8(n), sums of eight squares
    inside = lengths[(z @ generator) % 256 == 0]
    assert inside.min() > 4


def test_mse_slope_and_width_are_the_closed_forms():
    x, width = torch.zeros(200_000, 1), torch.tensor([0.7])
    assert slope_at(DISTORTIONS["mse"], x, width) == pytest.approx(0.7**2 / 6, rel=0.01)
    assert slope_at(DISTORTIONS["abs"], x, width) == pytest.approx(0.7 / 4, rel=0.01)
    assert cell_width(DISTORTIONS["mse"], x, torch.tensor([2.0]), 6.0) == pytest.approx(0.5, rel=0.01)
