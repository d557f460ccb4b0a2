"""The commands that make the image model: train, export."""

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
    warmup: Annotated[int, Parameter(help="Steps over which lr rises.")] = 500,
    seed: int = 1,
    by_set: Annotated[
        bool, Parameter(help="Draw a folder first, by the square root of its area.", negative="")
    ] = False,
    scale_low: Annotated[
        float,
        Parameter(help="Reduce half of the patches by up to this factor; 0: one reduced copy an image."),
    ] = 0.0,
    validation: Annotated[
        list[Path] | None,
        Parameter(
            help="Folders to keep images of; may be among --data. All of --data by default.", negative=""
        ),
    ] = None,
    hold_out: Annotated[int, Parameter(help="Keep every so many images for validation.")] = 40,
    warm_start: Annotated[
        str | None, Parameter(help="Begin with the weights of this model, a name or a folder.")
    ] = None,
    fine: Annotated[int, Parameter(help="Residual blocks at 1/8 of the size.")] = 4,
    coarse: Annotated[int, Parameter(help="Residual blocks at 1/16 of the size.")] = 2,
    analysis_fine: Annotated[int | None, Parameter(help="Those of the analysis, if others.")] = None,
    analysis_coarse: Annotated[int | None, Parameter(help="Those of the analysis, if others.")] = None,
    analysis_fine_hidden: Annotated[
        int | None, Parameter(help="Channels inside the fine blocks of the analysis, if others than 112.")
    ] = None,
    validate_every: Annotated[int, Parameter(help="Steps between validations.")] = 1000,
    float32: Annotated[
        bool, Parameter(help="Compute residual branches and prior in float32, not bfloat16.", negative="")
    ] = False,
    device: Device = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train the image codec; a run that was stopped goes on from its checkpoint.

    For example:

    - `obverse train image --data photos/ --out runs/mine`
    - `obverse train image --data photos/ --out runs/mine --warm-start image --lr 5e-4`
    - then `obverse export runs/mine --data photos/ --out zoo/image`
    """
    from obverse.data.patches import image_files

    for folders in (data, validation or []):
        if folders:
            image_files(folders)  # whether there are any, before torch is imported

    from obverse.codecs.image.model import ImageModelConfig
    from obverse.codecs.image.train import ImageRecipe, train
    from obverse.zoo import stored_model

    set_threads(threads)
    recipe = ImageRecipe(
        steps=steps,
        batch=batch,
        patch=patch,
        lr=lr,
        warmup=warmup,
        decay=decay,
        seed=seed,
        bf16=not float32,
        validate_every=validate_every,
        by_set=by_set,
        scale_low=scale_low,
        hold_out=hold_out,
    )
    sizes = ImageModelConfig(
        fine=fine,
        coarse=coarse,
        analysis_fine=analysis_fine,
        analysis_coarse=analysis_coarse,
        analysis_fine_hidden=analysis_fine_hidden,
    )
    start = None if warm_start is None else stored_model(warm_start)
    checkpoint = train(data, out, recipe, sizes, device, validation or [], start)
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
    validation: Annotated[
        list[Path] | None, Parameter(help="The folders given to the training as such.", negative="")
    ] = None,
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
        facts = export_image(checkpoint, data, out, lambda i, n: advance(), validation or [])
    text = f"{out}: model {facts['fingerprint']}, {human(int(str(facts['bytes'])))}"
    show(to_json(facts) if json else text)
    return 0
