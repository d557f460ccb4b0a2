"""Write the golden files of plug-and-play compression: python tests/golden/make_plug_and_play.py

Each case is an .obv file with tables of its own, or of the stored model beside it, and the latents that it decodes to,
bit for bit. Run once for each change of the format.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.codecs.plug_and_play.fit import build_model, fit, save_model
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.container import write, write_atomically

HERE = Path(__file__).parent / "plug_and_play"
MODELS = {"with-model": HERE / "model", "with-contexts": HERE / "model-with-contexts"}


def posterior(seed: int, shape: tuple[int, ...]) -> Posterior:
    rng = np.random.default_rng(seed)
    return Posterior.of(rng.standard_t(4, shape) + 0.3, np.exp(rng.normal(-2, 1, shape)))


def uneven(seed: int, count: int) -> Posterior:
    """Items that are busy in all dimensions, or calm in all."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(0, 1, (count, 5)) * np.where(rng.random((count, 1)) < 0.3, 3, 0.02)
    return Posterior.of(mean, np.full(mean.shape, 0.2))


def cases() -> dict[str, tuple[Posterior, dict[str, Any]]]:
    """Name -> posterior and options of encode."""
    return {
        "vbq-empirical": (
            posterior(1, (300, 5)),
            {"lmbda": 0.5, "prior": "empirical", "depth": 12, "axis": 1},
        ),
        "vbq-normal": (posterior(2, (40, 3, 4)), {"lmbda": 2.0, "prior": "normal", "depth": 9}),
        "uniform": (posterior(3, (200,)), {"lmbda": 0.1, "method": "uniform"}),
        "scaled-uniform": (posterior(4, (60, 4)), {"lmbda": 1.0, "method": "scaled-uniform", "axis": 1}),
        "k-means": (posterior(5, (100, 2)), {"lmbda": 1.0, "method": "k-means"}),
        "with-model": (posterior(6, (50, 5)), {"lmbda": 0.7}),
        "with-contexts": (uneven(7, 50), {"lmbda": 0.7}),
    }


def main() -> None:
    fitted = {"with-model": posterior(9, (2000, 5)), "with-contexts": uneven(9, 2000)}
    for name, (data, options) in cases().items():
        model = None
        if name in fitted:
            p = fitted[name]
            model = save_model(build_model(fit(p, 1, [0.25, 1.0], depth=8), p.shape, axis=1), MODELS[name])
        codec = PlugAndPlayCodec(model)
        container = codec.encode(data, codec.options(**options))
        write_atomically(HERE / f"{name}.obv", write(container), overwrite=True)
        np.save(HERE / f"{name}.npy", codec.decode(container))


if __name__ == "__main__":
    main()
