"""The command that trains the bits-back codec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from obverse.cli.console import UsageError, say
from obverse.cli.options import Device, set_threads


def train_vae(
    *,
    data: Annotated[
        list[Path],
        Parameter(
            help="Sets of gray images of one size: a .npy array (n, H, W), an IDX file, or a folder; repeat for "
            "several.",
            negative="",
        ),
    ],
    out: Annotated[Path, Parameter(help="Folder for checkpoint, recipe, logs, and the model.")],
    steps: Annotated[int, Parameter(help="Training steps in all.")] = 13_000,
    binary: Annotated[
        bool,
        Parameter(
            help="Train on binary images, each pixel drawn with its value as probability.", negative=""
        ),
    ] = False,
    levels: Annotated[int, Parameter(help="Values of a pixel; 2 for images of 0 and 1.")] = 256,
    components: Annotated[int, Parameter(help="Logistics in the mixture of a pixel.")] = 4,
    local: Annotated[
        int, Parameter(help="Channels of the lower latent layer; 0 for the upper one alone.")
    ] = 6,
    top: Annotated[int, Parameter(help="Numbers in the upper latent layer.")] = 32,
    channels: Annotated[int, Parameter(help="Channels of the networks at a quarter of the size.")] = 64,
    shift: Annotated[int, Parameter(help="Move images by up to so many pixels; for small sets.")] = 0,
    lr: Annotated[float, Parameter(help="Learning rate of Adam, before its fall.")] = 2e-3,
    seed: int = 1,
    device: Device = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train the bits-back codec on a set of images; a run that was stopped goes on from its checkpoint.

    For example:

    - `obverse train vae --data train-images-idx3-ubyte.gz --out runs/digits`
    - then `obverse compress images.npy --codec runs/digits/model`
    """
    for name, value, low, high in (
        ("seed", seed, 0, 2**32 - 1), ("steps", steps, 1, 10**9), ("threads", threads, 1, 4096),
    ):  # fmt: skip
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name} must be {low} to {high}, not {value}")

    from obverse.codecs.vae.export import export_vae
    from obverse.codecs.vae.networks import VaeConfig
    from obverse.codecs.vae.train import AS_IS, STOCHASTIC, VaeRecipe, read_gray_sets, train

    set_threads(threads)
    height, width = read_gray_sets(data).shape[1:]
    binary = binary or levels == 2
    config = VaeConfig(
        height, width, levels=2 if binary else levels, components=1 if binary else components, local=local, top=top,
        channels=channels,
    )  # fmt: skip
    kind = STOCHASTIC if binary and levels != 2 else AS_IS
    recipe = VaeRecipe(steps=steps, lr=lr, seed=seed, shift=shift, binarise=kind)
    checkpoint = train(data, out, recipe, config, device)
    facts = export_vae(checkpoint, data, out / "model")
    say(f"trained: {out / 'model'}, model {facts['fingerprint']}, {facts['net rate']} bits a pixel")
    return 0
