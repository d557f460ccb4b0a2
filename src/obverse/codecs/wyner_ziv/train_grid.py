"""Design the non-neural Wyner-Ziv codec from pairs: `obverse train wyner-ziv-grid --data pairs.npz --out FOLDER`.

pairs ──► kernel density on a grid ──► Lloyd iterations from many starts ──► tables ──► model
"""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as save_safetensors

from obverse.codecs.wyner_ziv import grid_design as grids
from obverse.codecs.wyner_ziv.export_learned import draft_model, finish, split_pairs
from obverse.codecs.wyner_ziv.grid import WynerZivGridCodec
from obverse.codecs.wyner_ziv.grid_design import GridDesign, JointGrid
from obverse.codecs.wyner_ziv.index import IndexModel
from obverse.codecs.wyner_ziv.recipe import CONDITIONAL, GridRecipe, PairInputs
from obverse.codecs.wyner_ziv.side_information import SideInformation
from obverse.codecs.wyner_ziv.train_learned import UNIQUE, check_pairs
from obverse.errors import InputError
from obverse.training.log import Paced, log
from obverse.zoo import StoredModel


def default_lmbda(recipe: GridRecipe, deviation: float) -> float:
    """As of the learned codec (`codecs/wyner_ziv/train_learned.py`), for squared error. deviation: sigma_{x|y}."""
    width = UNIQUE / recipe.indices if recipe.objective == CONDITIONAL else 1.8 / math.sqrt(recipe.indices)
    return 6 / (width * deviation) ** 2


def train_grid(x: Any, y: Any, out: Path, recipe: GridRecipe) -> StoredModel:
    """Design the codec on pairs of scalars and store it in the folder `out`. Raises InputError, OutputError."""
    x, y = check_pairs(x, y)
    if x.shape[1] != 1 or y.shape[1] != 1:
        raise InputError(
            f"this codec takes one number x and one y a sample, not {x.shape[1]} and {y.shape[1]}: use wyner-ziv"
        )
    training, held = split_pairs(x, y, recipe.seed)
    side = SideInformation.fit(training[1])
    flat = training[0][:, 0], training[1][:, 0]
    if side.categories is None:
        flat = flat[0], flat[1].astype(np.float64)
    deviation = grids.residual_deviation(*flat, side.categories is not None)
    if not deviation > 1e-5 * flat[0].std():
        raise InputError("y tells x exactly: there is nothing to code; check which arrays are x and y")
    lmbda = default_lmbda(recipe, deviation) if recipe.lmbda is None else recipe.lmbda
    recipe = replace(recipe, lmbda=lmbda)
    grids.check_design(recipe.indices, recipe.objective, lmbda)
    log("estimating the joint density")
    grid = JointGrid.of_samples(*flat, cells=recipe.cells, points=recipe.points)
    widths = grids.default_widths(deviation, recipe.indices, recipe.objective, lmbda, recipe.starts)
    log(f"{2 * recipe.starts} starts of Lloyd iterations")
    found = grids.design(
        grid,
        recipe.indices,
        recipe.objective,
        lmbda,
        widths,
        phases=2,
        seed=recipe.seed,
        progress=Paced("design"),
    )
    weights, config, model = packed(grid, found, recipe, training[0], side, deviation)
    lines = [
        f"The best scalar Wyner-Ziv design found on a grid of {recipe.cells} x {len(grid.y)} points, "
        f"{recipe.objective} objective, K = {recipe.indices}, lmbda = {lmbda:.5g}.",
        f"Intervals of x per index: {' '.join(map(str, found.score.intervals))}.",
    ]
    stored, _ = finish(
        WynerZivGridCodec,
        weights,
        config,
        model,
        training,
        held,
        out,
        lambda facts: lines,
        recipe,
    )
    return stored


def fit(inputs: PairInputs, out: Path, recipe: GridRecipe) -> dict[str, object]:
    """What `obverse train wyner-ziv-grid` does."""
    return {"fingerprint": train_grid(*inputs.pairs, out, recipe).fingerprint.hex()}


def packed(
    grid: JointGrid,
    found: GridDesign,
    recipe: GridRecipe,
    x: np.ndarray,
    side: SideInformation,
    deviation: float,
) -> tuple[bytes, dict[str, Any], IndexModel]:
    """Tables, configuration and index model of a design. Curves and log q are float16: their step is far below the
    error of the design."""
    p_y = np.maximum(grid.p.sum(axis=0), 1e-300)
    predicted = (grid.x @ grid.p) / p_y
    # an index that training never met at this y may still come, rarely: give it a little of every y
    q = 0.999999 * found.q + 1e-6 / recipe.indices
    arrays = {
        "labels": found.labels.astype(np.uint8),
        "y": grid.y,
        "predicted": predicted,
        "curves": ((found.reconstruction - predicted) / deviation).clip(-6e4, 6e4).astype(np.float16),
        "log_q": np.log(q / q.sum(axis=0)).astype(np.float16),
    }
    config = {
        "codec": WynerZivGridCodec.method.id,
        "recipe": asdict(recipe),
        "grid": {"low": float(grid.x[0] - grid.cell / 2), "cell": grid.cell, "scale": deviation},
    }
    return save_safetensors(arrays), config, draft_model(recipe.objective, recipe.indices, x, side)
