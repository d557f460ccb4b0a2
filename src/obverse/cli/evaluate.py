"""The command that measures codecs beside others."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from obverse.cli.console import UsageError, say, to_json
from obverse.cli.options import MAY_BE_EMPTY, Force, Trust, wrong_use
from obverse.cli.reports import check_report
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError
from obverse.registry import default_codec

if TYPE_CHECKING:
    from obverse.evaluation import Coder, Failure
    from obverse.evaluation.report import BdRate

tasks = Group("Task", sort_key=2)


def evaluate(
    inputs: Annotated[
        list[Path],
        Parameter(
            help="Images, or folders of them; with --task one folder with a folder for each class, or one set: images "
            "or feature vectors."
        ),
    ],
    /,
    *,
    codec: Annotated[
        str | None,
        Parameter(
            help="Codec id, with options as image:effort=9:tune=eye, or several, comma-separated; `obverse list` shows "
            "ids. By default the one for such data."
        ),
    ] = None,
    lossless: Annotated[
        bool,
        Parameter(negative="", help="Compare lossless codecs: bytes, and whether every pixel came back."),
    ] = False,
    against: Annotated[
        str | None,
        Parameter(
            help="Peers, comma-separated: jpeg, webp, avif, jxl, with options as avif:tune=psnr:speed=4; with "
            "--lossless png, webp, jxl, avif. By default jpeg,webp,avif, or png,webp,avif; none for feature vectors."
        ),
        MAY_BE_EMPTY,
    ] = None,
    out: Annotated[Path, Parameter(help="Folder for the CSV files and the plot.")] = Path("report"),
    qualities: Annotated[
        str | None, Parameter(help="Of our codecs, comma-separated; by default 10,20,...,90.")
    ] = None,
    metrics: Annotated[
        str | None,
        Parameter(
            help="Comma-separated: psnr, ms-ssim, ssimulacra2, lpips; by default psnr,ms-ssim. PSNR is always measured."
        ),
    ] = None,
    task: Annotated[
        str | None,
        Parameter(
            group=tasks,
            help="A classifier whose accuracy is measured: TorchScript (.pt), torch.export (.pt2), .onnx, a "
            "Hugging Face folder, or module:function.",
        ),
    ] = None,
    trust: Trust = False,
    labels: Annotated[
        Path | None,
        Parameter(group=tasks, help="Of the items, where they are not in class folders: .npy, .csv, or IDX."),
    ] = None,
    classes: Annotated[
        Path | None,
        Parameter(group=tasks, help="Text file with a class name a line, in the order of the scores."),
    ] = None,
    probe: Annotated[
        str | None,
        Parameter(group=tasks, help="Classifier of a codec's codes, for codecs that give nothing else back."),
    ] = None,
    size: Annotated[
        int | None, Parameter(group=tasks, help="Resize images to this height and width.")
    ] = None,
    mean: Annotated[
        list[float] | None, Parameter(group=tasks, negative="", help="Of each channel, 0 to 1; repeat for 3.")
    ] = None,
    std: Annotated[
        list[float] | None, Parameter(group=tasks, negative="", help="Of each channel, 0 to 1.")
    ] = None,
    batch: Annotated[
        int | None, Parameter(group=tasks, help="Items that the task sees at once, by default 64.")
    ] = None,
    force: Force = False,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print the results as JSON.")] = False,
) -> int:
    """Compare a codec with others on real files: rates, PSNR, MS-SSIM and more, BD-rates, a plot; or what a task loses.

    For example:

    - `obverse evaluate kodak/ --codec image --against jpeg,webp,avif,jxl --out report/`
    - `obverse evaluate kodak/ --against avif,avif:tune=psnr --metrics psnr,ms-ssim,ssimulacra2,lpips`
    - `obverse evaluate kodak/ --lossless --against png,webp,jxl,avif --out report/`
    - `obverse evaluate photos/ --task classifier.onnx --size 224 --against jpeg,webp --out report/`
    """
    if task is not None:
        if lossless:
            raise UsageError("--lossless compares pixels, --task predictions: give one of them")
        if metrics is not None:
            raise UsageError("--metrics compares pixels, --task predictions: leave out --metrics")
        if len(inputs) != 1:
            raise UsageError(f"--task takes one set of items, not {len(inputs)}")
        images = {"size": size, "mean": mean, "std": std}
        _task(
            inputs[0],
            task,
            labels,
            classes,
            codec,
            against,
            probe,
            qualities,
            images,
            batch,
            out,
            force,
            json,
            trust,
        )
        return 0
    if trust or any(v is not None for v in (labels, classes, probe, size, mean, std, batch)):
        raise UsageError(
            "--labels, --classes, --probe, --size, --mean, --std, --batch and --trust are for a task: "
            "give --task"
        )
    if lossless and qualities is not None:
        raise UsageError("--lossless knows no quality: leave out --qualities")
    if lossless and metrics is not None:
        raise UsageError("--lossless compares bytes, and counts the pixels that changed: leave out --metrics")
    levels, metric_names = _qualities(qualities), _metrics(metrics)
    from obverse.evaluation import all_ours

    # whether they are there, before anything is measured
    names = _listed(codec or default_codec("exact image" if lossless else "image"))
    if not names:
        raise UsageError(f"--codec {codec!r} names none: give an id, or leave it out")
    coders = all_ours(names, levels)
    against = ("png,webp,avif" if lossless else "jpeg,webp,avif") if against is None else against
    peers = tuple(_listed(against))
    files: list[Path] = []
    for path in inputs:
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        files += [
            file
            for file in found
            if file == path or (file.suffix.lower() in IMAGE_SUFFIXES and not file.is_dir())
        ]
    if not files:
        raise InputError(f"no images under {', '.join(map(str, inputs))}")
    failures: list[Failure] = []
    # a mask is read as well
    check_report(
        out,
        _report_files(lossless),
        [*inputs, *(path for coder in coders for path in _paths_in(coder.name))],
        force,
    )
    if lossless:
        _lossless(files, coders, peers, out, json, failures)
    else:
        _lossy(files, coders, peers, out, metric_names, json, failures)
    return InputError.exit_code if failures else 0


def _lossy(
    files: list[Path],
    coders: list[Coder],
    peers: tuple[str, ...],
    out: Path,
    metrics: list[str],
    json: bool,
    failures: list[Failure],
) -> None:
    from dataclasses import asdict

    from obverse.cli.console import out as show
    from obverse.evaluation import bd_rates, markdown_table, summarise, write_report
    from obverse.evaluation import evaluate as measure

    rows = measure(files, coders, None, peers, metrics, _progress(), failures)
    _tell(failures)
    paths = write_report(rows, out)
    # each of ours against the peers, and against those of ours that were named before it
    names = [coder.name for coder in coders]
    rates = [
        rate
        for rate in bd_rates(rows)
        if rate.test in names and rate.anchor not in names[names.index(rate.test) :]
    ]
    if json:
        results: dict[str, list[Any]] = {"summary": summarise(rows), "bd_rates": rates}
        show(to_json({name: [asdict(item) for item in items] for name, items in results.items()}))
    else:
        show(markdown_table(rows))
        for rate in rates:
            named = f"BD-rate ({rate.metric}) of {rate.test} against {rate.anchor}"
            note = rate.note.removeprefix("BD-rate: ")
            if math.isnan(rate.percent):
                show(f"{named}: none, {note}")
                continue
            show(f"{named}: {rate.percent:+.1f} %{_images(rate)}")
            if note:
                say(f"{named}: {note}")
    for path in paths.values():
        say(f"wrote {path}")


def _images(rate: BdRate) -> str:
    """What single images say, of two or more."""
    if rate.images < 2:
        return ""
    return (
        f" (mean of the images' {rate.mean_of_images:+.1f}; best {rate.best_image} {rate.best:+.1f}, median "
        f"{rate.median_image} {rate.median:+.1f}, worst {rate.worst_image} {rate.worst:+.1f})"
    )


def _lossless(
    files: list[Path],
    coders: list[Coder],
    peers: tuple[str, ...],
    out: Path,
    json: bool,
    failures: list[Failure],
) -> None:
    from dataclasses import asdict

    from obverse.cli.console import out as show
    from obverse.evaluation import (
        evaluate_lossless,
        lossless_table,
        summarise_lossless,
        write_lossless_report,
    )

    rows = evaluate_lossless(files, coders, peers, _progress(), failures)
    _tell(failures)
    paths = write_lossless_report(rows, out)
    if json:
        show(to_json({"summary": [asdict(item) for item in summarise_lossless(rows)]}))
    else:
        show(lossless_table(rows))
    for path in paths.values():
        say(f"wrote {path}")


def _task(
    source: Path,
    task: str,
    labels: Path | None,
    classes: Path | None,
    codec: str | None,
    against: str | None,
    probe: str | None,
    qualities: str | None,
    images: dict[str, Any],
    batch: int | None,
    out: Path,
    force: bool,
    json: bool,
    trust: bool,
) -> None:
    from dataclasses import asdict

    from obverse.cli.console import out as show
    from obverse.codecs.features.sources import input_format
    from obverse.data.labelled import read_class_names, read_labelled
    from obverse.evaluation import classical, evaluate_task, task_coder, task_table, write_task_report
    from obverse.evaluation.task import BATCH
    from obverse.evaluation.task_report import FILES
    from obverse.integrations.classifiers import load_classifier

    if batch is not None and batch < 1:
        raise UsageError(f"--batch must be at least 1, not {batch}")
    levels = _qualities(qualities)
    given = [source, labels, classes, *(Path(reader) for reader in (task, probe) if reader)]
    check_report(out, FILES, given, force)
    names = read_class_names(classes) if classes else []
    classifier = load_classifier(task, input_format(**images), names, trust)
    # a probe sees numbers as they are
    reader = load_classifier(probe, trust=trust) if probe else None
    data = read_labelled(source, labels, names, classifier.classes)
    if data.labels is None:
        say(
            "no labels: only how often predictions stay what they were is measured (--labels, or class folders)"
        )
    elif data.numbered:
        say(f"classes are numbered in the order of their folders: 0 is {data.numbered[0]}")
    ours = _listed(codec) if codec is not None else [default_codec("features" if data.vectors else "image")]
    peers = _listed(against if against is not None else "" if data.vectors else "jpeg,webp,avif")
    coders = [*(task_coder(name, levels, reader) for name in ours), *map(classical, peers)]
    rows = evaluate_task(data, classifier, coders, batch or BATCH, _progress())
    paths = write_task_report(rows, out)
    show(to_json({"rows": [asdict(row) for row in rows]}) if json else task_table(rows))
    for path in paths.values():
        say(f"wrote {path}")


def _report_files(lossless: bool) -> tuple[str, ...]:
    from obverse.evaluation import lossless as exact
    from obverse.evaluation import report

    return exact.FILES if lossless else report.FILES


def _paths_in(codec: str) -> list[Path]:
    """The values of a codec's options: those that are files are read."""
    from obverse.evaluation.coders import split_options

    return [Path(value) for value in split_options(codec)[1].values()]


def _listed(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _qualities(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        found = [float(word) for word in _listed(text)]
    except ValueError:
        found = []
    if not found or not all(1 <= quality <= 100 for quality in found):
        raise UsageError(f"--qualities takes numbers from 1 to 100 such as 20,50,80, not {text!r}")
    return found


def _metrics(text: str | None) -> list[str]:
    from obverse.metrics.image_metrics import check_metrics

    names = _listed("psnr,ms-ssim" if text is None else text)
    with wrong_use(()):
        check_metrics(names)
    return names


def _tell(failures: list[Failure]) -> None:
    for failure in failures:
        text = str(failure.error)
        say(f"error: {text}" if str(failure.path) in text else f"error: {failure.path}: {text}")


def _progress() -> Callable[[int, int], None]:
    """A line every few seconds."""
    last = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last > 5:
            last = time.monotonic()
            say(f"measured {done} of {total}")

    return progress
