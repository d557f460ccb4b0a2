"""The commands that make the image model: train, export. `app.py` registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from obverse.cli.console import human, progress_bar, say, to_json
from obverse.cli.options import Device, Json, set_threads


def train_image(
    *,
    data: Annotated[list[Path], Parameter(help="Folders of photos; repeat for several.", negative="")],
    out: Annotated[Path, Parameter(help="Folder for checkpoint, recipe and logs.")],
    steps: Annotated[int, Parameter(help="Training steps in all.")] = 40_000,
    batch: Annotated[int, Parameter(help="Patches a step.")] = 8,
    patch: Annotated[int, Parameter(help="Side of a patch in pixels, a multiple of 64.")] = 128,
    lr: Annotated[float, Parameter(help="Learning rate of Adam, before its fall at the end.")] = 1e-3,
    decay: Annotated[float, Parameter(help="Last part of the steps, over which lr falls to 0.")] = 0.3,
    seed: int = 1,
    device: Device = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train the image codec; a run that was stopped goes on from its checkpoint.

    For example:

    - `obverse train image --data photos/ --out runs/mine`
    - then `obverse export runs/mine --data photos/ --out zoo/image`
    """
    from obverse.data.patches import image_files

    image_files(data)  # whether there are any, before torch is imported

    from obverse.codecs.image.model import ImageModelConfig
    from obverse.codecs.image.train import ImageRecipe, train

    set_threads(threads)
    recipe = ImageRecipe(steps=steps, batch=batch, patch=patch, lr=lr, decay=decay, seed=seed)
    checkpoint = train(data, out, recipe, ImageModelConfig(), device)
    say(f"trained: {checkpoint}")
    return 0


def export(
    run: Annotated[Path, Parameter(help="A training folder, or its checkpoint.")],
    /,
    *,
    data: Annotated[
        list[Path], Parameter(help="The folders trained on, to calibrate integer ranges.", negative="")
    ],
    out: Annotated[Path, Parameter(help="Folder for the model: weights, config, card.")],
    json: Json = False,
) -> int:
    """Turn a training run into the model that ships: integer tables, exact networks, a card.

    For example:

    - `obverse export runs/mine --data photos/ --out zoo/image`
    - then `OBVERSE_ZOO=zoo obverse compress photo.png`
    """
    from obverse.cli.console import out as show
    from obverse.codecs.image.export import export_image

    checkpoint = run / "checkpoint.pt" if run.is_dir() else run
    with progress_bar("calibrating", 48) as advance:
        facts = export_image(checkpoint, data, out, lambda i, n: advance())
    text = f"{out}: model {facts['fingerprint']}, {human(int(str(facts['bytes'])))}"
    show(to_json(facts) if json else text)
    return 0
