"""`obverse decompress`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import obverse
from obverse.cli.batch import STDIN, Job, Row, plan, run_jobs
from obverse.cli.console import UsageError, say
from obverse.cli.files import length_of, read_stdin, report, row_of, write_output
from obverse.cli.options import Big, Force, Inputs, Json, Memory, Output, limits_of
from obverse.cli.recovery import recovered
from obverse.container import read, read_header
from obverse.registry import find_method


def decompress(
    inputs: Inputs,
    /,
    *,
    output: Output = None,
    side_info: Annotated[
        Path | None, Parameter(help="Side information, for codecs that decode with it: .npy, .png, ...")
    ] = None,
    model: Annotated[
        str | None,
        Parameter(help="Name or folder of the model that wrote the file; found by itself if installed."),
    ] = None,
    recover: Annotated[
        bool,
        Parameter(negative="", help="Of a cut or damaged file, write what is whole and say what is missing."),
    ] = False,
    background: Annotated[
        str | None,
        Parameter(
            help="Colour to put an image with alpha on (white, #ffcc00), for .jpg and others without alpha."
        ),
    ] = None,
    force: Force = False,
    json: Json = False,
    unlimited: Big = False,
    memory: Memory = None,
) -> int:
    """Decompress .obv files. The name of the output says the kind of file: .png, .jpg, .webp, .npy, ...

    For example:

    - `obverse decompress photo.obv` writes photo.png
    - `obverse decompress photo.obv -o photo.webp`
    - `obverse decompress logo.obv -o logo.jpg --background white`
    - `obverse decompress packed/ -o pictures/`
    - `obverse decompress - -o - < photo.obv > photo.png`
    - `obverse decompress x.obv --side-info y.npy`
    - `obverse decompress cut.obv --recover`
    """
    from obverse.codec import codec_of, decoded_file

    limits = limits_of(unlimited, memory)
    if recover and side_info is not None:
        raise UsageError("--recover is for codecs without side information: do not give --side-info")

    if recover and background is not None:
        raise UsageError("--recover has no use for --background: recover to .png")

    def work(job: Job) -> Row:
        data = read_stdin() if job.source == STDIN else None
        source = job.source if data is None else data
        if recover:
            unpacked, lost = recovered(source, job.target, model, limits)
            write_output(job.target, unpacked, force)
            for sentence in lost.get("missing", ()):
                say(f"warning: {job.source}: {sentence}")
            return row_of(job, length_of(job.source, data), len(unpacked)) | lost
        container = read(source, limits)
        chosen = codec_of(container, side_info is not None, model)
        name = str(job.target) if job.target.suffix else f"x{chosen.method.suffix}"
        unpacked = decoded_file(chosen, container, name, limits, side_info, background)
        write_output(job.target, unpacked, force)
        return row_of(job, length_of(job.source, data), len(unpacked))

    def rename(path: Path) -> str:
        try:
            suffix = find_method(read_header(path, limits).codec).suffix
        except obverse.ObverseError:
            suffix = ".png"  # the job itself will say what is wrong
        return path.stem + suffix

    jobs = plan(inputs, output, frozenset({".obv"}), rename)
    rows, code = run_jobs(jobs, "decompressing", work, force)
    report(rows, json, any(job.target == STDIN for job in jobs))
    return code
