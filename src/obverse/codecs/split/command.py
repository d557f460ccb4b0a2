"""The commands of split computing: split export, and train split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from obverse.cli.console import UsageError, human, out, say, to_json
from obverse.cli.options import Device, Force, Json, set_threads

split_app = App(name="split", help="Split a model into the half for a device and the half for a server.")

DEVICE_FILE, SERVER_FILE = "device.safetensors", "server.safetensors"


@split_app.command(name="export")
def split_export(
    model: Annotated[
        str, Parameter(help="Name or folder of a split model; the shipped one by default.")
    ] = "split",
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"], help="Folder for the two files.")],
    force: Force = False,
    json: Json = False,
) -> int:
    """Write the two halves of a split model, each a file that is loaded alone.

    For example:

    - `obverse split export -o halves` writes halves/device.safetensors and halves/server.safetensors
    - `obverse split export runs/split/model -o halves`
    """
    from obverse.codecs.split.codec import SplitCodec
    from obverse.errors import ModelError, OutputError, OutputExistsError
    from obverse.registry import open_codec

    codec = open_codec(model)
    if not isinstance(codec, SplitCodec):
        raise ModelError(f"{model} is a model of the codec {codec.id!r}: only split models have two halves")
    targets = {output / DEVICE_FILE: codec.device, output / SERVER_FILE: codec.server}
    for target, half in targets.items():
        if target.exists() and not force:  # both are checked before one is written
            raise OutputExistsError(f"{target} exists; use --force to overwrite it")
        half.check()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {output} cannot be made: {error.strerror}") from error
    rows = [
        {"half": half.kind, "output": str(target), "bytes_out": half.store(target, overwrite=force),
         "model": codec.fingerprint.hex()}
        for target, half in targets.items()
    ]  # fmt: skip
    if json:
        out(to_json(rows))
    else:
        for row in rows:
            out(f"{row['output']}: {human(int(row['bytes_out']))}, model {row['model']}")
    return 0


def train_split(
    *,
    data: Annotated[
        Path,
        Parameter(
            help="Square RGB images of one size: a folder of folders named as classes, a folder, or a .npy."
        ),
    ],
    out: Annotated[Path, Parameter(help="Folder for teacher, checkpoints, recipes, logs, and the model.")],
    labels: Annotated[
        Path | None, Parameter(help="A number for each image (.npy, .csv, IDX), where folders do not say it.")
    ] = None,
    objective: Annotated[
        Literal["distil", "end-to-end"],
        Parameter(help="Learn from the teacher's features, or from labels alone."),
    ] = "distil",
    beta: Annotated[
        float, Parameter(help="Distortion that a nat of an image's rate is worth: larger, fewer bytes.")
    ] = 2e-3,
    reconstruct: Annotated[
        float | None,
        Parameter(
            help="Give the model a second head that paints the image, and let the encoder heed it so much."
        ),
    ] = None,
    codes: Annotated[int, Parameter(help="Channels of the code.")] = 48,
    teacher_steps: Annotated[int, Parameter(help="Training steps of the teacher.")] = 2200,
    steps: Annotated[int, Parameter(help="Training steps of the student.")] = 3000,
    batch: Annotated[int, Parameter(help="Images of a student's step.")] = 64,
    width: Annotated[
        int, Parameter(help="Channels of the teacher's stem; its layers have 3, 6 and 12 times more.")
    ] = 16,
    bf16: Annotated[
        bool, Parameter(help="Train in bfloat16 where that is exact enough.", negative="")
    ] = False,
    seed: int = 1,
    device: Device = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train a teacher and a split model that imitates it; a run that was stopped goes on from its checkpoints.

    For example:

    - `obverse train split --data photos/ --out runs/split`, where photos/ has a folder for each class
    - `obverse train split --data images.npy --labels labels.npy --out runs/split --beta 0.004`
    - then `obverse split export runs/split/model -o halves`
    """
    for name, value, low, high in (
        ("beta", beta, 0, 1e9), ("reconstruct", reconstruct, 0, 1e9), ("codes", codes, 1, 2048),
        ("teacher-steps", teacher_steps, 1, 10**9), ("steps", steps, 1, 10**9), ("batch", batch, 2, 10**6),
        ("width", width, 1, 128), ("seed", seed, 0, 2**32 - 1),
    ):  # fmt: skip
        if value is not None and not low <= value <= high:
            raise UsageError(f"--{name} must be {low:g} to {high:g}, not {value:g}")
    from obverse.data.labelled import read_labelled
    from obverse.errors import InputError

    found = read_labelled(data, labels)
    if found.labels is None:
        raise InputError(
            f"{data} does not say the classes of its images: give --labels, or a folder for each class"
        )
    images = found.whole()

    from obverse.codecs.split.export import export_split
    from obverse.codecs.split.images import LabelledImages, split_off
    from obverse.codecs.split.networks import SplitConfig
    from obverse.codecs.split.resnet import ResNetConfig
    from obverse.codecs.split.teacher import TeacherRecipe, load_teacher, train_teacher
    from obverse.codecs.split.train import SplitRecipe, train

    set_threads(threads)
    learned, held_out = split_off(LabelledImages(images, found.labels))
    # the network sees some 32 places a side, whatever the size of the images
    stride = max(1, learned.side // 32)
    widths = (width, 3 * width, 6 * width, 12 * width)
    network = ResNetConfig(learned.side, max(learned.classes, held_out.classes), stride, widths)
    config = SplitConfig(
        network, codes=codes, strides=(2 * stride, 2, 2), reconstructs=reconstruct is not None
    )
    recipe = SplitRecipe(objective, beta, steps, batch, reconstruct=reconstruct or 0.0, seed=seed, bf16=bf16)
    SplitConfig.from_dict(config.as_dict())  # refused before a teacher is trained
    teaching = TeacherRecipe(teacher_steps, seed=seed, bf16=bf16)
    teacher = load_teacher(train_teacher(learned, held_out, out / "teacher", teaching, network, device))
    checkpoint = train(learned, held_out, teacher, out, recipe, config, device)
    model = export_split(checkpoint, held_out, out / "model")
    say(
        f"trained: {out / 'model'}, model {model.fingerprint.hex()}, {model.config['rate_bits']} bits an image"
    )
    return 0
