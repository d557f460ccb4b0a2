"""Examples of the codec of features, each with a model of its own in the file."""

from __future__ import annotations

import numpy as np

from obverse.testing import Example

X = np.random.default_rng(12)
X = X.normal(size=(90, 8)) @ X.normal(size=(8, 8)) + 2
PROTOTYPES = {"första": X[0], "second": X[1]}
SINGLE = {"loss": 0.01, "prototypes": PROTOTYPES, "encoder": bytes(range(32))}

# few kinds, each of them narrow: what clusters are for
KINDS = np.random.default_rng(13)
KINDS = KINDS.normal(size=(12, 8))[KINDS.integers(12, size=600)] + 0.2 * KINDS.normal(size=(600, 8))


def example(name, data, options, bits=23):
    """bits: of the type's fraction; what is computed in floats may differ in the last ones."""
    return Example("features", name, lambda: data, options, tolerance=40 * 2.0**-bits)


EXAMPLES = (
    example("half", X.astype(np.float16), {"loss": 0.1, "chunk": 40}, bits=10),
    example("single", X.astype(np.float32), SINGLE),
    example("clusters", KINDS.astype(np.float32), {"loss": 0.02, "chunk": 400}),
    example("stored", X[:3].astype(np.float32), {"chunk": 2, "prototypes": PROTOTYPES}),
)
GOLDEN = (
    example("double-l1", X, {"lmbda": 0.3, "distortion": "l1"}, bits=52),
    example("standardised", X.astype(np.float32), {"bits": 110.0, "standardise": True}),
    example("constant", np.full((3, 2), 0.5, np.float32), {}),
)

DAMAGES = 8


def damaged(
    state: dict[str, np.ndarray], name: str, kind: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The arrays of a model, one of them changed in one of DAMAGES ways, or left out."""
    changed = dict(state)
    array = state[name]
    with np.errstate(all="ignore"):
        if kind == 0:
            changed[name] = array[: len(array) // 2]
        elif kind == 1:
            changed[name] = np.concatenate([array, array])
        elif kind == 2:
            changed[name] = np.frombuffer(rng.bytes(array.nbytes), array.dtype).reshape(array.shape)
        elif kind == 3:
            changed[name] = array.astype(np.float32) * np.float32(rng.choice([np.nan, np.inf, -1.0, 1e30]))
        elif kind == 4:
            changed[name] = array.astype(
                rng.choice([np.int64, np.uint8, np.float16, np.float64, np.complex64])
            )
        elif kind == 5:
            changed[name] = array.ravel()
        elif kind == 6:
            one = array.copy()
            if one.size:
                value = rng.choice([0, -1, 1, 100, -128, 127])
                one.flat[rng.integers(one.size)] = value % 256 if one.dtype == np.uint8 else value
            changed[name] = one
        else:
            del changed[name]
    return changed
