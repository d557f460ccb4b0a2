"""The command that trains the integer flow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from obverse.cli.console import say
from obverse.cli.options import Device, set_threads


def train_flow(
    *,
    data: Annotated[
        Path, Parameter(help="32x32 colour images: a .npy array (n, 32, 32, 3), or a folder of image files.")
    ],
    out: Annotated[Path, Parameter(help="Folder for checkpoint, recipe, logs, and the model.")],
    photos: Annotated[
        list[Path] | None,
        Parameter(
            help="Folders of photos, crops of which are trained on too, scaled down; repeat for several.",
            negative="",
        ),
    ] = None,
    steps: Annotated[int, Parameter(help="Training steps in all.")] = 9000,
    validation: Annotated[
        int, Parameter(help="Images at the end of the data that are not trained on.")
    ] = 256,
    lr: Annotated[float, Parameter(help="Learning rate of Adam, before its fall at the end.")] = 3e-3,
    decay: Annotated[float, Parameter(help="Last part of the steps, over which lr falls to 0.")] = 0.4,
    batch: Annotated[int, Parameter(help="Images of a step.")] = 32,
    seed: int = 1,
    device: Device = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train the integer flow; a run that was stopped goes on from its checkpoint.

    For example:

    - `obverse train flow --data images.npy --photos photos/ --out runs/flow`
    - then `obverse compress others.npy --codec runs/flow/model`
    - and `obverse decompress others.obv --model runs/flow/model`
    """
    from obverse.data.image_sets import read_image_set
    from obverse.data.patches import image_files

    images = read_image_set(data)  # whether there are any, before torch is imported
    if photos:
        image_files(photos)

    from obverse.codecs.flow.export import export_flow
    from obverse.codecs.flow.train import FlowRecipe, train

    set_threads(threads)
    recipe = FlowRecipe(steps=steps, batch=batch, lr=lr, decay=decay, validation=validation, seed=seed)
    checkpoint = train(images, photos or [], out, recipe, device_name=device)
    facts = export_flow(checkpoint, images, out / "model", validation=validation)
    say(
        f"trained: {out / 'model'}, model {facts['fingerprint']}, {facts['exact_rate']:.3f} bits per dimension on "
        "images that were kept out"
    )
    return 0
