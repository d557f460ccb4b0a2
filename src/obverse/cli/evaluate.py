"""The command that measures codecs beside others. `app.py` registers it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

import obverse
from obverse.cli.console import say, to_json
from obverse.cli.options import IMAGE_SUFFIXES
from obverse.errors import InputError

if TYPE_CHECKING:
    from obverse.evaluation import Failure


def evaluate(
    inputs: Annotated[list[Path], Parameter(help="Images, or folders of them.")],
    /,
    *,
    codec: Annotated[
        str | None,
        Parameter(help="Codec id; `obverse list` shows them. By default image, or image-lossless."),
    ] = None,
    lossless: Annotated[
        bool,
        Parameter(negative="", help="Compare lossless codecs: bytes, and whether every pixel came back."),
    ] = False,
    against: Annotated[
        str | None,
        Parameter(
            help="Peers, comma-separated: jpeg, webp, avif, jxl; with --lossless png, webp, jxl, avif. "
            "By default jpeg,webp,avif, or png,webp,avif."
        ),
    ] = None,
    out: Annotated[Path, Parameter(help="Folder for the CSV files and the plot.")] = Path("report"),
    ms_ssim: Annotated[bool, Parameter(help="Measure MS-SSIM as well as PSNR.")] = True,
    json: Annotated[bool, Parameter(name="--json", negative="", help="Print the results as JSON.")] = False,
) -> int:
    """Compare a codec with others on real files: rates, PSNR, MS-SSIM, BD-rates, a plot.

    For example:

    - `obverse evaluate kodak/ --codec image --against jpeg,webp,avif,jxl --out report/`
    - `obverse evaluate kodak/ --lossless --against png,webp,jxl,avif --out report/`
    """
    codec = codec or ("image-lossless" if lossless else "image")
    obverse.open_codec(codec)  # whether it is there, before anything is measured
    against = ("png,webp,avif" if lossless else "jpeg,webp,avif") if against is None else against
    peers = tuple(name.strip() for name in against.split(",") if name.strip())
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
    if lossless:
        _lossless(files, codec, peers, out, json, failures)
    else:
        _lossy(files, codec, peers, out, ms_ssim, json, failures)
    return InputError.exit_code if failures else 0


def _lossy(
    files: list[Path],
    codec: str,
    peers: tuple[str, ...],
    out: Path,
    ms_ssim: bool,
    json: bool,
    failures: list[Failure],
) -> None:
    from dataclasses import asdict

    from obverse.cli.console import out as show
    from obverse.evaluation import bd_rates, markdown_table, summarise, write_report
    from obverse.evaluation import evaluate as measure

    rows = measure(files, codec, against=peers, ms_ssim=ms_ssim, progress=_progress(), failures=failures)
    _tell(failures)
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


def _lossless(
    files: list[Path], codec: str, peers: tuple[str, ...], out: Path, json: bool, failures: list[Failure]
) -> None:
    from dataclasses import asdict

    from obverse.cli.console import out as show
    from obverse.evaluation import (
        evaluate_lossless,
        lossless_table,
        summarise_lossless,
        write_lossless_report,
    )

    rows = evaluate_lossless(files, codec, peers, _progress(), failures)
    _tell(failures)
    paths = write_lossless_report(rows, out)
    if json:
        show(to_json({"summary": [asdict(item) for item in summarise_lossless(rows)]}))
    else:
        show(lossless_table(rows))
    for path in paths.values():
        say(f"wrote {path}")


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
