"""`obverse decompress`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from warnings import warn

from cyclopts import Parameter

from obverse.cli.batch import Batch, Row
from obverse.cli.console import UsageError
from obverse.cli.files import (
    existing_file,
    is_stream,
    length_of,
    read_stream,
    report,
    row_of,
    write_output,
    write_parts,
)
from obverse.cli.options import (
    Big,
    Force,
    Inputs,
    Jobs,
    Json,
    Memory,
    Output,
    SkipExisting,
    limits_of,
    wrong_use,
)
from obverse.cli.plan import STDIN, Job, plan
from obverse.cli.recovery import recovered
from obverse.container import Header, ItemReader, Limits, read, read_header
from obverse.errors import ObverseError
from obverse.method import Method
from obverse.registry import find_method
from obverse.threads import threads_for, wait_passively

if TYPE_CHECKING:
    from obverse.codec import Streams


def decompress(
    inputs: Inputs,
    /,
    *,
    output: Output = None,
    side_info: Annotated[
        Path | None,
        Parameter(
            name=["--side-info", "--base"],
            help="What the receiver has, for files that are decoded with it: .npy, .png, weights, ...",
        ),
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
    preview: Annotated[
        bool,
        Parameter(
            negative="", help="Of an image, write a small one: a quarter of its size a side, means of pixels."
        ),
    ] = False,
    force: Force = False,
    skip_existing: SkipExisting = False,
    jobs: Jobs = None,
    json: Json = False,
    unlimited: Big = False,
    memory: Memory = None,
) -> int:
    """Decompress .obv files. The name of the output says the kind of file: .png, .jpg, .webp, .npy, ...

    For example:

    - `obverse decompress photo.obv` writes photo.png
    - `obverse decompress photo.obv -o photo.webp`
    - `obverse decompress logo.obv -o logo.jpg --background white`
    - `obverse decompress photo.obv -o small.png --preview`
    - `obverse decompress packed/ -o pictures/`
    - `obverse decompress - -o - < photo.obv > photo.png`
    - `obverse decompress x.obv --side-info y.npy`
    - `obverse decompress cut.obv --recover`
    """
    if recover and side_info is not None:
        raise UsageError("--recover is for codecs without side information: do not give --side-info")
    if recover and background is not None:
        raise UsageError("--recover has no use for --background: recover to .png")
    if recover and preview:
        raise UsageError("--recover writes all that is whole: do not give --preview")
    if background is not None:
        from obverse.data.image_writing import colour_of

        with wrong_use(()):
            colour_of(background)
    limits = limits_of(unlimited, memory)
    wait_passively()

    def rename(path: Path) -> str:
        method = _method(path, limits)
        suffix = method.suffix if method else ".png"  # the job itself will say what is wrong
        name = path.stem if Path(path.stem).suffix.lower() == suffix else path.stem + suffix
        return name if name != path.name else path.name + suffix  # no .obv file: the job says so

    found = plan(inputs, output, frozenset({".obv"}), rename, only=True)
    methods = (_method(job.source, limits) for job in found.jobs)
    modules = [method.module for method in islice(filter(None, methods), 1)]
    batch = Batch("decompressing", force, existing_file(skip_existing, force), jobs, modules)
    rows, code = batch.run(
        found.jobs, Decompression(side_info, model, recover, force, limits, background, preview)
    )
    report(found, rows, json)
    return code


def _method(path: Path, limits: Limits) -> Method | None:
    """That of a file's codec; None for a file that cannot be decoded, or read once only."""
    if is_stream(path):
        return None
    try:
        return find_method(read_header(path, limits).codec)
    except ObverseError:
        return None


@dataclass(frozen=True)
class Decompression:
    """What is done with each file, here or in a worker.

    Attributes:
        side_info: the file that codecs decode with.
        model: name or folder of the model that wrote the files, where it is not found.
        recover: whether what is whole of a damaged file is written.
        force: whether what exists is overwritten.
        limits: what files may ask for.
        background: the colour that images with alpha are put on, where the kind of file has none.
        preview: whether a small image is written instead.
    """

    side_info: Path | None
    model: str | None
    recover: bool
    force: bool
    limits: Limits
    background: str | None
    preview: bool

    def __call__(self, job: Job) -> Row:
        from obverse.codec import codec_of, decoded_file

        data = read_stream(job.source, self.limits)
        source = job.source if data is None else data
        if self.recover:
            unpacked, lost = recovered(source, job.target, self.model, self.limits)
            write_output(job.target, unpacked, self.force)
            for sentence in lost.get("missing", ()):
                warn(f"{job.source}: {sentence}", stacklevel=2)
            return row_of(job, length_of(job.source, data), len(unpacked)) | lost
        streamed = self._stream(source, job)
        if streamed is not None:
            return row_of(job, length_of(job.source, data), streamed)
        container = read(source, self.limits)
        chosen = codec_of(container, self.side_info is not None, self.model)
        name = f"x{chosen.method.suffix}" if job.target == STDIN else str(job.target)
        with threads_for(math.prod(container.shape) if chosen.method.data.endswith("image") else None):
            unpacked = decoded_file(
                chosen, container, name, self.limits, self.side_info, self.background, self.preview
            )
        write_output(job.target, unpacked, self.force)
        return row_of(job, length_of(job.source, data), len(unpacked))

    def _parts(self, codec: Streams, header: Header, reader: ItemReader) -> Iterator[bytes]:
        side: dict[str, Any] = {} if self.side_info is None else {"side_info": self.side_info}
        return codec.decode_parts(header, reader, self.limits, **side)

    def _stream(self, source: Path | bytes, job: Job) -> int | None:
        """Decode a file piece by piece, where its codec does that. -> bytes written"""
        from obverse.codec import Streams, codec_of

        header = read_header(source, self.limits)
        if header.items is None or self.background is not None or self.preview:
            return None
        with ItemReader(source, self.limits) as reader:
            codec = codec_of(header, self.side_info is not None, self.model)
            if not isinstance(codec, Streams):
                return None
            codec.kind.check(f"x{codec.method.suffix}" if job.target == STDIN else str(job.target))
            return write_parts(job.target, self._parts(codec, header, reader), self.force)
