"""The command that trains the trellis Wyner-Ziv codec. `app.py` registers it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from obverse.cli.batch import make_folder
from obverse.cli.console import out as show
from obverse.cli.console import say, to_json
from obverse.cli.options import Force, Json, set_threads
from obverse.cli.wyner_ziv import check_numbers, folder_of
from obverse.errors import OutputExistsError
from obverse.zoo import WEIGHTS


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
    facts = {"model": str(folder), "fingerprint": model.fingerprint.hex()}
    show(to_json(facts) if json else f"{folder}: model {facts['fingerprint']}")
    return 0
