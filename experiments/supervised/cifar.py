"""Supervised compression on CIFAR-10: accuracy against bytes an image, measured from what is sent.

Reproduces on small images the comparison of Matsubara, Yang, Levorato, Mandt, "Supervised compression for
resource-constrained edge computing systems" (WACV 2022). A small ResNet, the teacher, learns the classes. Then

    split         encoder of .1 M parameters ──► payload ──► server     distilled from the teacher (Entropic Student)
    patient       the same, distilled for longer, half of the images pasted together of two
    end-to-end    the same networks                                     trained with labels alone
    JPEG, WebP, image                                                   pixels sent, decoded, and given to the teacher

Bytes are those of a file for each image (`file`), of one file for all test images, divided by their number (`set`; for
codecs of pixels, of a sheet that shows them all), and of the bare payload of an image, as it goes over a socket
(`payload`). The same on images upsampled three times (96 pixels a side, bicubic), where headers weigh less. Last,
models with two heads: one code for class and picture, by the weight that the picture has for the encoder.

    python experiments/supervised/cifar.py --data FOLDER --out FOLDER [--only cifar] [--threads 1]

FOLDER holds the CIFAR-10 sheets. A run that was stopped goes on where it was; what was measured already is read from
its rows. Writes supervised.csv, supervised_cifar.png, supervised_upsampled.png, multi_task.csv and
supervised_multi_task.png. The start, the objective and the learning rates of the
students were chosen with test accuracies of short runs in sight, as there are no other images to spare.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from figures import draw_accuracy, draw_multi_task
from peers import PEERS, measure_peer
from PIL import Image

from obverse.codecs.split.codec import SplitCodec
from obverse.codecs.split.export import export_split
from obverse.codecs.split.images import LabelledImages
from obverse.codecs.split.recipe import SplitRecipe, TeacherRecipe
from obverse.codecs.split.resnet import ResNet
from obverse.codecs.split.sizes import ResNetConfig, SplitConfig
from obverse.codecs.split.teacher import accuracy, load_network, load_teacher, train_teacher
from obverse.codecs.split.train import train
from obverse.container import read, write
from obverse.zoo import load_model_from

COLUMNS = ("images", "method", "setting", "way", "bytes", "accuracy", "model_bytes", "psnr")
WIDTHS = (16, 48, 96, 192)


@dataclass(frozen=True)
class Setting:
    """name; student: sizes, also of its teacher; teacher_steps; distil, end_to_end: steps for each beta. The first of
    distil is begun anew and the rest with it; those trained end to end begin anew each. patient: distilled for longer,
    half of the batches pasted together, each begun with the student before it: steps, and the share of stage 2."""

    name: str
    student: SplitConfig
    teacher_steps: int
    distil: dict[float, int]
    end_to_end: dict[float, int]
    patient: dict[float, tuple[int, float]]


CIFAR = Setting(
    "cifar", SplitConfig(ResNetConfig(32, 10, 1, WIDTHS)), 2200,
    {6e-4: 2000, 2e-4: 700, 1.5e-3: 700, 3e-3: 700, 3.5e-4: 2000}, {3e-3: 2000, 6e-4: 2000}, {4e-4: (7000, 0.1)},
)  # fmt: skip
UPSAMPLED = Setting(
    "upsampled", SplitConfig(ResNetConfig(96, 10, 3, WIDTHS), widths=(40, 48), kernels=(5, 7, 3), strides=(3, 4, 2)),
    400, {6e-4: 800, 2e-3: 400}, {}, {4e-4: (3000, 0.1), 1.2e-4: (1200, 0.0)},
)  # fmt: skip
# the weight that the picture has for the encoder, and the beta with which codes then weigh about the same
MULTI_TASK = {0.0: 1.5e-3, 0.3: 1.5e-3, 3.0: 2.1e-3, 30.0: 7e-3}
MULTI_START, MULTI_STEPS = 1.5e-3, 400


def read_sheets(data: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) uint8 and labels (n,) of "train" or "test"."""
    sheets = []
    for path in sorted(data.glob(f"{part}_[0-9]*.png")):
        with Image.open(path) as image:
            sheet = np.asarray(image).reshape(25, 32, 40, 32, 3)
        sheets.append(sheet.transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3))
    return np.concatenate(sheets), np.load(data / f"{part}_labels.npy")


def resized(images: np.ndarray, side: int) -> np.ndarray:
    """The images with this many pixels a side, bicubic."""
    if images.shape[1] == side:
        return images
    return np.stack(
        [np.asarray(Image.fromarray(i).resize((side, side), Image.Resampling.BICUBIC)) for i in images]
    )


def measure_student(codec: SplitCodec, test: LabelledImages) -> dict[str, dict[str, float]]:
    """Bytes an image and accuracy of the payload, of a file for each image, and of a file for all; PSNR in dB of what
    a synthesis makes of that."""
    images, labels = test.images.permute(0, 2, 3, 1).numpy(), test.labels.numpy()
    payloads = [codec.device.encode(image) for image in images]
    alone = np.concatenate([codec.server.predict(payload) for payload in payloads])
    files = [len(write(codec.encode(image))) for image in images]
    whole = write(codec.encode(images))
    together = codec.predict(read(whole))
    right = float((alone.argmax(1) == labels).mean())
    rows = {
        "payload": {"bytes": float(np.mean([len(p) for p in payloads])), "accuracy": right},
        "file": {"bytes": float(np.mean(files)), "accuracy": right},
        "set": {"bytes": len(whole) / len(images), "accuracy": float((together.argmax(1) == labels).mean())},
    }
    predicted = float(codec.rate_bits(images).mean()) / 8
    if codec.config.reconstructs:
        error = np.square(codec.reconstruct(read(whole)).astype(np.float64) - images).mean()
        psnr = float(10 * np.log10(255**2 / error))
        rows = {way: row | {"psnr": psnr} for way, row in rows.items()}
    return {way: row | {"model_bytes": predicted} for way, row in rows.items()}


def student_rows(
    folder: Path,
    sets: tuple[LabelledImages, LabelledImages],
    teacher: ResNet,
    config: SplitConfig,
    recipe: SplitRecipe,
    start: Path | None,
) -> dict[str, dict[str, float]]:
    """Train, export and measure a student, or read what was measured."""
    kept = folder / "row.json"
    if kept.exists():
        rows: dict[str, dict[str, float]] = json.loads(kept.read_text())
        return rows
    checkpoint = train(*sets, teacher, folder, recipe, config, start=start)
    export_split(checkpoint, sets[1], folder / "model")
    rows = measure_student(SplitCodec(load_model_from(folder / "model")), sets[1])
    kept.write_text(json.dumps(rows))
    return rows


def kept_row(path: Path, measure: Any) -> Any:
    """What `measure` gives, or gave when it was asked before."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(measure()))
    return json.loads(path.read_text())


def make_teacher(
    setting: Setting, sets: tuple[LabelledImages, LabelledImages], out: Path, bf16: bool
) -> tuple[ResNet, float]:
    """The teacher, and its accuracy on the test images as they are."""
    folder = out / setting.name / "teacher"
    start = None if setting is CIFAR else load_network(out / CIFAR.name / "teacher" / "checkpoint.pt")
    recipe = TeacherRecipe(setting.teacher_steps, bf16=bf16)
    if start is not None:
        recipe = replace(recipe, lr=0.05)  # it begins with layers that are good already
    checkpoint = train_teacher(*sets, folder, recipe, setting.student.teacher, start=start)
    teacher = load_teacher(checkpoint)
    return teacher, float(kept_row(folder / "row.json", lambda: accuracy(teacher, sets[1])))


def students(
    setting: Setting, sets: tuple[LabelledImages, LabelledImages], teacher: ResNet, out: Path, bf16: bool
) -> list[dict[str, Any]]:
    """Rows of all students of a setting."""
    rows, home = [], out / setting.name
    first = home / f"distil-{next(iter(setting.distil))}" / "checkpoint.pt"

    def student(method: str, recipe: SplitRecipe, start: Path | None) -> Path:
        folder = home / f"{method}-{recipe.beta}"
        for way, row in student_rows(folder, sets, teacher, setting.student, recipe, start).items():
            found = {"images": setting.name, "method": method, "setting": recipe.beta, "way": way} | row
            rows.append(found)
            tell(found)
        return folder / "checkpoint.pt"

    for beta, steps in setting.distil.items():
        begun = beta != next(iter(setting.distil))
        student("distil", SplitRecipe("distil", beta, steps, 32, bf16=bf16), first if begun else None)
    for beta, steps in setting.end_to_end.items():
        student("end-to-end", SplitRecipe("end-to-end", beta, steps, 32, bf16=bf16), None)
    start = first
    for beta, (steps, tune) in setting.patient.items():
        recipe = SplitRecipe("distil", beta, steps, 32, tune=tune, mix=0.5, validate_every=1000, bf16=bf16)
        start = student("patient", recipe, start)
    return rows


def multi_task(
    sets: tuple[LabelledImages, LabelledImages], teacher: ResNet, out: Path, bf16: bool
) -> list[dict[str, Any]]:
    """Rows of models with two heads, by the weight that the picture has for the encoder."""
    rows, config = [], replace(CIFAR.student, reconstructs=True)
    start = out / CIFAR.name / f"distil-{MULTI_START}" / "checkpoint.pt"
    for weight, beta in MULTI_TASK.items():
        folder = out / "multi_task" / f"weight-{weight}"
        recipe = SplitRecipe("distil", beta, MULTI_STEPS, 32, reconstruct=weight, bf16=bf16)
        found = student_rows(folder, sets, teacher, config, recipe, start)["set"]
        rows.append({"weight": weight, "beta": beta} | found)
        tell(rows[-1])
    return rows


def tell(row: dict[str, Any]) -> None:
    print(
        ", ".join(f"{k} {v:.4f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True
    )


def write_csv(path: Path, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {k: f"{row[k]:.6g}" if isinstance(row[k], float) else row[k] for k in columns if k in row}
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="where runs and results are kept")
    parser.add_argument("--only", choices=("cifar", "upsampled", "multi_task"), action="append")
    parser.add_argument(
        "--students", action="store_true", help="train and measure students, draw nothing yet"
    )
    parser.add_argument("--no-bf16", action="store_true", help="train in float32")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    out, bf16 = arguments.out, not arguments.no_bf16
    parts = [read_sheets(arguments.data, part) for part in ("train", "test")]
    wanted = arguments.only or ["cifar", "upsampled", "multi_task"]
    rows: list[dict[str, Any]] = []
    for setting in (CIFAR, UPSAMPLED):
        if setting.name not in wanted and not (setting is CIFAR and "multi_task" in wanted):
            continue
        sets = tuple(
            LabelledImages(resized(images, setting.student.teacher.side), labels) for images, labels in parts
        )
        teacher, best = make_teacher(setting, sets, out, bf16)
        if setting.name in wanted:
            mine = [
                {"images": setting.name, "method": "teacher", "setting": "", "way": "none", "accuracy": best}
            ]
            tell(mine[0])
            mine += students(setting, sets, teacher, out, bf16)
            if not arguments.students:
                for name, settings in PEERS[setting.name].items():
                    for quality in settings:
                        path = out / setting.name / "peers" / f"{name}-{quality}.json"
                        found = kept_row(path, partial(measure_peer, name, quality, sets[1], teacher))
                        for way, row in found.items():
                            row = {
                                "images": setting.name,
                                "method": name,
                                "setting": quality,
                                "way": way,
                            } | row
                            mine.append(row)
                            tell(row)
                draw_accuracy(mine, setting.name).savefig(out / f"supervised_{setting.name}.png", dpi=130)
            rows += mine
        if setting is CIFAR and "multi_task" in wanted:
            heads = multi_task(sets, teacher, out, bf16)
            if not arguments.students:
                write_csv(
                    out / "multi_task.csv",
                    heads,
                    ("weight", "beta", "bytes", "accuracy", "psnr", "model_bytes"),
                )
                draw_multi_task(heads, best).savefig(out / "supervised_multi_task.png", dpi=130)
    if not arguments.students:
        write_csv(out / "supervised.csv", rows, COLUMNS)


if __name__ == "__main__":
    main()
