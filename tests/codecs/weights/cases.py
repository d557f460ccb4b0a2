"""Examples of weights: every type, matrices whose rows and columns differ in scale, repeats, and what is short."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from obverse.codecs.weights.tensors import DTYPES, Tensors
from obverse.testing import Example


def every_type() -> Tensors:
    """A few numbers of each type, of all bits that there are: NaNs with payloads, -0.0, infinities."""
    rng = np.random.default_rng(3)
    arrays = {}
    for name, dtype in DTYPES.items():
        if name == "BOOL":
            arrays[name] = rng.integers(0, 2, 77).astype(bool)
        else:
            arrays[name] = np.frombuffer(rng.bytes(40 * dtype.itemsize), dtype).reshape(5, 8)
    arrays["signs"] = np.array([0.0, -0.0, np.inf, -np.inf, np.nan], np.float32)
    arrays["scalar"] = np.float64(-1.5)
    arrays["empty"] = np.zeros((0, 3), np.float16)
    return Tensors.of(arrays, {"format": "np"})


def matrix(rows: int, columns: int, dtype: object, seed: int) -> np.ndarray:
    """Gaussian numbers, whose rows and columns have scales of their own."""
    rng = np.random.default_rng(seed)
    scales = np.exp2(rng.integers(-3, 4, (rows, 1))) * np.exp2(rng.integers(-2, 3, (1, columns)))
    return (rng.standard_normal((rows, columns)) * scales * 2.0**-6).astype(dtype)


def layers() -> Tensors:
    half = matrix(48, 64, ml_dtypes.bfloat16, 1)
    return Tensors.of(
        {
            "embedding": half,
            "head": half.copy(),
            "layer.0.weight": matrix(32, 96, np.float32, 2),
            "layer.0.bias": np.zeros(96, np.float32),
            "layer.1.weight": matrix(64, 40, np.float16, 3),
            "basis": np.tile(matrix(4, 64, np.float32, 4), (16, 1)),
            "double": matrix(16, 40, np.float64, 5),
            "quantised": np.clip(np.rint(matrix(40, 50, np.float32, 6) * 300), -127, 127).astype(np.int8),
            "indices": np.arange(700, dtype=np.int64),
        }
    )


EXAMPLES = (
    Example("weights", "types", every_type),
    Example("weights", "layers", layers),
    Example("weights", "layers-all", layers, {"effort": 9}, golden=True),
)
GOLDEN = ()
