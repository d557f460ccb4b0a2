"""The commands that compress with a model of the user's: plug-and-play fit, plug-and-play evaluate."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from obverse.cli.console import UsageError, human, progress_bar, say, to_json
from obverse.cli.console import out as show
from obverse.cli.options import Force, Json, Trust, set_threads, wrong_use
from obverse.cli.reports import check_report
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError
from obverse.zoo import check_new_model

if TYPE_CHECKING:
    from obverse.codecs.plug_and_play.evaluate import TestItem
    from obverse.codecs.plug_and_play.generative_model import GenerativeModel
    from obverse.codecs.plug_and_play.posterior import Posterior

plug_and_play_app = App(
    name="plug-and-play", help="Compress with a generative model that you have trained, at any rate."
)

Model = Annotated[
    str | None,
    Parameter(
        help="A torch module with encode(x) -> (mean, std) and decode(z), as module:name of it or of a function that "
        "returns it; or nothing, for posteriors."
    ),
]
Method = Literal["best", "vbq", "steps", "uniform", "scaled-uniform", "k-means"]
Channels = Annotated[
    Literal[1, 3] | None,
    Parameter(help="The data are images: of 1 (gray) or 3 channels, 0 to 1, as (N, C, H, W)."),
]
Multiple = Annotated[
    int, Parameter(help="Fill up the sides of images to a multiple of this, with their last pixels.")
]
Axis = Annotated[
    int | None,
    Parameter(
        help="Axis of the latents with grid and tables for each index: 1, channels, with a MODEL by default."
    ),
]
Shared = Annotated[
    bool,
    Parameter(
        negative="", help="One grid and table for all latents, in place of one for each index of --axis."
    ),
]
Prior = Annotated[
    Literal["empirical", "normal"],
    Parameter(
        help="empirical: what the means of the data are like; normal: N(0, 1), the prior of most VAEs."
    ),
]
Depth = Annotated[int, Parameter(help="Most bits that a point of vbq's grid has, 6 to 12.")]
Threads = Annotated[int | None, Parameter(help="CPU threads; all by default.")]


@plug_and_play_app.command
def fit(
    model: Model = None,
    /,
    *,
    data: Annotated[
        list[Path],
        Parameter(
            help="What the model was trained on, or is like it: arrays of what encode takes (.npy), with --channels "
            "images or folders of them, or posteriors (.npz with mean and std); repeat for several.",
            negative="",
        ),
    ],
    out: Annotated[Path, Parameter(help="Folder for the model.")],
    channels: Channels = None,
    multiple: Multiple = 1,
    axis: Axis = None,
    shared: Shared = False,
    method: Annotated[
        Method,
        Parameter(help="How latents are quantised; best: by vbq or steps, whichever costs a file less."),
    ] = "best",
    prior: Prior = "empirical",
    depth: Depth = 12,
    threads: Threads = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Fit grids and tables for every rate to a model that you have trained; the model stays as it is.

    For example:

    - `obverse plug-and-play fit my_vae:load --data train.npy --out models/mine`
    - `obverse plug-and-play fit my_vae:load --data photos/ --channels 3 --multiple 16 --out models/mine`
    - `obverse plug-and-play fit --data posteriors.npz --out models/mine`
    - then `obverse compress photo.png --codec models/mine --lmbda 2`
    """
    from obverse.codecs.plug_and_play.codec import PlugModel
    from obverse.codecs.plug_and_play.fit import (
        LADDER,
        build_model,
        count_rungs,
        fit_ladders,
        fit_module,
        save_model,
    )

    _check(multiple, depth, shared, axis)
    set_threads(threads)
    check_new_model(out, force)
    if model is None:
        if channels is not None:
            raise UsageError("--channels is for images: name a MODEL that encodes them")
        posterior = _posteriors(data)
        with progress_bar("fitting", count_rungs(method)) as advance:
            ladders = fit_ladders(posterior, axis, LADDER, method, prior, depth, progress=advance)
        facts = f"Method {method}; fitted to {posterior.mean.size:,} latents."
        stored = save_model(build_model(ladders, posterior.shape, axis=axis), out, facts)
    else:
        module, _ = _module(model)
        batches = list(_batches(data, channels, multiple))
        with progress_bar("fitting", len(batches) + count_rungs(method)) as advance:
            stored = fit_module(
                module, batches, out, axis=None if shared else 1 if axis is None else axis, images=channels,
                multiple=multiple, method=method, prior=prior, depth=depth, progress=advance,
            )  # fmt: skip
    size = sum(path.stat().st_size for path in out.iterdir())
    plug = PlugModel.of(stored)
    rates = len({rung.lmbda for rung in plug.rungs})
    row = {
        "model": str(out), "fingerprint": stored.fingerprint.hex(), "bytes": size, "groups": plug.groups,
        "rates": rates,
    }  # fmt: skip
    text = (
        f"{out}: model {stored.fingerprint.hex()}, {human(size)}; {plug.groups} grids and tables at "
        f"{rates} rates"
    )
    show(to_json(row) if json else text)
    return 0


@plug_and_play_app.command
def convert(
    folder: Annotated[Path, Parameter(help="Of the model.")],
    /,
    *,
    out: Annotated[Path | None, Parameter(help="Folder for the new model; by default the same.")] = None,
    trust: Trust = False,
    force: Force = False,
    json: Json = False,
) -> int:
    """Store the networks of an older model as graphs, which cannot run code when they are loaded.

    For example:

    - `obverse plug-and-play convert models/mine --trust`
    """
    from obverse.codecs.plug_and_play.convert import convert as converted

    if out is not None:
        check_new_model(out, force or out.resolve() == folder.resolve())
    model = converted(folder, out, trust=trust)
    row = {
        "model": str(out or folder),
        "fingerprint": model.fingerprint.hex(),
        "replaces": model.config["replaces"],
    }
    show(
        to_json(row)
        if json
        else f"{row['model']}: model {row['fingerprint']}, reads files of {row['replaces'][0]}"
    )
    return 0


@plug_and_play_app.command
def evaluate(
    model: Model = None,
    /,
    *,
    data: Annotated[
        list[Path], Parameter(help="What is compressed: of the kind that `fit` takes.", negative="")
    ],
    fit_to: Annotated[
        list[Path] | None,
        Parameter(
            name="--fit",
            help="What grids and tables are fitted to, with a MODEL: its training data.",
            negative="",
        ),
    ] = None,
    lmbda: Annotated[
        list[float] | None, Parameter(help="Repeat for several; by default 1/16 to 256.", negative="")
    ] = None,
    method: Annotated[
        list[Method] | None, Parameter(help="Repeat for several; by default all.", negative="")
    ] = None,
    channels: Channels = None,
    multiple: Multiple = 1,
    axis: Axis = None,
    shared: Shared = False,
    prior: Prior | None = None,
    depth: Depth | None = None,
    out: Annotated[Path, Parameter(help="Folder for the CSV file and the plot.")] = Path("report"),
    threads: Threads = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Rate and distortion of real files at several lmbdas: the best of vbq and steps beside other quantisation.

    For example:

    - `obverse plug-and-play evaluate my_vae:load --fit train.npy --data test.npy --out report/`
    - `obverse plug-and-play evaluate --data posteriors.npz --lmbda 0.1 --lmbda 1 --lmbda 10`
    """
    from dataclasses import asdict

    from obverse.codecs.plug_and_play.evaluate import FILES, LMBDAS, bd_rates, measure, table, write_report
    from obverse.codecs.plug_and_play.fit import (
        BEST,
        LADDER,
        METHODS,
        VBQ,
        build_model,
        fit_ladders,
        posterior_of,
    )
    from obverse.codecs.plug_and_play.quantiser import check_lmbda

    _check(multiple, depth or 12, shared, axis)
    set_threads(threads)
    check_report(out, FILES, [*data, *(fit_to or ())], force)
    lmbdas = list(lmbda or LMBDAS)
    with wrong_use(("lmbda",)):
        for value in lmbdas:
            check_lmbda(value)
    methods: list[str] = [*method] if method else [BEST, *METHODS]
    models: dict[str, Any] = {}
    options: dict[str, dict[str, Any]] = {}
    if model is None:
        if fit_to is not None or channels is not None:
            raise UsageError(
                "--fit and --channels go with a MODEL: files of posteriors bring their own tables"
            )
        items = [_item(None, _posteriors([path]), None) for path in data]
        for name in methods:
            models[name] = None
            options[name] = {"method": None if name == BEST else name, "axis": axis}
            if name == VBQ:
                options[name] |= {"prior": prior, "depth": depth}
    else:
        if not fit_to:
            raise UsageError("--fit is needed with a MODEL: what grids and tables are fitted to")
        module, made = _module(model)
        posterior = posterior_of(made.posterior, _batches(fit_to, channels, multiple))
        axis = None if shared else 1 if axis is None else axis
        from obverse.codecs.plug_and_play.export import exported

        networks = exported(module, next(_batches(data, channels, multiple)))
        items = _items(made, data, channels, multiple)
        rungs = sorted({*LADDER, *lmbdas})
        with progress_bar("fitting", len(methods)) as advance:
            for name in methods:
                ladders = fit_ladders(posterior, axis, rungs, name, prior or "empirical", depth or 12)
                models[name] = build_model(ladders, posterior.shape, axis=axis, networks=networks)
                advance()
    with progress_bar("measuring", len(methods) * len(lmbdas)) as advance:
        rows = measure(
            models, items, lmbdas, 1.0 if channels else math.inf, progress=advance, options=options
        )
    rates = bd_rates(rows, "uniform")
    paths = write_report(rows, out)
    if json:
        show(to_json({"rows": [asdict(row) for row in rows], "bd_rates_against_uniform": rates}))
    else:
        show(table(rows))
        for name, percent in rates.items():
            show(f"BD-rate of {name} against uniform: {percent:+.1f} %")
    for path in paths.values():
        say(f"wrote {path}")
    return 0


# -- data ---------------------------------------------------------------------------------------------------------


def _check(multiple: int, depth: int, shared: bool, axis: int | None) -> None:
    if not 1 <= multiple <= 4096:
        raise UsageError(f"--multiple must be 1 to 4096, not {multiple}")
    if not 6 <= depth <= 12:
        raise UsageError(f"--depth must be 6 to 12, not {depth}")
    if shared and axis is not None:
        raise UsageError("give one of --shared and --axis")


def _module(source: str) -> tuple[Any, GenerativeModel]:
    from obverse.codecs.plug_and_play.generative_model import model_of, of_module

    module = model_of(source)
    return module, of_module(module)


def _posteriors(paths: list[Path]) -> Posterior:
    import numpy as np

    from obverse.codecs.plug_and_play.posterior import Posterior
    from obverse.data.posteriors import read_posterior

    found = [Posterior.of(**read_posterior(path)) for path in paths]
    if len({one.shape[1:] for one in found}) > 1:
        raise InputError("the posteriors differ in shape beyond their first axis: fit to those of one model")
    return Posterior(*(np.concatenate([getattr(one, name) for one in found]) for name in ("mean", "std")))


def _files(paths: list[Path]) -> list[Path]:
    """The images among these files and folders. Raises InputError."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [file for file in inside if file.suffix.lower() in IMAGE_SUFFIXES]
    if not found:
        raise InputError(f"no images under {', '.join(map(str, paths))}")
    return found


def _arrays(paths: list[Path]) -> Iterator[Any]:
    """Arrays (N, ...) of float32. Raises InputError."""
    import numpy as np

    from obverse.data.arrays import read_array

    for path in paths:
        if path.is_dir():
            raise InputError(f"{path} is a folder: arrays are .npy files; for images give --channels")
        array = read_array(path)
        if array.dtype.kind not in "fiub" or array.ndim < 2 or not len(array):
            raise InputError(
                f"{path} holds {array.dtype} of shape {array.shape}: an array (N, ...) of numbers is wanted"
            )
        if not np.isfinite(array).all():
            raise InputError(f"{path} holds NaN or infinite values; replace them first")
        yield array.astype(np.float32)


def _images(paths: list[Path], channels: int, multiple: int) -> Iterator[tuple[Any, Any]]:
    """Images as batches of one, filled up, and the batch without the filling."""
    from obverse.codecs.plug_and_play.codec import image_batch
    from obverse.data.images import read_photo

    for file in _files(paths):
        pixels = read_photo(file).pixels
        yield image_batch(pixels, channels, multiple), image_batch(pixels, channels, 1)


def _batches(paths: list[Path], channels: int | None, multiple: int) -> Iterator[Any]:
    from obverse.codecs.plug_and_play.decoded_error import BATCH

    if channels is not None:
        yield from (batch for batch, _ in _images(paths, channels, multiple))
        return
    for array in _arrays(paths):
        yield from (array[first : first + BATCH] for first in range(0, len(array), BATCH))


def _items(made: GenerativeModel, paths: list[Path], channels: int | None, multiple: int) -> list[TestItem]:
    from obverse.codecs.plug_and_play.decoded_error import BATCH
    from obverse.codecs.plug_and_play.fit import posterior_of

    if channels is not None:
        return [
            _item(plain, made.posterior(batch), plain.shape[2] * plain.shape[3])
            for batch, plain in _images(paths, channels, multiple)
        ]
    return [
        _item(
            array,
            posterior_of(
                made.posterior, (array[first : first + BATCH] for first in range(0, len(array), BATCH))
            ),
            None,
        )
        for array in _arrays(paths)
    ]


def _item(data: Any, posterior: Posterior, pixels: int | None) -> TestItem:
    from obverse.codecs.plug_and_play.evaluate import TestItem

    return TestItem(data, posterior, pixels)
