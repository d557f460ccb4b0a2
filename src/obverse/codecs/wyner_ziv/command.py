"""The commands that train the Wyner-Ziv codecs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from obverse.cli.batch import make_folder
from obverse.cli.console import UsageError, say, to_json
from obverse.cli.console import out as show
from obverse.cli.options import Force, Json, set_threads
from obverse.errors import OutputExistsError
from obverse.zoo import WEIGHTS

Data = Annotated[Path, Parameter(help="A .npz file with arrays x (n,) or (n, d) and y (n,) or (n, c).")]
Out = Annotated[
    Path | None, Parameter(help="Folder for the model; by default yours, under the name of the data.")
]
Objective = Annotated[
    str, Parameter(help="conditional: Slepian-Wolf coded blocks of 65,536; marginal: each sample by itself.")
]
Indices = Annotated[int, Parameter(help="K, how many values the index of a sample has; 2 or more.")]
Lmbda = Annotated[
    float | None,
    Parameter(
        help="Price of distortion, nats a component per unit of it; more means more rate. By default, suits K."
    ),
]
Lists = Annotated[
    int, Parameter(help="Paths followed when the Slepian-Wolf code is designed: more take longer.")
]


def folder_of(data: Path, out: Path | None) -> Path:
    """Where the model goes. Raises UsageError for a name by which it would never be found."""
    from obverse.registry import built_in_methods
    from obverse.zoo import models_home

    if out is None and data.stem in built_in_methods():
        raise UsageError(
            f"a model called {data.stem!r} would be hidden by the codec of that name: give --out"
        )
    return models_home() / data.stem if out is None else out


def check_numbers(seed: int, lists: int, threads: int | None = None) -> None:
    """Raises UsageError for what no library takes."""
    for name, value, low, high in (
        ("seed", seed, 0, 2**32 - 1),
        ("lists", lists, 1, 4096),
        ("threads", threads, 1, 4096),
    ):
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name} must be {low} to {high}, not {value}")


def _report(folder: Path, fingerprint: bytes, json: bool) -> int:
    facts = {"model": str(folder), "fingerprint": fingerprint.hex()}
    show(to_json(facts) if json else f"{folder}: model {facts['fingerprint']}")
    return 0


def train_wyner_ziv(
    *,
    data: Data,
    out: Out = None,
    objective: Objective = "conditional",
    indices: Indices = 12,
    lmbda: Lmbda = None,
    distortion: Annotated[str, Parameter(help="mse or abs.")] = "mse",
    start: Annotated[
        str, Parameter(help="nested: from a nested lattice; emergent: from nothing.")
    ] = "nested",
    steps: Annotated[int, Parameter(help="Steps of the main stage.")] = 3000,
    lists: Lists = 32,
    seed: int = 0,
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
    json: Json = False,
) -> int:
    """Train the learned Wyner-Ziv codec on pairs; a run that was stopped goes on from its checkpoint.

    An array y of whole numbers with few values is taken as categories, other numbers as numbers.

    For example:

    - `obverse train wyner-ziv --data pairs.npz --out model`
    - then `obverse compress --codec model x.npy`
    - and `obverse decompress x.obv --side-info y.npy --model model`
    """
    from obverse.data.arrays import read_pairs

    check_numbers(seed, lists, threads)
    folder = folder_of(data, out)
    x, y = read_pairs(data)

    from obverse.codecs.wyner_ziv.export_learned import train_model
    from obverse.codecs.wyner_ziv.train_learned import WynerZivRecipe

    set_threads(threads)
    recipe = WynerZivRecipe(
        objective=objective, indices=indices, lmbda=lmbda, distortion=distortion, start=start, steps=steps, seed=seed
    )  # fmt: skip
    return _report(folder, train_model(x, y, folder, recipe, say, lists=lists).fingerprint, json)


def train_wyner_ziv_grid(
    *,
    data: Data,
    out: Out = None,
    objective: Objective = "conditional",
    indices: Indices = 12,
    lmbda: Lmbda = None,
    starts: Annotated[int, Parameter(help="Widths of the intervals to start from.")] = 8,
    lists: Lists = 32,
    seed: int = 0,
    json: Json = False,
) -> int:
    """Design the best non-neural Wyner-Ziv codec of scalars, for squared error, by Lloyd iterations on a grid.

    For example: `obverse train wyner-ziv-grid --data pairs.npz --out model --indices 8`
    """
    from obverse.data.arrays import read_pairs

    check_numbers(seed, lists)
    if not 1 <= starts <= 1000:
        raise UsageError(f"--starts must be 1 to 1000, not {starts}")
    folder = folder_of(data, out)
    x, y = read_pairs(data)

    from obverse.codecs.wyner_ziv.train_grid import GridRecipe, train_grid

    recipe = GridRecipe(objective=objective, indices=indices, lmbda=lmbda, starts=starts, seed=seed)
    return _report(folder, train_grid(x, y, folder, recipe, say, lists=lists).fingerprint, json)


def train_trellis(
    *,
    data: Annotated[Path, Parameter(help="A .npz file with arrays x (n,) and y (n,) or (n, inputs).")],
    out: Annotated[
        Path | None, Parameter(help="Folder for the model; by default yours, under the name of the data.")
    ] = None,
    rate: Annotated[float, Parameter(help="Bits a sample that files should take, from 0.6.")] = 2.0,
    states: Annotated[
        int, Parameter(help="States of the trellis, 4 to 8192: more are better and slower.")
    ] = 1024,
    components: Annotated[int, Parameter(help="Gaussians that make up p(x|y).")] = 4,
    hidden: Annotated[
        int,
        Parameter(
            help="Width of the network that computes p(x|y); 0 for none (with --components 1: linear-Gaussian)."
        ),
    ] = 64,
    steps: Annotated[int, Parameter(help="Training steps of that network.")] = 3000,
    failure: Annotated[
        float, Parameter(help="Share of blocks of 65,536 samples that may fail to decode.")
    ] = 0.005,
    lists: Annotated[
        int, Parameter(help="Paths followed when the code is designed: more take longer, save bits.")
    ] = 32,
    seed: int = 1,
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Train Wyner-Ziv coding near the limit: trellis, p(x|y) learned from pairs, Slepian-Wolf code.

    For example:

    - `obverse train wyner-ziv-trellis --data pairs.npz --rate 1.9 --out model`
    - then `obverse compress --codec model x.npy`
    - and `obverse decompress x.obv --side-info y.npy --model model`
    """
    from obverse.data.arrays import read_pairs

    check_numbers(seed, lists, threads)
    folder = folder_of(data, out)
    if (folder / WEIGHTS).exists() and not force:
        raise OutputExistsError(
            f"{folder} holds a model, whose files could not be read any more; choose another --out, or use --force"
        )
    x, y = read_pairs(data)
    make_folder(folder)

    from obverse.codecs.wyner_ziv.train_trellis import TrellisRecipe, train

    set_threads(threads)
    recipe = TrellisRecipe(
        rate_bits=rate, states=states, components=components, hidden=hidden, steps=steps, failure=failure,
        lists=lists, seed=seed,
    )  # fmt: skip
    model = train(x, y, folder, recipe, say)
    return _report(folder, model.fingerprint, json)
