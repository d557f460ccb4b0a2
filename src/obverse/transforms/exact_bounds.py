"""What makes a layer of integers exact: the proof that floats hold every sum, without torch.

A convolution of integers, |x| <= max_input, has sums of at most max_input * sum|w| + |b| in each output channel.
Below 2**24 float32 holds them all, in any order, and below 2**53 float64 does (compare Balle, Johnston and Minnen,
"Integer networks for data compression with latent-variable models", ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.errors import ExportError

FLOAT32_EXACT = 2**24
FLOAT64_EXACT = 2**53

Numbers = npt.NDArray[Any]


def proven_bound(
    weight: Numbers,
    bias: Numbers,
    multiplier: Numbers,
    shift: int,
    low: Numbers,
    high: Numbers,
    max_input: int,
    max_extra: int,
) -> float:
    """The largest sum that a layer can reach, which is below 2**53, as its rescaled sums are.

    Args:
        weight: (out, in, k, k) integers.
        bias: (out,) integers.
        multiplier: (out,) integers of at least 1.
        shift: rescaling by multiplier / 2**shift.
        low: the least that outputs are clipped to, a number or (out,) integers.
        high: the most that outputs are clipped to, likewise.
        max_input: the largest |x| that the layer is given.
        max_extra: the largest further bias that is added to its sums.

    Raises:
        ExportError: where it cannot be proven, or numbers are not finite.
    """
    if not 1 <= shift <= 60:
        raise ExportError(f"a layer is rescaled by 2**-{shift}: only 1 to 60 bits are possible")
    w, b, m = (part.astype(np.float64) for part in (weight, bias, multiplier))
    if not all(
        np.isfinite(part).all() for part in (w, b, m, low.astype(np.float64), high.astype(np.float64))
    ):
        raise ExportError("a layer has weights or limits that are not finite")
    with np.errstate(over="ignore", invalid="ignore"):  # what is not a number is not below the bound
        largest = max_input * np.abs(np.rint(w)).sum(axis=(1, 2, 3)) + np.abs(b) + max_extra
        bound = float(largest.max())
        scaled = float((largest * m).max()) + 2.0 ** (shift - 1)
    if not bound < FLOAT64_EXACT or not scaled < FLOAT64_EXACT:
        raise ExportError(
            f"a layer's sums may reach {max(bound, scaled):.3g}, above 2**53: fewer bits for its weights, "
            "inputs or multiplier are needed to prove it exact"
        )
    return bound


def refuse_unknown(state: Mapping[str, Any], known: Set[str]) -> None:
    """Check that a model has no tensors that nobody reads.

    Args:
        state: all tensors of the model, by name.
        known: the names of those that are read.

    Raises:
        ExportError: it has others, so it is not the model that it says.
    """
    unknown = state.keys() - known
    if unknown:
        raise ExportError(f"the model has tensors that it should not have: {', '.join(sorted(unknown)[:9])}")


def layer_of(state: Mapping[str, Any]) -> tuple[int, int, int]:
    """The shift, max_input and max_extra of a stored layer, all of whose tensors are known.

    Raises:
        ExportError: for other tensors than a layer has.
    """
    unknown = state.keys() - {"weight", "bias", "multiplier", "low", "high", "limits"}
    if unknown:
        raise ExportError(f"a layer has tensors that it should not have: {', '.join(sorted(unknown)[:9])}")
    shift, max_input, max_extra = map(int, state["limits"].tolist())
    return shift, max_input, max_extra
