"""The commands. Each is one function; what its help says is its docstring.

torch is imported by the commands that need it, when they run: `--help`, `info` and `list` answer at once.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Group, Parameter

import obverse
from obverse.cli.batch import STDIN, Job, plan, run_jobs
from obverse.cli.console import human, out, parse_bytes, progress_bar, say
from obverse.container import Limits, describe, read, write_atomically
from obverse.errors import InputError

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".avif"}

app = App(
    name="obverse",
    help="Learned data compression as real codecs: smaller files, decoded exactly anywhere.",
    version=obverse.__version__,
    help_format="markdown",
)
train_app = App(name="train", help="Train a codec's model from a folder of data.")
app.command(train_app)

Json = Annotated[bool, Parameter(name="--json", negative="", help="Print what was done as JSON.")]
Force = Annotated[bool, Parameter(name=["--force", "-f"], negative="", help="Overwrite files that exist.")]
Output = Annotated[Path | None, Parameter(name=["--output", "-o"], help="A file, a folder for several, or -.")]
Big = Annotated[bool, Parameter(name="--unlimited", negative="", help="No limits on pixels and memory: for data that you trust.")]
targets = Group("Rate (one of)", sort_key=1)


def _limits(unlimited: bool) -> Limits:
    return Limits.unlimited() if unlimited else Limits()


def _write(target: Path, data: bytes, force: bool) -> None:
    if target == STDIN:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        write_atomically(target, data, overwrite=force)


def _report(done: list[dict[str, Any]], as_json: bool, to_stdout: bool) -> None:
    """A line for each file and a total; on stderr when data goes to stdout."""
    show = say if to_stdout else out
    if as_json:
        show(json.dumps(done, indent=2))
        return
    for row in done:
        show(f"{row['input']} -> {row['output']}: {row['text']}")
    if len(done) > 1:
        before, after = (sum(row[key] for row in done) for key in ("bytes_in", "bytes_out"))
        show(f"{len(done)} files: {human(before)} -> {human(after)} ({after / max(before, 1):.1%})")


@app.command
def compress(
    inputs: Annotated[list[Path], Parameter(help="Files, folders, or - for standard input.")],
    /,
    *,
    output: Output = None,
    codec: Annotated[str, Parameter(help="Codec id; `obverse list` shows them.")] = "image",
    quality: Annotated[float | None, Parameter(name=["--quality", "-q"], group=targets, help="1 to 100, default 50.")] = None,
    bpp: Annotated[float | None, Parameter(group=targets, help="Bits per pixel, met from below.")] = None,
    max_bytes: Annotated[str | None, Parameter(group=targets, help="Size of each file, met from below: 40000, 40k, 1.5M.")] = None,
    force: Force = False,
    json: Json = False,
    unlimited: Big = False,
) -> int:
    """Compress files to .obv.

    Examples:

    - `obverse compress photo.png` writes photo.obv
    - `obverse compress photo.jpg -o small.obv --max-bytes 40k`
    - `obverse compress holiday/ -o packed/ --quality 60`
    - `cat photo.png | obverse compress - > photo.obv`
    """
    from obverse.codec import compress as to_bytes
    from obverse.registry import open_codec

    chosen = open_codec(codec)
    options: dict[str, Any] = {}
    if quality is not None:
        options["quality"] = quality
    if bpp is not None:
        options["bpp"] = bpp
    if max_bytes is not None:
        try:
            options["max_bytes"] = parse_bytes(max_bytes)
        except ValueError as error:
            raise InputError(f"--max-bytes: {error}") from None
    if len(options) > 1:
        raise InputError("give one of --quality, --bpp and --max-bytes")
    if unlimited:
        options["limits"] = Limits.unlimited()

    def work(job: Job) -> dict[str, Any]:
        started = time.perf_counter()
        data = chosen.load(sys.stdin.buffer if job.source == STDIN else job.source)
        packed = to_bytes(data, codec=codec, **options)
        _write(job.target, packed, force)
        before = job.source.stat().st_size if job.source != STDIN else 0
        row: dict[str, Any] = {"input": str(job.source), "output": str(job.target), "bytes_in": before, "bytes_out": len(packed)}
        text = f"{human(before)} -> {human(len(packed))}" if before else human(len(packed))
        size = getattr(data, "size", None)
        if isinstance(size, tuple) and len(size) == 2:
            row["bpp"] = len(packed) * 8 / (size[0] * size[1])
            text += f", {row['bpp']:.3f} bpp"
        row["seconds"] = round(time.perf_counter() - started, 3)
        return row | {"text": text}

    jobs = plan(inputs, output, IMAGE_SUFFIXES, lambda path: path.stem + ".obv")
    done, code = run_jobs(jobs, "compressing", work, force)
    _report(done, json, any(job.target == STDIN for job in jobs))
    return code


@app.command
def decompress(
    inputs: Annotated[list[Path], Parameter(help="Files, folders, or - for standard input.")],
    /,
    *,
    output: Output = None,
    force: Force = False,
    json: Json = False,
    unlimited: Big = False,
) -> int:
    """Decompress .obv files; the name of the output says the kind of file (images: .png, .jpg, .webp, .npy, ...).

    Examples:

    - `obverse decompress photo.obv` writes photo.png
    - `obverse decompress photo.obv -o photo.webp`
    - `obverse decompress packed/ -o pictures/`
    - `obverse decompress - -o - < photo.obv > photo.png`
    """
    from obverse.codec import codec_of
    from obverse.registry import open_codec

    limits = _limits(unlimited)

    def work(job: Job) -> dict[str, Any]:
        data = sys.stdin.buffer.read() if job.source == STDIN else None
        container = read(job.source if data is None else data, limits)
        chosen = codec_of(container)
        name = str(job.target) if job.target.suffix else f"x{chosen.suffix}"
        unpacked = chosen.save(container, name, limits)
        _write(job.target, unpacked, force)
        before = job.source.stat().st_size if data is None else len(data)
        row = {"input": str(job.source), "output": str(job.target), "bytes_in": before, "bytes_out": len(unpacked)}
        return row | {"text": f"{human(before)} -> {human(len(unpacked))}"}

    def rename(path: Path) -> str:
        try:
            suffix = open_codec(read(path, limits).codec).suffix
        except obverse.ObverseError:
            suffix = ".png"  # the job itself will say what is wrong
        return path.stem + suffix

    jobs = plan(inputs, output, {".obv"}, rename)
    done, code = run_jobs(jobs, "decompressing", work, force)
    _report(done, json, any(job.target == STDIN for job in jobs))
    return code


@app.command
def info(inputs: Annotated[list[Path], Parameter(help="Files, or - for standard input.")], /, *, json: Json = False) -> int:
    """Show what .obv files hold, and check their checksums; nothing is decoded.

    Example: `obverse info photo.obv`
    """
    from json import dumps

    def work(job: Job) -> dict[str, Any]:
        facts = describe(sys.stdin.buffer.read() if job.source == STDIN else job.source)
        return {"input": str(job.source)} | facts

    done, code = run_jobs([Job(path, STDIN) for path in inputs], "reading", work, force=True)
    if json:
        out(dumps(done, indent=2, default=lambda value: value.hex() if isinstance(value, bytes) else str(value)))
        return code
    for facts in done:
        out(f"{facts['input']}: {facts['file_bytes']} bytes, format version {facts['version']}, checksums hold")
        out(f"  codec     {facts['codec']}" + (f", model {facts['model']}" if facts["model"] else ""))
        out(f"  shape     {' x '.join(map(str, facts['shape']))}")
        shape = facts["shape"]
        if facts["codec"] == "image" and len(shape) == 2 and isinstance(level := facts["config"].get(0), int):
            out(f"  quality   {1 + level / 20:g}, {'gray' if facts['config'].get(1) == 1 else 'colour'}")
            out(f"  rate      {facts['file_bytes'] * 8 / (shape[0] * shape[1]):.4f} bits per pixel")
        else:
            out(f"  config    {facts['config']}")
        if facts["items"] is not None:
            out(f"  items     {facts['items']}, {facts['item_bytes']} bytes")
        for name, size in facts["sections"].items():
            out(f"  section   {name}: {size} bytes")
        for name, value in facts["metadata"].items():
            out(f"  metadata  {name}: {value}")
        out(f"  overhead  {facts['file_bytes'] - sum(facts['sections'].values()) - (facts['item_bytes'] or 0)} bytes")
    return code


@app.command(name="list")
def list_(*, json: Json = False) -> int:
    """List the codecs that can be used here.

    Example: `obverse list --json`
    """
    from dataclasses import asdict
    from json import dumps

    entries = obverse.list_codecs()
    if json:
        out(dumps([asdict(entry) for entry in entries], indent=2))
    else:
        for entry in entries:
            out(f"{entry.id:16} {entry.summary} ({entry.package})")
    return 0


@train_app.command(name="image")
def train_image(
    *,
    data: Annotated[list[Path], Parameter(help="Folders of photos; repeat for several.", negative="")],
    out: Annotated[Path, Parameter(help="Folder for checkpoint, recipe and logs.")],
    steps: Annotated[int, Parameter(help="Training steps in all.")] = 40_000,
    batch: Annotated[int, Parameter(help="Patches a step.")] = 8,
    patch: Annotated[int, Parameter(help="Side of a patch in pixels, a multiple of 64.")] = 128,
    lr: Annotated[float, Parameter(help="Learning rate of Adam, before its fall at the end.")] = 1e-3,
    seed: int = 1,
    device: Annotated[str, Parameter(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
) -> int:
    """Train the image codec; a run that was stopped goes on from its checkpoint.

    Example: `obverse train image --data photos/ --out runs/mine`, then
    `obverse export runs/mine --data photos/ --out zoo/image`
    """
    import torch

    from obverse.training.image import ImageRecipe, train
    from obverse.training.image_model import ImageModelConfig

    if threads is not None:
        torch.set_num_threads(threads)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    recipe = ImageRecipe(steps=steps, batch=batch, patch=patch, lr=lr, seed=seed)
    checkpoint = train(data, out, recipe, ImageModelConfig(), device)
    say(f"trained: {checkpoint}")
    return 0


@app.command
def export(
    run: Annotated[Path, Parameter(help="A training folder, or its checkpoint.")],
    /,
    *,
    data: Annotated[list[Path], Parameter(help="The folders trained on, to calibrate integer ranges.", negative="")],
    out: Annotated[Path, Parameter(help="Folder for the model: weights, config, card.")],
    json: Json = False,
) -> int:
    """Turn a training run into the model that ships: integer tables, exact networks, a card.

    Example: `obverse export runs/mine --data photos/ --out zoo/image`, then
    `OBVERSE_ZOO=zoo obverse compress photo.png`
    """
    from json import dumps

    from obverse.cli.console import out as show
    from obverse.training.export import export_image

    checkpoint = run / "checkpoint.pt" if run.is_dir() else run
    with progress_bar("calibrating", 48) as advance:
        facts = export_image(checkpoint, data, out, lambda i, n: advance())
    show(dumps(facts, indent=2) if json else f"{out}: model {facts['fingerprint']}, {human(int(str(facts['bytes'])))}")
    return 0


@app.command
def evaluate(
    inputs: Annotated[list[Path], Parameter(help="Images, or folders of them.")],
    /,
    *,
    codec: str = "image",
    against: Annotated[str, Parameter(help="Peers, comma-separated: jpeg, webp, avif, jxl.")] = "jpeg,webp,avif",
    out: Annotated[Path, Parameter(help="Folder for the CSV files and the plot.")] = Path("report"),
    ms_ssim: Annotated[bool, Parameter(help="Measure MS-SSIM as well as PSNR.")] = True,
) -> int:
    """Compare a codec with others on real files: rates, PSNR, MS-SSIM, BD-rates, a plot.

    Example: `obverse evaluate kodak/ --codec image --against jpeg,webp,avif,jxl --out report/`
    """
    from obverse.cli.console import out as show
    from obverse.evaluation import Failure, bd_rates, markdown_table, write_report
    from obverse.evaluation import evaluate as measure

    peers = tuple(name for name in against.split(",") if name)
    files: list[Path] = []
    for path in inputs:
        files += [f for f in sorted(path.rglob("*")) if f.suffix.lower() in IMAGE_SUFFIXES] if path.is_dir() else [path]
    if not files:
        raise InputError(f"no images under {', '.join(map(str, inputs))}")
    state: dict[str, Any] = {"last": time.monotonic()}

    def progress(done: int, total: int) -> None:
        if done == total or time.monotonic() - state["last"] > 5:
            state["last"] = time.monotonic()
            say(f"measured {done} of {total}")

    failures: list[Failure] = []
    rows = measure(files, codec, against=peers, ms_ssim=ms_ssim, progress=progress, failures=failures)
    for failure in failures:
        say(f"error: {failure.path}: {failure.error}")
    paths = write_report(rows, out)
    show(markdown_table(rows))
    for rate in bd_rates(rows):
        if rate.test == codec:
            show(f"BD-rate ({rate.metric}) of {rate.test} against {rate.anchor}: {rate.percent:+.1f} %")
    for path in paths.values():
        say(f"wrote {path}")
    return InputError.exit_code if failures else 0
