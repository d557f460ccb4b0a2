"""Fit grids and tables to the posteriors that a trained model gives to some data. No gradient, no change of the model.

    posteriors ──► prior, its quantiles ──► for each lmbda: choose, count, choose with what was measured ──► ladder
    posteriors ──► a step for each group ──► the same                                                    ──► ladder
    module     ──► torch.export ──► graphs of encode and decode                                          ──► model

Of the two ladders each file takes what costs less. A fit takes seconds to minutes. What it makes is a stored model for
the codec plug-and-play.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save as save_safetensors

from obverse.codecs.plug_and_play.baselines import nearest_multiple, uniform_grid
from obverse.codecs.plug_and_play.k_means import k_means_grid, nearest_centre
from obverse.codecs.plug_and_play.model import told_of
from obverse.codecs.plug_and_play.networks import Networks
from obverse.codecs.plug_and_play.point_grid import EMPIRICAL, NORMAL, PointGrid
from obverse.codecs.plug_and_play.point_tables import PointTables
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.codecs.plug_and_play.quantiser import (
    DEPTH,
    REACH,
    check_lmbda,
    choose,
    empirical_grid,
    normal_grid,
    published_bits,
)
from obverse.codecs.plug_and_play.rate_ladder import MOST_GROUPS, MOST_RUNGS, RateLadder, Rung
from obverse.errors import InputError
from obverse.zoo import StoredModel, fingerprint, store_model

Array = npt.NDArray[Any]
VBQ, STEPS, UNIFORM, SCALED, K_MEANS = "vbq", "steps", "uniform", "scaled-uniform", "k-means"
METHODS = (VBQ, STEPS, UNIFORM, SCALED, K_MEANS)
BEST = "best"  # of vbq and steps, for each file
LADDER = tuple(2.0**k for k in range(-7, 11))
FINER = tuple(2.0**k for k in range(-10, -7))  # of steps: quantiles have no points so close to each other
PASSES = 4  # the first with the published rates, the others with measured ones
MOST_LATENTS = 1 << 21  # that a fit looks at, drawn at random
IMAGE, ARRAY, POSTERIOR = "image", "array", "posterior"
MOST_MULTIPLE = 4096
BATCH = 64  # items that a network sees at once


@dataclass(frozen=True)
class Tables:
    """What for: `smoothing` and `entry_bits` of PointTables.of, `reach` of empirical_grid; contexts: how many of a
    group, where they pay."""

    smoothing: float
    entry_bits: float
    reach: float
    contexts: int

    def of(self, symbols: npt.NDArray[np.int32], grid: PointGrid, count: int = 1) -> PointTables:
        """Tables of these symbols (A, G, B), with so many contexts a group."""
        return PointTables.of(symbols, grid, self.smoothing, self.entry_bits, count)

    def contexts_that_pay(self, symbols: npt.NDArray[np.int32], grid: PointGrid) -> int:
        """All of them where tables counted on half of the places cost less on the other half than one a group; or 1."""
        a, groups, b = symbols.shape
        if self.contexts == 1 or groups == 1 or a * b < 2:
            return 1
        places = np.moveaxis(symbols, 1, 0).reshape(1, groups, -1)
        half, other = (np.ascontiguousarray(places[:, :, first::2]) for first in (0, 1))
        bits = [float(self.of(half, grid, count).bits(other).sum()) for count in (1, self.contexts)]
        return 1 if bits[0] <= bits[1] else self.contexts


OF_MODEL = Tables(1.0, 0.0, REACH, 8)  # for other data
OF_FILE = Tables(0.02, 4.0, 1.01, 1)  # for the very symbols that are counted, and every length is paid for


def fit(
    posterior: Posterior,
    axis: int | None,
    lmbdas: Sequence[float] = LADDER,
    method: str = VBQ,
    prior: str = EMPIRICAL,
    depth: int = DEPTH,
    tables: Tables = OF_MODEL,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> RateLadder:
    """The ladder for the posterior of some data.

    axis: of the latents, each of whose indices has a grid and tables of its own; None: all latents share them. lmbdas:
    the rungs. method: vbq, steps, uniform, scaled-uniform or k-means. prior: of vbq, "empirical" or "normal", N(0, 1).
    depth: levels of its grid. progress: told after each rung. Raises InputError.
    """
    rungs = _check(posterior, axis, lmbdas, method, prior)
    whole = posterior.grouped(axis)
    some = sample(whole, MOST_LATENTS, seed)
    shared = None
    if method == VBQ and prior == NORMAL:
        shared = normal_grid(some.shape[1], depth)
    elif method == VBQ:
        ends = (extreme(whole.mean, axis=(0, 2), keepdims=True) for extreme in (np.min, np.max))
        means = some.mean.transpose(1, 0, 2).reshape(1, some.shape[1], -1)
        shared = empirical_grid(np.concatenate([means, *ends], 2), depth, tables.reach)
    made = []
    for lmbda in rungs:
        made.append(_rung(some, lmbda, method, shared, tables))
        if progress:
            progress(1)
    return RateLadder(tuple(made))


def fit_ladders(
    posterior: Posterior,
    axis: int | None,
    lmbdas: Sequence[float] = LADDER,
    method: str = BEST,
    prior: str = EMPIRICAL,
    depth: int = DEPTH,
    progress: Callable[[int], None] | None = None,
) -> tuple[RateLadder, ...]:
    """As `fit`; with the method best two ladders, vbq's and that of steps, which has finer rungs too."""
    if method != BEST:
        return (fit(posterior, axis, lmbdas, method, prior, depth, progress=progress),)
    return (
        fit(posterior, axis, lmbdas, VBQ, prior, depth, progress=progress),
        fit(posterior, axis, [*FINER, *lmbdas], STEPS, progress=progress),
    )


def count_rungs(method: str, lmbdas: Sequence[float] = LADDER) -> int:
    """How often `fit_ladders` tells of its progress."""
    return len(set(lmbdas)) if method != BEST else len(set(lmbdas)) + len({*FINER, *lmbdas})


def _rung(posterior: Posterior, lmbda: float, method: str, shared: PointGrid | None, tables: Tables) -> Rung:
    if method == STEPS:
        return _stepped(posterior, lmbda, tables)
    if shared is None:
        if method == K_MEANS:
            grid = k_means_grid(posterior, lmbda)
            symbols = nearest_centre(posterior.mean, grid)
        else:
            grid = uniform_grid(posterior, lmbda, scaled=method == SCALED)
            symbols = nearest_multiple(posterior.mean, grid)
        return Rung(lmbda, grid, tables.of(symbols, grid, tables.contexts_that_pay(symbols, grid)))
    symbols = choose(posterior, shared, published_bits(shared), lmbda)
    count = tables.contexts_that_pay(symbols, shared)
    for _ in range(PASSES - 1):
        rung = Rung(lmbda, shared, tables.of(symbols, shared, count))
        symbols = rung.quantise(posterior)
    return Rung(lmbda, shared, tables.of(symbols, shared, count))


def _stepped(posterior: Posterior, lmbda: float, tables: Tables) -> Rung:
    grid = uniform_grid(posterior, lmbda, scaled=True)
    symbols = nearest_multiple(posterior.mean, grid)
    count = tables.contexts_that_pay(symbols, grid)
    for _ in range(PASSES - 1):
        rung = Rung(lmbda, grid, tables.of(symbols, grid, count), by_cost=True)
        symbols = rung.quantise(posterior)
    return Rung(lmbda, grid, tables.of(symbols, grid, count), by_cost=True)


def _check(
    posterior: Posterior, axis: int | None, lmbdas: Sequence[float], method: str, prior: str
) -> list[float]:
    """The lmbdas in rising order. Raises InputError."""
    if method not in METHODS:
        raise InputError(f"there is no method {method!r}: choose one of {', '.join(METHODS)}")
    if prior not in (EMPIRICAL, NORMAL):
        raise InputError(f"the prior is {EMPIRICAL} or {NORMAL}, not {prior!r}")
    if axis is not None and (type(axis) is not int or not 0 <= axis < posterior.mean.ndim):
        raise InputError(f"latents of shape {posterior.shape} have no axis {axis!r}")
    if axis is not None and posterior.shape[axis] > MOST_GROUPS:
        raise InputError(
            f"axis {axis} has {posterior.shape[axis]} indices, at most {MOST_GROUPS} get tables of their own: share one"
        )
    for lmbda in lmbdas:
        check_lmbda(lmbda)
    if not 1 <= len(set(lmbdas)) <= MOST_RUNGS:
        raise InputError(f"a ladder has 1 to {MOST_RUNGS} lmbdas, not {len(set(lmbdas))}")
    return sorted(set(map(float, lmbdas)))


def sample(posterior: Posterior, most: int, seed: int) -> Posterior:
    """Of latents (A, G, B), at most so many drawn at random, the same places of each group: (1, G, n)."""
    a, groups, b = posterior.shape
    keep = max(1, most // groups)
    if a * b <= keep:
        return posterior
    chosen = np.sort(np.random.default_rng(seed).choice(a * b, keep, replace=False))
    first, last = np.divmod(chosen, b)
    parts = (array[first, :, last].T[None] for array in (posterior.mean, posterior.std))
    return Posterior(*(np.ascontiguousarray(part) for part in parts))


# -- models -------------------------------------------------------------------------------------------------------


def build_model(
    ladders: RateLadder | Sequence[RateLadder],
    shape: tuple[int, ...],
    *,
    axis: int | None = None,
    networks: Networks | None = None,
    images: int | None = None,
    multiple: int = 1,
    name: str = "plug-and-play",
) -> StoredModel:
    """A ladder, or several for each file to take the best of, as a stored model, in memory.

    shape: of the latents that it was fitted to, (N, ...). networks: encode and decode as graphs. images:
    channels (1 or 3) of the images that the model takes, where its data are images; multiple: what their sides are
    filled up to a multiple of. Raises InputError.
    """
    if images is not None and images not in (1, 3):
        raise InputError(f"images have 1 or 3 channels, not {images}")
    if type(multiple) is not int or not 1 <= multiple <= MOST_MULTIPLE:
        raise InputError(f"sides are filled up to a multiple of 1 to {MOST_MULTIPLE}, not {multiple!r}")
    if isinstance(ladders, RateLadder):
        ladders = (ladders,)
    if len(ladders) == 1 and not ladders[0].rungs[0].by_cost:
        arrays = {f"ladder.{key}": array for key, array in ladders[0].state().items()}
    else:
        arrays = {
            f"ladders.{i}.{key}": array
            for i, ladder in enumerate(ladders)
            for key, array in ladder.state().items()
        }
    arrays |= networks.arrays() if networks else {}
    config: dict[str, Any] = {
        "codec": "plug-and-play",
        "data": POSTERIOR if networks is None else ARRAY if images is None else IMAGE,
        "channels": images,
        "multiple": multiple,
        "axis": axis,
        "latents": [size if i == axis else None for i, size in enumerate(shape)],
        **told_of(ladders),
    }
    weights = save_safetensors(arrays)
    return StoredModel(name, weights, config, fingerprint(weights, json.dumps(config, indent=2).encode()))


def save_model(model: StoredModel, out: Path, facts: str = "") -> StoredModel:
    """Write a model of `build_model` as a folder that the codec can be opened with. Raises OutputError."""
    config = model.config
    rungs = config["lmbdas"]
    card = (
        f"# {out.resolve().name}: a model for plug-and-play\n\n"
        f"It codes: {config['data']}. Latents: {config['latents']}, any size where it says None; axis of grids and "
        f"tables: {config['axis']}; grid: {config['grid']}. {len(rungs)} rates, lmbda {rungs[0]:g} to {rungs[-1]:g}."
        f"\n\n{facts}\n"
    )
    return store_model(out, model.weights, config, card)


def fit_module(
    module: Any,
    data: Array | Iterable[Array],
    out: Path | str,
    *,
    axis: int | None = 1,
    images: int | None = None,
    multiple: int = 1,
    method: str = BEST,
    prior: str = EMPIRICAL,
    depth: int = DEPTH,
    progress: Callable[[int], None] | None = None,
) -> StoredModel:
    """From a torch module with encode(x) -> (mean, std) and decode(z) to a folder that any file is compressed with.

    module: the object, or its name as `module:name`. data: what it was trained on, (N, ...), or batches of that. The
    rest as for `fit_ladders` and `build_model`. progress: told after each batch and each rung.
    Raises InputError, ExportError, OutputError.
    """
    from obverse.codecs.plug_and_play.export import exported
    from obverse.codecs.plug_and_play.generative_model import model_of, of_module

    found = model_of(module)
    model = of_module(found)
    whole = isinstance(data, np.ndarray)
    batches = iter([data[i : i + BATCH] for i in range(0, len(data), BATCH)] if whole else data)
    first = next(batches, None)
    if first is None:
        raise InputError("there is no data to fit to")
    networks = exported(found, first)

    def encode(batch: Array) -> Posterior:
        posterior = model.posterior(batch)
        if progress:
            progress(1)
        return posterior

    posterior = posterior_of(encode, itertools.chain([first], batches))
    ladders = fit_ladders(posterior, axis, LADDER, method, prior, depth, progress)
    built = build_model(
        ladders, posterior.shape, axis=axis, networks=networks, images=images, multiple=multiple
    )
    return save_model(built, Path(out), f"Method {method}; fitted to {posterior.mean.size:,} latents.")


def posterior_of(encode: Callable[[Array], Posterior], batches: Iterator[Array]) -> Posterior:
    """The posteriors of all batches as one, (N, ...); of images of several sizes, latents in a row, (1, C, n).

    Raises InputError.
    """
    found = [encode(batch) for batch in batches]
    if not found:
        raise InputError("there is no data to fit to")
    if len({one.shape[1:] for one in found}) == 1:
        return Posterior(*(np.concatenate([getattr(one, name) for one in found]) for name in ("mean", "std")))
    if len({(one.mean.ndim, one.shape[1]) for one in found}) > 1:
        raise InputError("the model makes latents of changing kinds, so that no grid fits them")
    flat = [one.grouped(1) for one in found]
    joined = (
        np.concatenate([np.moveaxis(getattr(one, name), 1, 0).reshape(one.shape[1], -1) for one in flat], 1)
        for name in ("mean", "std")
    )
    return Posterior(
        *(array.reshape(1, array.shape[0], *(1,) * (found[0].mean.ndim - 3), -1) for array in joined)
    )
