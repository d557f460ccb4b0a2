"""`obverse compress`: the flags are those that the codecs declare."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import obverse
from obverse.cli.batch import STDIN, Job, Row, plan, run_jobs
from obverse.cli.console import UsageError
from obverse.cli.files import read_stdin, report, row_of, write_output
from obverse.cli.flags import NO_FLAGS, CodecFlags, given_options
from obverse.cli.options import Big, Force, Inputs, Json, Metadata, Output
from obverse.cli.output_names import check_obv_name
from obverse.cli.progress import search_bar
from obverse.container import Limits, write
from obverse.data.source import Contents
from obverse.registry import default_codec


def compress(
    inputs: Inputs,
    /,
    *,
    output: Output = None,
    codec: Annotated[
        str | None,
        Parameter(
            help="Codec id (`obverse list` shows them), or name or folder of a model. By default image."
        ),
    ] = None,
    lossless: Annotated[bool, Parameter(negative="", help="Keep every pixel of images.")] = False,
    flags: Annotated[CodecFlags, Parameter(name="*")] = NO_FLAGS,
    metadata: Metadata = None,
    force: Force = False,
    force_suffix: Annotated[
        bool,
        Parameter(negative="", help="Take a name of the output that is of another kind of file, as x.webp."),
    ] = False,
    json: Json = False,
    unlimited: Big = False,
) -> int:
    """Compress files to .obv.

    For example:

    - `obverse compress photo.png` writes photo.obv
    - `obverse compress photo.jpg -o small.obv --max-bytes 40k`
    - `obverse compress holiday/ -o packed/ --quality 60`
    - `obverse compress photo.png --effort 5` takes longer for a better file
    - `obverse compress --lossless drawing.png`
    - `obverse compress --codec vae-mnist digits/` writes digits.obv, the folder as one set
    - `cat photo.png | obverse compress - > photo.obv`
    """
    if lossless and codec is not None:
        raise UsageError("--lossless chooses the codec: give one of --lossless and --codec")
    chosen = obverse.open_codec(codec or default_codec("exact image" if lossless else "image"))
    given = given_options(flags, chosen)
    if metadata:
        given["metadata"] = _pairs(metadata)
    takes = {option.name for option in chosen.method.options_class.described()}
    if unlimited and "limits" in takes:
        given["limits"] = Limits.unlimited()
    elif unlimited:
        raise UsageError(f"codec {chosen.id!r} has no use for --unlimited")
    options = chosen.options(**given)
    searches = "progress" in takes and bool(given.get("effort"))

    def work(job: Job) -> Row:
        started = time.perf_counter()
        if job.source == STDIN:
            raw = read_stdin()
            before, data = len(raw), chosen.kind.load(Contents(raw, "standard input"))
        else:
            data = chosen.kind.load(job.source)
            before = _bytes_under(job.source)
        with search_bar(shown=searches and len(jobs) == 1) as progress:
            now = replace(options, progress=progress) if progress else options
            packed = write(chosen.encode(data, now))
        write_output(job.target, packed, force)
        row = row_of(job, before, len(packed))
        size = getattr(data, "size", None)
        if isinstance(size, tuple) and len(size) == 2:
            row["bpp"] = len(packed) * 8 / (size[0] * size[1])
        return row | {"seconds": round(time.perf_counter() - started, 3)}

    jobs = plan(inputs, output, chosen.kind.read, _obv_name, whole_folders=chosen.kind.folder)
    check_obv_name(output, force_suffix)
    with _no_pixel_limit(unlimited):
        rows, code = run_jobs(jobs, "compressing", work, force)
    report(rows, json, any(job.target == STDIN for job in jobs))
    return code


def _obv_name(path: Path) -> str:
    return (path.resolve().name if os.path.isdir(path) else path.stem) + ".obv"


def _bytes_under(path: Path) -> int:
    """Of a file, or of all files of a folder that is one set."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _pairs(texts: list[str] | None) -> dict[str, str] | None:
    for text in texts or ():
        if not text.partition("=")[0] or "=" not in text:
            raise UsageError(f"--metadata takes KEY=TEXT, not {text!r}")
    return dict(text.split("=", 1) for text in texts) if texts else None


@contextmanager
def _no_pixel_limit(unlimited: bool) -> Iterator[None]:
    """Lift Pillow's own limit on pixels as well."""
    if not unlimited:
        yield
        return
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
