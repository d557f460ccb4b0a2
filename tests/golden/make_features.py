"""Write the golden files of the codec of features: python tests/golden/make_features.py

Each case is an .obv file, its symbols, and the features that it decodes to. Run once for each change of the format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.items import decode_chunk, unpack_arrays, unpack_model
from obverse.container import Limits, write, write_atomically

HERE = Path(__file__).parent / "features"


def cases() -> dict[str, tuple[np.ndarray, dict[str, Any]]]:
    """Name -> features and options of encode."""
    rng = np.random.default_rng(12)
    x = rng.normal(size=(90, 8)) @ rng.normal(size=(8, 8)) + 2
    prototypes = {"första": x[0], "second": x[1]}
    return {
        "half": (x.astype(np.float16), {"loss": 0.1, "chunk": 40}),
        "single": (
            x.astype(np.float32),
            {"loss": 0.01, "prototypes": prototypes, "encoder": bytes(range(32))},
        ),
        "double-l1": (x, {"lmbda": 0.3, "distortion": "l1"}),
        "standardised": (x.astype(np.float32), {"bits": 110.0, "standardise": True}),
        "constant": (np.full((3, 2), 0.5, np.float32), {}),
    }


def main() -> None:
    HERE.mkdir(exist_ok=True)
    codec = FeatureCodec()
    for name, (features, options) in cases().items():
        container = codec.encode(features, codec.options(**options))
        items = container.items or ()
        model = unpack_model(unpack_arrays(items[0], Limits()), Limits())
        first = 1 + ("prototypes" in options)
        counts = [
            min(container.config[1], len(features) - i * container.config[1])
            for i in range(len(items) - first)
        ]
        symbols = [decode_chunk(model, items[first + i], n) for i, n in enumerate(counts)]
        write_atomically(HERE / f"{name}.obv", write(container), overwrite=True)
        np.savez_compressed(
            HERE / f"{name}.npz", symbols=np.concatenate(symbols, 1), features=codec.decode(container)
        )


if __name__ == "__main__":
    main()
