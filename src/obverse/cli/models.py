"""The commands that make models and measure them: train, export, evaluate. `app.py` registers them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

import obverse
from obverse.cli.console import human, progress_bar, say, to_json
from obverse.cli.options import IMAGE_SUFFIXES, Json
from obverse.errors import InputError


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
    device: Annotated[str, Parameter(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train the image codec; a run that was stopped goes on from its checkpoint.

    For example:

    - `obverse train image --data photos/ --out runs/mine`
    - then `obverse export runs/mine --data photos/ --out zoo/image`
    """
    from obverse.data.patches import image_files

    image_files(data)  # whether there are any, before torch is imported

    import torch

    from obverse.training.image import ImageRecipe, train
    from obverse.training.image_model import ImageModelConfig

    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
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
    from obverse.training.export import export_image

    checkpoint = run / "checkpoint.pt" if run.is_dir() else run
    with progress_bar("calibrating", 48) as advance:
        facts = export_image(checkpoint, data, out, lambda i, n: advance())
    text = f"{out}: model {facts['fingerprint']}, {human(int(str(facts['bytes'])))}"
    show(to_json(facts) if json else text)
    return 0


def evaluate(
    inputs: Annotated[list[Path], Parameter(help="Images, or folders of them.")],
    /,
    *,
    codec: Annotated[str, Parameter(help="Codec id; `obverse list` shows them.")] = "image",
    against: Annotated[
        str, Parameter(help="Peers, comma-separated: jpeg, webp, avif, jxl.")
    ] = "jpeg,webp,avif",
    out: Annotated[Path, Parameter(help="Folder for the CSV files and the plot.")] = Path("report"),
    ms_ssim: Annotated[bool, Parameter(help="Measure MS-SSIM as well as PSNR.")] = True,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print the results as JSON.")] = False,
) -> int:
    """Compare a codec with others on real files: rates, PSNR, MS-SSIM, BD-rates, a plot.

    For example: `obverse evaluate kodak/ --codec image --against jpeg,webp,avif,jxl --out report/`
    """
    from dataclasses import asdict

    from obverse.cli.console import out as show
    from obverse.evaluation import Failure, bd_rates, markdown_table, summarise, write_report
    from obverse.evaluation import evaluate as measure

    obverse.open_codec(codec)  # whether it is there, before anything is measured
    peers = tuple(name.strip() for name in against.split(",") if name.strip())
    files: list[Path] = []
    for path in inputs:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [file for file in found if file == path or file.suffix.lower() in IMAGE_SUFFIXES]
    if not files:
        raise InputError(f"no images under {', '.join(map(str, inputs))}")

    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"measured {done} of {total}")

    failures: list[Failure] = []
    rows = measure(files, codec, against=peers, ms_ssim=ms_ssim, progress=progress, failures=failures)
    for failure in failures:
        text = str(failure.error)
        say(f"error: {text}" if str(failure.path) in text else f"error: {failure.path}: {text}")
    paths = write_report(rows, out)
    rates = [rate for rate in bd_rates(rows) if rate.test == codec]
    if json:
        results: dict[str, list[Any]] = {"summary": summarise(rows), "bd_rates": rates}
        show(to_json({name: [asdict(item) for item in items] for name, items in results.items()}))
    else:
        show(markdown_table(rows))
        for rate in rates:
            show(f"BD-rate ({rate.metric}) of {rate.test} against {rate.anchor}: {rate.percent:+.1f} %")
    for path in paths.values():
        say(f"wrote {path}")
    return InputError.exit_code if failures else 0
