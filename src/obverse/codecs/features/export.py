"""A bottleneck of features as a stored model: fitted once, used for any number of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as save_safetensors

from obverse.codecs.features.fit import AUTO, DEFAULT_LOSS, L2, Target, fit, sample_of
from obverse.codecs.features.recipe import FeatureInputs, FeatureRecipe
from obverse.codecs.features.sources import open_encoder, rows_of
from obverse.data.feature_files import survey
from obverse.data.features import check_features
from obverse.training.log import log
from obverse.zoo import StoredModel, store_model

CARD = """# Features of {encoder}

An entropy bottleneck for vectors of {dimensions} numbers, fitted to {vectors} of them by `obverse train features`.

| on the vectors that it was fitted to | |
|---|--:|
| bits a vector (ideal code length) | {bits:.1f} |
| part of the {spread} that is lost | {loss:.4f} |
| coefficients coded | {coefficients} of {dimensions} |

The encoder's fingerprint (SHA-256 of its weights): {fingerprint}.
"""


def fit_model(
    features: Any,
    out: Path,
    target: Target | None = None,
    *,
    distortion: str = L2,
    transform: str = AUTO,
    standardise: bool = False,
    clusters: bool = True,
    encoder: bytes | None = None,
    encoder_name: str = "",
    seed: int = 0,
    count: int | None = None,
) -> tuple[StoredModel, dict[str, Any]]:
    """Fit to features (n, d) and write the model into the folder `out`; the model, and what was measured.

    clusters: whether they are tried. encoder, encoder_name: whose features these are; the model then refuses others.
    count: of the vectors that the features were chosen from, where they are a sample. Raises InputError,
    UnsupportedInputError, OutputError.
    """
    features = check_features(features)
    target = target or Target(loss=DEFAULT_LOSS)
    model = fit(
        features, target, distortion=distortion, transform=transform, standardise=standardise, clusters=clusters,
        seed=seed,
    )  # fmt: skip
    some = features[:: max(1, len(features) // 8192)].astype(np.float64)
    z = model.quantise(some)
    error, spread = np.abs(some - model.dequantise(z)), np.abs(some - model.mean)
    if standardise:
        error, spread = error / model.scales, spread / model.scales
    power = 1 if model.absolute else 2
    total = float((spread**power).sum())
    facts: dict[str, Any] = {
        "vectors": count or len(features),
        "dimensions": model.dimensions,
        "coefficients": model.coefficients,
        "bits": float(model.rate_bits(z).mean()),
        "loss": float((error**power).sum()) / total if total else 0.0,
        "lmbda": model.lmbda,
    }
    config: dict[str, Any] = {
        "codec": "features",
        "dimensions": model.dimensions,
        "distortion": distortion,
        "standardise": standardise,
        "target": {name: value for name, value in vars(target).items() if value is not None},
        "vectors": count or len(features),
    }
    if encoder is not None:
        config |= {"encoder": encoder.hex(), "encoder_name": encoder_name}
    card = CARD.format(
        encoder=encoder_name or "an encoder",
        fingerprint=encoder.hex() if encoder else "not known",
        spread=("standardised " if standardise else "")
        + ("mean absolute deviation" if model.absolute else "variance"),
        **facts,
    )
    stored = store_model(out, save_safetensors(_contiguous(model.state())), config, card)
    return stored, facts | {"fingerprint": stored.fingerprint.hex()}


def _contiguous(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def fit_to(inputs: FeatureInputs, out: Path, recipe: FeatureRecipe) -> dict[str, Any]:
    """What `obverse train features` does."""
    frozen = open_encoder(inputs.encoder, inputs.size, inputs.mean, inputs.std, inputs.trust)
    given = (recipe.lmbda, recipe.bits, recipe.loss)
    with rows_of(inputs.data, inputs.key, frozen, inputs.batch, _told) as (rows, _):
        count = rows.shape[0]
        sample = survey(rows, sample_of(count, recipe.seed)).sample
    _, facts = fit_model(
        sample,
        out,
        Target(loss=DEFAULT_LOSS) if given == (None, None, None) else Target(*given),
        distortion=recipe.distortion or L2,
        transform=recipe.transform or AUTO,
        standardise=recipe.standardise,
        count=count,
        encoder=frozen.fingerprint if frozen else None,
        encoder_name=frozen.name if frozen else "",
    )
    told = f"{facts['bits']:.1f} bits a vector, {facts['loss']:.2%} of the variance lost"
    return facts | {"summary": told}


@contextmanager
def _told(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Lines on stderr that tell how many are done."""
    done = 0

    def advance(more: int = 1) -> None:
        nonlocal done
        if done // 1000 != (done + more) // 1000:
            log(f"{title}: {done + more} of {total}")
        done += more

    yield advance
