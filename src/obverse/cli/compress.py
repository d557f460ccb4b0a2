"""`obverse compress`: the flags are those that the codecs declare."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from warnings import warn

from cyclopts import Parameter

import obverse
from obverse.cli.batch import Batch, Row
from obverse.cli.console import UsageError, human
from obverse.cli.files import existing_obv, read_stream, report, row_of, write_output, write_parts
from obverse.cli.flags import NO_FLAGS, CodecFlags, given_options
from obverse.cli.options import (
    Big,
    Force,
    Inputs,
    Jobs,
    Json,
    Memory,
    Metadata,
    Output,
    SkipExisting,
    limits_of,
    pairs,
    wrong_use,
)
from obverse.cli.output_names import check_obv_name
from obverse.cli.plan import STDIN, Job, plan
from obverse.cli.progress import search_bar
from obverse.codec import Codec, Streams
from obverse.container import write
from obverse.container.spool import ItemSpool
from obverse.data.loading import limits_in, loading_within
from obverse.data.source import Contents
from obverse.method import Method
from obverse.registry import built_in_methods, codec_of_file, default_codec
from obverse.threads import threads_for, wait_passively
from obverse.verify import verify_file, verify_parts, wants_verification


def compress(
    inputs: Inputs,
    /,
    *,
    output: Output = None,
    codec: Annotated[
        str | None,
        Parameter(
            help="Codec id or name of a model (`obverse list` shows them), or the folder of a model, with a slash: "
            "./model. By default image, or what codes files of this suffix."
        ),
    ] = None,
    lossless: Annotated[bool, Parameter(negative="", help="Keep every pixel of images.")] = False,
    flags: Annotated[CodecFlags, Parameter(name="*")] = NO_FLAGS,
    metadata: Metadata = None,
    verify: Annotated[
        Literal["quick", "certain"] | None,
        Parameter(
            help="Decode each file before it is kept, and compare: quick (the default where nothing is lost), or "
            "certain, in whole numbers throughout, which takes longer."
        ),
    ] = None,
    no_verify: Annotated[bool, Parameter(negative="", help="Do not decode what was written.")] = False,
    force: Force = False,
    force_suffix: Annotated[
        bool,
        Parameter(negative="", help="Take a name of the output that is of another kind of file, as x.webp."),
    ] = False,
    skip_existing: SkipExisting = False,
    jobs: Jobs = None,
    json: Json = False,
    unlimited: Big = False,
    memory: Memory = None,
) -> int:
    """Compress files to .obv.

    For example:

    - `obverse compress photo.png` writes photo.obv
    - `obverse compress photo.jpg -o small.obv --max-bytes 40k`
    - `obverse compress holiday/ -o packed/ --quality 60`
    - `obverse compress holiday/ -o packed/ --quality 60 --skip-existing` goes on where it was stopped
    - `obverse compress photo.png --effort 5` takes longer for a better file
    - `obverse compress --lossless drawing.png`
    - `obverse compress --codec vae-mnist digits/` writes digits.obv, the folder as one set
    - `cat photo.png | obverse compress - > photo.obv`
    """
    if no_verify and verify is not None:
        raise UsageError("give one of --verify and --no-verify")
    if lossless and codec is not None:
        raise UsageError("--lossless chooses the codec: give one of --lossless and --codec")
    wait_passively()
    name = codec or _chosen(inputs, lossless)
    # what is built in need not be opened to know its options, which would import torch here and in every worker
    method = built_in_methods().get(name) or obverse.open_codec(name).method
    given = given_options(flags, method)
    if metadata:
        given["metadata"] = pairs(metadata)
    takes = {option.name for option in method.options_class.described()}
    if unlimited or memory is not None:
        given["limits"] = limits_of(unlimited, memory)
        if "limits" not in takes:
            raise UsageError(
                f"codec {method.id!r} has no use for {'--unlimited' if unlimited else '--memory'}"
            )
    with wrong_use(takes):
        options = method.options_class.of(method.id, given)
    verified = wants_verification(method, False if no_verify else verify)
    found = plan(inputs, output, method.kind.read, _obv_name, method.kind.folder, passed_over={".obv"})
    if not any(job.refused for job in found.jobs):
        check_obv_name(output, force_suffix)
    searches = "progress" in takes and bool(given.get("effort")) and len(found.jobs) == 1
    work = Compression(name, options, force, unlimited, searches, verified, verify == "certain")
    batch = Batch(
        "compressing",
        force,
        existing_obv(skip_existing, force, (method.id, *method.also_writes)),
        jobs,
        [method.module],
    )
    rows, code = batch.run(found.jobs, work)
    report(found, rows, json)
    return code


def _chosen(inputs: list[Path], lossless: bool) -> str:
    """The codec where nobody names one: that of the files' kind."""
    found = {codec_of_file(path) for path in inputs}
    if len(found) > 1:
        raise UsageError(
            f"these files are not all coded by one codec ({', '.join(sorted(name or 'image' for name in found))}): "
            "give those of one kind at once, or name a codec (--codec)"
        )
    return found.pop() or default_codec("exact image" if lossless else "image")


@dataclass
class Compression:
    """What is done with each file, here or in a worker.

    Attributes:
        name: of the codec or model.
        options: of the codec.
        force: whether what exists is overwritten.
        unlimited: whether Pillow's own limit on pixels is lifted as well.
        searches: whether the progress of a search is shown.
        verified: whether what was written is decoded before it is kept.
        certain: whether that is done in whole numbers.
    """

    name: str
    options: Any
    force: bool
    unlimited: bool
    searches: bool
    verified: bool
    certain: bool

    @cached_property
    def codec(self) -> Codec:
        return obverse.open_codec(self.name)

    def __call__(self, job: Job) -> Row:
        started = time.perf_counter()
        kind = self.codec.kind
        with _no_pixel_limit(self.unlimited), loading_within(limits_in(self.options)):
            raw = read_stream(job.source, limits_in(self.options))
            if raw is None:
                data = kind.load(job.source)
                before = _bytes_under(job.source)
            else:
                name = "standard input" if job.source == STDIN else str(job.source)
                before, data = len(raw), kind.load(Contents(raw, name))
        size = getattr(data, "size", None)
        pixels = size[0] * size[1] if isinstance(size, tuple) and len(size) == 2 else None
        with search_bar(shown=self.searches) as progress, threads_for(pixels):
            now = replace(self.options, progress=progress) if progress else self.options
            after = self._write(data, now, job)
        row = row_of(job, before, after)
        if pixels:
            row["bpp"] = after * 8 / pixels
        if after > before:
            row["larger"] = _remedy(self.codec.method)
            warn(f"{job.source}: {human(before)} became {human(after)}: {row['larger']}", stacklevel=2)
        return row | {"seconds": round(time.perf_counter() - started, 3)}

    def _write(self, data: Any, options: Any, job: Job) -> int:
        """Code, verify, and write. -> bytes"""
        if isinstance(self.codec, Streams):
            with ItemSpool(None if job.target == STDIN else str(job.target.resolve().parent)) as spool:
                container = self.codec.encode_to(data, options, spool)
                if self.verified:
                    verify_parts(self.codec, container, spool, getattr(options, "base", None))
                return write_parts(job.target, spool.parts(container), self.force)
        packed = write(self.codec.encode(data, options))
        if self.verified:
            verify_file(self.codec, packed, self.certain, getattr(options, "base", None))
        write_output(job.target, packed, self.force)
        return len(packed)


def _remedy(method: Method) -> str:
    """What may take less, where a file became larger."""
    if method.data == "image":
        return "choose a lower --quality, or keep the file as it is"
    if method.data == "exact image":
        return (
            "where it was a JPEG or another file with loss, that is kept exactly: without --lossless it takes less, or "
            "keep the file as it is"
        )
    if method.models:
        return "the model does not fit these data: name another one (--codec), or keep the file as it is"
    return "keep the file as it is"


def _obv_name(path: Path) -> str:
    return (path.resolve().name if os.path.isdir(path) else path.stem) + ".obv"


def _bytes_under(path: Path) -> int:
    """Of a file, or of all files of a folder that is one set."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


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
