"""The commands. Each is one function; what its help says is its docstring.

Those that a method adds (`obverse train ID`, and what else it declares) are imported when they are asked for. torch is
imported by the commands that need it, when they run: `--help`, `info` and `list` answer at once.
"""

from __future__ import annotations

import inspect
import math
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

import obverse
from obverse.cli.batch import STDIN, Job, Row, plan, run_jobs
from obverse.cli.console import (
    UsageError,
    human,
    out,
    out_bytes,
    parse_bytes,
    printable,
    say,
    to_json,
)
from obverse.cli.evaluate import evaluate
from obverse.cli.facts import show_facts
from obverse.cli.limits import limits
from obverse.cli.options import (
    Big,
    Bpp,
    Effort,
    Force,
    Inputs,
    Json,
    Lmbda,
    MaxBytes,
    Metadata,
    Output,
    Quality,
)
from obverse.cli.progress import search_bar
from obverse.cli.recovery import recovered
from obverse.codec import Codec
from obverse.container import Limits, describe, read, read_header, write, write_atomically
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError, OutputError, exit_codes
from obverse.registry import find_method, list_methods

HELP = """Learned data compression as real codecs: smaller files, decoded exactly anywhere.

For example:

- `obverse compress photo.png` writes photo.obv
- `obverse decompress photo.obv` writes photo.png
- `obverse info photo.obv` shows what it holds

`obverse COMMAND --help` shows more.

"""

app = App(
    name="obverse",
    help=HELP + exit_codes(),
    version=obverse.__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # `run` has its own sentence and exit code for it
)
train_app = App(name="train", help="Train a codec's model from a folder of data.")
app.command(train_app)


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


def _read_stdin() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except (OSError, AttributeError) as error:  # sys.stdin is None where it is closed
        raise InputError(f"standard input cannot be read: {error}") from error


def _write(target: Path, data: bytes, force: bool) -> None:
    if target != STDIN:
        write_atomically(target, data, overwrite=force)
    elif sys.stdout.isatty() and not force:
        raise OutputError("standard output is a terminal: redirect it, name a file with -o, or use --force")
    else:
        out_bytes(data)


def _obv_name(path: Path) -> str:
    return (path.resolve().name if os.path.isdir(path) else path.stem) + ".obv"


def _bytes_under(path: Path) -> int:
    """Of a file, or of all files of a folder that is one set."""
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _length(path: Path, data: bytes | None) -> int:
    return path.stat().st_size if data is None else len(data)


def _row(job: Job, before: int, after: int) -> Row:
    return {"input": str(job.source), "output": str(job.target), "bytes_in": before, "bytes_out": after}


def _report(rows: list[Row], as_json: bool, to_stdout: bool) -> None:
    """A line for each file and a total; on stderr when data goes to stdout."""
    show = say if to_stdout else out
    if as_json:
        show(to_json(rows))
        return
    done = [row for row in rows if "error" not in row]
    for row in done:
        text = f"{row['input']} -> {row['output']}: {human(row['bytes_in'])} -> {human(row['bytes_out'])}"
        show(text + (f", {row['bpp']:.3f} bpp" if "bpp" in row else ""))
    if len(done) > 1:
        before, after = (sum(row[key] for row in done) for key in ("bytes_in", "bytes_out"))
        show(f"{len(done)} files: {human(before)} -> {human(after)} ({after / max(before, 1):.1%})")


def _encode_options(codec: Codec, given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, checked for what the codec takes. Raises UsageError."""
    options = {name: value for name, value in given.items() if value is not None}
    rates = [name for name in ("quality", "bpp", "max_bytes") if name in options]
    if len(rates) > 1:
        raise UsageError("give one of --quality, --bpp and --max-bytes")
    if not 0 < options.get("bpp", 1) < math.inf:
        raise UsageError(f"--bpp must be a number above 0, not {options['bpp']}")
    parameters = inspect.signature(codec.encode).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for name in options.keys() - parameters.keys():
            option = "unlimited" if name == "limits" else name.replace("_", "-")
            raise UsageError(f"codec {codec.id!r} has no use for --{option}")
    return options


def _pairs(texts: list[str] | None) -> dict[str, str] | None:
    for text in texts or ():
        if not text.partition("=")[0] or "=" not in text:
            raise UsageError(f"--metadata takes KEY=TEXT, not {text!r}")
    return dict(text.split("=", 1) for text in texts) if texts else None


@app.command
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
    lossless: Annotated[
        bool, Parameter(negative="", help="Keep every pixel: the codec image-lossless.")
    ] = False,
    quality: Quality = None,
    bpp: Bpp = None,
    max_bytes: MaxBytes = None,
    effort: Effort = None,
    lmbda: Lmbda = None,
    metadata: Metadata = None,
    force: Force = False,
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
    chosen = obverse.open_codec(codec or ("image-lossless" if lossless else "image"))
    options = _encode_options(
        chosen,
        {
            "quality": quality,
            "bpp": bpp,
            "max_bytes": None if max_bytes is None else parse_bytes(max_bytes),
            "effort": effort,
            "lmbda": lmbda,
            "metadata": _pairs(metadata),
            "limits": Limits.unlimited() if unlimited else None,
        },
    )

    def work(job: Job) -> Row:
        started = time.perf_counter()
        if job.source == STDIN:
            raw = _read_stdin()
            before, data = len(raw), chosen.load(BytesIO(raw))
        else:
            data = chosen.load(job.source)
            before = _bytes_under(job.source)
        with search_bar(shown=bool(effort) and len(jobs) == 1) as progress:
            packed = write(chosen.encode(data, **options, **({"progress": progress} if progress else {})))
        _write(job.target, packed, force)
        row = _row(job, before, len(packed))
        size = getattr(data, "size", None)
        if isinstance(size, tuple) and len(size) == 2:
            row["bpp"] = len(packed) * 8 / (size[0] * size[1])
        return row | {"seconds": round(time.perf_counter() - started, 3)}

    suffixes = IMAGE_SUFFIXES if chosen.method.suffix in IMAGE_SUFFIXES else {chosen.method.suffix}
    jobs = plan(inputs, output, suffixes, _obv_name, whole_folders=chosen.method.folder)
    with _no_pixel_limit(unlimited):
        rows, code = run_jobs(jobs, "compressing", work, force)
    _report(rows, json, any(job.target == STDIN for job in jobs))
    return code


@app.command
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
    force: Force = False,
    json: Json = False,
    unlimited: Big = False,
) -> int:
    """Decompress .obv files. The name of the output says the kind of file: .png, .jpg, .webp, .npy, ...

    For example:

    - `obverse decompress photo.obv` writes photo.png
    - `obverse decompress photo.obv -o photo.webp`
    - `obverse decompress packed/ -o pictures/`
    - `obverse decompress - -o - < photo.obv > photo.png`
    - `obverse decompress x.obv --side-info y.npy`
    - `obverse decompress cut.obv --recover`
    """
    from obverse.codec import codec_of

    limits = Limits.unlimited() if unlimited else Limits()
    if recover and side_info is not None:
        raise UsageError("--recover is for codecs without side information: do not give --side-info")

    def work(job: Job) -> Row:
        data = _read_stdin() if job.source == STDIN else None
        source = job.source if data is None else data
        if recover:
            unpacked, lost = recovered(source, job.target, model, limits)
            _write(job.target, unpacked, force)
            for sentence in lost.get("missing", ()):
                say(f"warning: {job.source}: {sentence}")
            return _row(job, _length(job.source, data), len(unpacked)) | lost
        container = read(source, limits)
        chosen = codec_of(container, side_info is not None, model)
        name = str(job.target) if job.target.suffix else f"x{chosen.method.suffix}"
        side = {} if side_info is None else {"side_info": chosen.load_side_info(side_info)}
        unpacked = chosen.save(container, name, limits, **side)
        _write(job.target, unpacked, force)
        return _row(job, _length(job.source, data), len(unpacked))

    def rename(path: Path) -> str:
        try:
            suffix = find_method(read_header(path, limits).codec).suffix
        except obverse.ObverseError:
            suffix = ".png"  # the job itself will say what is wrong
        return path.stem + suffix

    jobs = plan(inputs, output, {".obv"}, rename)
    rows, code = run_jobs(jobs, "decompressing", work, force)
    _report(rows, json, any(job.target == STDIN for job in jobs))
    return code


@app.command
def info(
    inputs: Annotated[list[Path], Parameter(help="Files, or - for standard input.")],
    /,
    *,
    json: Json = False,
) -> int:
    """Show what .obv files hold, and check their checksums; nothing is decoded.

    For example:

    - `obverse info photo.obv`
    - `obverse info --json packed/*.obv`
    """

    def work(job: Job) -> Row:
        facts = describe(_read_stdin() if job.source == STDIN else job.source)
        return {"input": str(job.source)} | facts

    rows, code = run_jobs([Job(path, STDIN) for path in inputs], "reading", work, force=True)
    if json:
        out(to_json(rows))
        return code
    for facts in rows:
        if "error" not in facts:
            show_facts(facts)
    return code


@app.command(name="list")
def list_(*, json: Json = False) -> int:
    """List the codecs that can be used here.

    For example: `obverse list --json`
    """
    from dataclasses import asdict

    from obverse.zoo import own_models

    entries, own = obverse.list_codecs(), own_models()
    if json:
        models = [{"model": name, "codec": codec} for name, codec in own.items()]
        out(to_json([asdict(entry) for entry in entries] + models))
    else:
        for entry in entries:
            out(f"{entry.id:16} {printable(entry.summary)} ({entry.package})")
        for name, codec in own.items():
            out(f"{printable(name):16} a model of yours for codec {printable(codec)}")
    return 0


app.command(evaluate)
app.command(limits)
for _method in list_methods():
    if _method.training is not None:
        train_app.command(_method.where(_method.training), name=_method.id)
    for _command in _method.commands:
        app.command(_method.where(_command.run), name=_command.name)


def load_commands() -> None:
    """Import what methods add, so that lists of commands can show the first line of each."""
    for group in (app, train_app):
        for name in group:
            group[name]
