"""From a trained Wyner-Ziv codec of one index a sample to a stored model: code, calibration, card.

training pairs ──► frequencies of u ──► q(u)
               └─► u, log q(u|y) ──► Slepian-Wolf code (conditional models)
held-out pairs ──► how likely u is given y, and given another sample's y ──► the check of side information
               └─► a whole file ──► bytes, distortion: what the card says
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

from obverse.codecs.wyner_ziv.gap import gap_of
from obverse.codecs.wyner_ziv.index import PRECISION, IndexCodec, IndexModel, Match, chunks
from obverse.codecs.wyner_ziv.learned import WynerZivCodec
from obverse.codecs.wyner_ziv.recipe import CONDITIONAL, MARGINAL, IndexRecipe, PairInputs, WynerZivRecipe
from obverse.codecs.wyner_ziv.side_information import SideInformation
from obverse.codecs.wyner_ziv.train_learned import Trained, check_pairs, train
from obverse.coding import TableFamily
from obverse.coding.slepian_wolf import BLOCK, SlepianWolfCode
from obverse.container import write
from obverse.errors import UnrecoverableBlockError
from obverse.training.log import Paced, log
from obverse.zoo import StoredModel, store_model

DESIGN = 4 * BLOCK  # pairs at most that the Slepian-Wolf code is designed on
RATES = f"file_bits (of a file of at least {BLOCK:,} samples) and the entropies are bits a sample."
Facts = dict[str, float]


def split_pairs(x: np.ndarray, y: np.ndarray, seed: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """(training pairs, held-out pairs): a tenth held out, at most 4 blocks, drawn at random."""
    order = np.random.default_rng([seed, 77]).permutation(len(x))
    held = min(4 * BLOCK, max(len(x) // 10, 100))
    return (x[order[held:]], y[order[held:]]), (x[order[:held]], y[order[:held]])


def draft_model(
    objective: str, indices: int, x: np.ndarray, side: SideInformation, code: dict[str, Any] | None = None
) -> IndexModel:
    """The configuration of a model that is not calibrated yet."""
    low, high = x.min(axis=0), x.max(axis=0)
    uniform = tuple(TableFamily.uniform(indices, PRECISION).frequencies(0).tolist())
    return IndexModel(
        objective, x.shape[1], indices, side, tuple(low.tolist()), tuple(high.tolist()), uniform,
        Match(0.0, 0.0, -1.0), code if objective == CONDITIONAL else None,
    )  # fmt: skip


def finish(
    make: Callable[[StoredModel], IndexCodec],
    weights: bytes,
    config: dict[str, Any],
    model: IndexModel,
    training: tuple[np.ndarray, np.ndarray],
    held: tuple[np.ndarray, np.ndarray],
    out: Path,
    describe: Callable[[Facts], list[str]],
    recipe: IndexRecipe,
) -> tuple[StoredModel, Facts]:
    """Design, calibrate, store and measure. make: the codec of a model. describe: the card's own lines."""

    def codec_of(values: dict[str, Any]) -> IndexCodec:
        return make(StoredModel(out.name, weights, config | {"index_model": values}, b"\0" * 8))

    values = model.as_dict() | {"code": {} if model.objective == CONDITIONAL else None}
    codec = codec_of(values)
    x, y = training[0][:DESIGN], training[1][:DESIGN]
    u = codec.indices_of(x)
    counts = np.maximum(np.bincount(u, minlength=model.indices), 0.5)  # an index never seen may come yet
    values["frequencies"] = TableFamily.categorical(counts, PRECISION).frequencies(0).tolist()
    if model.objective == CONDITIONAL:
        log(f"designing the Slepian-Wolf code on {len(u):,} indices")
        values["code"] = SlepianWolfCode.design(
            u,
            lambda first, last: codec.log_conditional(y[first:last]),
            model.indices,
            block=recipe.block,
            lists=recipe.lists,
            progress=Paced("Slepian-Wolf code"),
        ).state()
    held_u = codec.indices_of(held[0])
    likely = log_likelihoods(codec, held_u, held[1])
    unrelated = log_likelihoods(codec, held_u, np.roll(held[1], max(1, len(held_u) // 3), axis=0))
    values["match"] = {
        "mean": float(likely.mean()), "deviation": float(likely.std()), "unrelated": float(unrelated.mean())
    }  # fmt: skip
    facts = measure(codec_of(values), held_u, likely, *held)
    log("estimating the limit of these pairs")
    ideal = facts["marginal_bits" if model.objective == MARGINAL else "conditional_bits"]
    gap = gap_of(
        np.concatenate([training[0], held[0]]),
        np.concatenate([training[1], held[1]]),
        model.side,
        facts["mse"],
        ideal / model.dimensions,
        facts["file_bits"] / model.dimensions,
    )
    facts |= gap.facts
    for name, value in facts.items():
        log(f"{name}: {value:.5g}")
    log(gap.sentence)
    lines = [f"# {out.name}", "", *describe(facts), "", "Measured on pairs held out:", ""]
    lines += [f"- {name}: {value:.5g}" for name, value in facts.items()]
    lines += ["", *textwrap.wrap(f"{RATES} {gap.sentence}", 110), ""]
    card = "\n".join(lines)
    return store_model(out, weights, config | {"index_model": values}, card), facts


def log_likelihoods(codec: IndexCodec, u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """log q(u|y) of each sample in nats."""
    columns = y.reshape(len(y), -1)
    parts = [
        np.take_along_axis(codec.log_conditional(columns[c]), u[c, None], 1)[:, 0] for c in chunks(len(u))
    ]
    return np.concatenate(parts).astype(np.float64)


def measure(codec: IndexCodec, u: np.ndarray, likely: np.ndarray, x: np.ndarray, y: np.ndarray) -> Facts:
    """Rates in bits a sample, mean squared error a component; from held-out pairs.

    The file holds a block at least, for which samples are repeated: shorter ones cost more a sample.
    """
    model = codec.index_model
    q = np.bincount(u, minlength=model.indices) / len(u)
    facts = {
        "marginal_bits": float(-(q[q > 0] * np.log2(q[q > 0])).sum()),
        "conditional_bits": float(-likely.mean() / math.log(2)),
        "indices_used": float((q > 0).sum()),
    }
    whole = x[np.resize(np.arange(len(x)), max(len(x), BLOCK))]
    facts["file_bits"] = len(write(codec.encode(whole))) * 8 / len(whole)
    columns = y.reshape(len(y), -1)
    x_hat = np.concatenate([codec.estimate(u[c], columns[c]) for c in chunks(len(u))])
    facts["mse"] = float(((x_hat - x) ** 2).mean())
    try:
        again = codec.decode(codec.encode(x), side_info=y)
        facts["decoded_mse"] = float(((again.reshape(x.shape) - x) ** 2).mean())
    except UnrecoverableBlockError:  # as rare as the code was designed for
        facts["unrecoverable_blocks"] = 1.0
    return facts


def train_model(x: Any, y: Any, out: Path, recipe: WynerZivRecipe) -> StoredModel:
    """Train the learned codec on pairs and store it in the folder `out`, whose checkpoint a stopped run resumes.

    Raises InputError, TrainingError, OutputError.
    """
    x, y = check_pairs(x, y)
    training, held = split_pairs(x, y, recipe.seed)
    trained = train(*training, recipe, out)
    weights, config, model = packed(trained, training[0])
    lines = card_lines(trained)
    stored, _ = finish(
        WynerZivCodec, weights, config, model, training, held, out, lambda facts: lines, recipe
    )
    (out / "checkpoint.pt").unlink(missing_ok=True)
    return stored


def fit(inputs: PairInputs, out: Path, recipe: WynerZivRecipe) -> dict[str, object]:
    """What `obverse train wyner-ziv` does."""
    return {"fingerprint": train_model(*inputs.pairs, out, recipe).fingerprint.hex()}


def packed(trained: Trained, x: np.ndarray) -> tuple[bytes, dict[str, Any], IndexModel]:
    """Weights, configuration and index model of what was trained on x (n, d)."""
    state = {
        name: value.detach().to(torch.float32).contiguous()
        for name, value in trained.networks.state_dict().items()
    }
    config = {
        "codec": WynerZivCodec.method.id,
        "sizes": trained.networks.sizes.as_dict(),
        "recipe": trained.recipe.as_dict(),
    }
    model = draft_model(trained.recipe.objective, trained.recipe.indices, x, trained.side)
    return save_safetensors(state), config, model


def card_lines(trained: Trained) -> list[str]:
    """What the card says of the model itself."""
    recipe, sizes = trained.recipe, trained.networks.sizes
    parameters = sum(p.numel() for p in trained.networks.parameters())
    name = recipe.as_dict()["distortion"]
    return [
        f"Learned Wyner-Ziv codec, {recipe.objective} objective, K = {recipe.indices}, lmbda = {recipe.lmbda:.5g}, "
        f"distortion {name}.",
        f"x has {sizes.dimensions} components, y {sizes.side_width} inputs; {parameters:,} parameters; "
        f"{recipe.start} start, seed {recipe.seed}.",
    ]
