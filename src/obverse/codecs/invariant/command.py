"""The command that trains codes for tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from obverse.cli.console import UsageError, say
from obverse.cli.options import Device, set_threads


def train_invariant(
    *,
    data: Annotated[
        list[Path],
        Parameter(
            help="Sets of gray images of one size (a .npy array (n, H, W), an IDX file, or a folder), or of points of "
            "the plane (a .npy array (n, 2)); repeat for several.",
            negative="",
        ),
    ],
    out: Annotated[Path, Parameter(help="Folder for checkpoint, recipe, logs, and the model.")],
    objective: Annotated[
        Literal["vic", "vc", "bince"],
        Parameter(
            help="vic decodes to the item without its change, vc to what was put in, bince tells items apart."
        ),
    ] = "vic",
    beta: Annotated[
        float,
        Parameter(
            help="Distortion that a nat of rate is worth: larger, fewer bits. Distortions are nats for images and for "
            "bince, squared errors for points."
        ),
    ] = 1.0,
    codes: Annotated[int, Parameter(help="Numbers that stand for an item.")] = 32,
    width: Annotated[
        int | None,
        Parameter(
            help="Channels of the first layer (images, by default 16), or units of a layer (points, by default 64)."
        ),
    ] = None,
    clusters: Annotated[
        int | None,
        Parameter(
            help="Heaps of codes with tables of their own, so that codes take fewer bits (images, by default 64; "
            "points, by default 1)."
        ),
    ] = None,
    steps: Annotated[int, Parameter(help="Training steps in all.")] = 10_000,
    batch: Annotated[int, Parameter(help="Items of a step.")] = 128,
    lr: Annotated[float, Parameter(help="Learning rate of Adam, before its fall.")] = 1e-3,
    anneal: Annotated[float, Parameter(help="Share of the steps over which beta rises.")] = 0.25,
    degrees: Annotated[float, Parameter(help="Images mean the same turned by up to so much.")] = 30.0,
    shear: Annotated[float, Parameter(help="Images mean the same sheared by up to so many degrees.")] = 10.0,
    translate: Annotated[
        float, Parameter(help="Images mean the same moved by up to this share of their side.")
    ] = 0.1,
    scale: Annotated[
        tuple[float, float], Parameter(help="Images mean the same scaled between these two.")
    ] = (0.8, 1.2),
    flip: Annotated[
        bool, Parameter(help="Images mean the same mirrored left to right.", negative="")
    ] = False,
    upright: Annotated[
        bool,
        Parameter(
            help="For vic: decode to images set upright, in the middle and in one size, not as they were found: fewer "
            "bits, where it does not matter how they lie.",
            negative="",
        ),
    ] = False,
    seed: int = 1,
    device: Device = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train a code that keeps what tasks need; a run that was stopped goes on from its checkpoint.

    Images mean the same when turned, sheared, scaled or moved a little, points of the plane at any angle about the
    origin. For example:

    - `obverse train invariant --data train-images-idx3-ubyte.gz --out runs/digits`
    - then `obverse compress images.npy --codec runs/digits/model`, whose .npy holds the decoded codes
    """
    for name, value, low, high in (
        ("seed", seed, 0, 2**32 - 1), ("steps", steps, 1, 10**9), ("threads", threads, 1, 4096),
        ("codes", codes, 1, 4096), ("width", width, 1, 4096), ("batch", batch, 2, 10**6), ("beta", beta, 0, 1e9),
        ("anneal", anneal, 0, 1), ("clusters", clusters, 1, 1024),
    ):  # fmt: skip
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name} must be {low} to {high}, not {value}")

    from obverse.codecs.invariant.export import export_invariant
    from obverse.codecs.invariant.networks import InvariantConfig
    from obverse.codecs.invariant.sources import Affine, read_sources
    from obverse.codecs.invariant.train import InvariantRecipe, objective_of, train

    set_threads(threads)
    source, held_out = read_sources(data, Affine(degrees, shear, translate, scale, flip), upright)
    units = width or (16 if len(source.shape) == 2 else 64)
    heaps = clusters or (64 if len(source.shape) == 2 else 1)
    config = InvariantConfig(source.shape, codes, units, objective_of(objective).decodes, heaps)
    recipe = InvariantRecipe(objective, beta, steps, batch, lr, anneal=anneal, seed=seed)
    checkpoint = train(source, held_out, out, recipe, config, device)
    model = export_invariant(checkpoint, held_out, out / "model")
    say(
        f"trained: {out / 'model'}, model {model.fingerprint.hex()}, {model.config['rate_bits']} bits an item"
    )
    return 0
