"""The command that trains the lossless image codec."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from obverse.cli.console import say
from obverse.cli.options import Device, set_threads


def train_image_lossless(
    *,
    data: Annotated[list[Path], Parameter(help="Folders of photos; repeat for several.", negative="")],
    out: Annotated[Path, Parameter(help="Folder for checkpoint, recipe and logs.")],
    steps: Annotated[int, Parameter(help="Training steps in all.")] = 30_000,
    batch: Annotated[int, Parameter(help="Pixels a step, for each network.")] = 4096,
    share: Annotated[float, Parameter(help="Share of the pixels of a photo that are trained on.")] = 0.15,
    seed: int = 1,
    device: Device = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train the lossless image codec; a run that was stopped goes on from its checkpoint.

    For example:

    - `obverse train image-lossless --data photos/ --out runs/lossless`
    - then `obverse compress photo.png --codec runs/lossless/model`
    """
    set_threads(threads)
    from obverse.data.patches import image_files, split_files

    split_files(image_files(data))  # whether there are any, before torch is imported

    from obverse.codecs.image_lossless.export import export_image_lossless
    from obverse.codecs.image_lossless.train import RasterRecipe, train

    recipe = RasterRecipe(steps=steps, batch=batch, share=share, half_share=min(1.0, 2 * share), seed=seed)
    model = export_image_lossless(train(data, out, recipe, device), data, out / "model")
    say(f"trained: {out / 'model'}, model {model.fingerprint.hex()}")
    return 0
