"""`obverse limits`: the rate-distortion curve of a source, and codecs drawn on it."""

from __future__ import annotations

import csv
import io
import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from obverse.cli.console import UsageError, say, to_json
from obverse.cli.limit_curves import LABELS, Limits, of_bernoulli, of_gaussian, of_laplace, of_samples
from obverse.cli.options import Force, Json
from obverse.cli.reports import check_report
from obverse.data.guard import unreadable
from obverse.errors import InputError, UnsupportedInputError

if TYPE_CHECKING:  # NumPy and matplotlib are loaded when the command runs
    import numpy as np

    from obverse.theory import Measured, RateDistortionCurve

FILES = ("curve.csv", "curve.png")
ROUNDING_BITS = (
    0.005  # by which a point may lie below a limit without a word: curves are drawn through points
)

sources = Group("Source (one of)", sort_key=1)


def limits(
    *,
    gaussian: Annotated[float | None, Parameter(group=sources, help="A Gaussian of this variance.")] = None,
    bernoulli: Annotated[float | None, Parameter(group=sources, help="A coin of this probability.")] = None,
    laplace: Annotated[
        float | None, Parameter(group=sources, help="A Laplacian of this scale b, density exp(-|x|/b) / 2b.")
    ] = None,
    samples: Annotated[
        Path | None,
        Parameter(group=sources, help="A .npy file of samples: scalars (n,) or vectors (n, dims)."),
    ] = None,
    side_info: Annotated[
        Path | None,
        Parameter(
            help="With --samples: a .npy file of side information that only the decoder has, scalars (n,)."
        ),
    ] = None,
    side_info_noise: Annotated[
        float | None,
        Parameter(help="With --gaussian: the variance of x given Gaussian side information at the decoder."),
    ] = None,
    distortion: Annotated[
        str | None, Parameter(help="mse, abs or hamming; by default what suits the source.")
    ] = None,
    points: Annotated[
        Path | None,
        Parameter(help="A CSV of yours to draw: columns distortion, rate_bits and, if you like, label."),
    ] = None,
    codec: Annotated[
        list[str] | None,
        Parameter(
            negative="",
            help="With --samples: code them for real with this codec or model (a folder with a slash: ./model), and "
            "draw it; repeat for several.",
        ),
    ] = None,
    sandwich: Annotated[
        bool,
        Parameter(negative="", help="For vectors: learned bounds from above and below too (minutes)."),
    ] = False,
    out: Annotated[Path | None, Parameter(help="Folder for curve.csv and curve.png.")] = None,
    force: Force = False,
    json: Json = False,
) -> int:
    """Show what is possible: the rate-distortion curve of a source, with codecs drawn on it.

    Distortions are means per sample (of vectors: the sum over dimensions), rates bits per sample. Without
    --out the curve is printed as CSV.

    For example:

    - `obverse limits --gaussian 1`
    - `obverse limits --gaussian 1.1 --side-info-noise 0.1 --out limits/`
    - `obverse limits --samples x.npy --side-info y.npy --points results.csv --out limits/`
    - `obverse limits --samples x.npy --side-info y.npy --codec runs/mine --out limits/ --force`
    """
    given = {"gaussian": gaussian, "bernoulli": bernoulli, "laplace": laplace, "samples": samples}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        raise UsageError("give one source: --gaussian, --bernoulli, --laplace or --samples")
    if names != ["samples"] and (side_info or codec or sandwich):
        raise UsageError("--side-info, --codec and --sandwich go with --samples")
    if names != ["gaussian"] and side_info_noise is not None:
        raise UsageError("--side-info-noise goes with --gaussian; with --samples give --side-info FILE")
    if distortion is not None and distortion not in LABELS:
        raise UsageError(f"--distortion is one of {', '.join(LABELS)}, not {distortion!r}")
    from obverse.registry import open_codec

    if out is not None:
        check_report(out, FILES, (points, samples, side_info), force)  # before the curve is computed
    measured = _read_points(points) if points else []
    if samples is not None:
        for name in codec or ():
            open_codec(name)  # whether it is there, before the curve is computed
        x, y = _read_samples(samples, side_info)
        found = of_samples(x, y, distortion or "mse", sandwich)
        for name in codec or ():
            measured.append(_run_codec(name, x, y, found.distortion))
    else:
        if gaussian is not None:
            found = of_gaussian(gaussian, side_info_noise, distortion or "mse")
        elif laplace is not None:
            found = of_laplace(laplace, distortion or "abs")
        else:
            found = of_bernoulli(float(bernoulli or 0), distortion or "hamming")
    return _show(found, measured, out, json)


# -- what is read and written -------------------------------------------------------------------------------


def _read_samples(samples: Path, side_info: Path | None) -> tuple[np.ndarray, np.ndarray | None]:
    import numpy as np

    from obverse.data.arrays import read_array
    from obverse.theory.wasserstein_gd import check_samples

    x = read_array(samples, "samples")
    check_samples(x)
    if side_info is None:
        return x, None
    y = read_array(side_info, "side information")
    if y.shape[:1] != x.shape[:1]:
        raise InputError(
            f"{samples} holds {len(x)} samples, but {side_info} has shape {y.shape}: one y for each x"
        )
    if y.dtype.kind not in "fiub" or not np.isfinite(y).all():
        raise InputError(f"{side_info} must hold finite real numbers")
    return x, y


def _read_points(path: Path) -> list[Measured]:
    from obverse.theory import Measured

    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(unreadable(path, error)) from error
    reader = csv.DictReader(io.StringIO(text))
    columns = [name.strip() for name in reader.fieldnames or ()]
    if not {"distortion", "rate_bits"} <= set(columns):
        raise InputError(
            f"{path} needs the columns distortion and rate_bits in its first line, not {columns}"
        )
    result = []
    for number, row in enumerate(reader, 2):
        cells = {(key or "").strip(): value for key, value in row.items()}
        try:
            values = float(cells["distortion"]), float(cells["rate_bits"])
        except (TypeError, ValueError):
            values = math.nan, math.nan
        if not (all(map(math.isfinite, values)) and min(values) >= 0):
            raise InputError(f"{path}, line {number}: distortion and rate_bits must be finite numbers >= 0")
        result.append(Measured(*values, label=(cells.get("label") or path.stem).strip()))
    if not result:
        raise InputError(f"{path} has no points below its first line")
    return result


def _run_codec(name: str, x: np.ndarray, y: np.ndarray | None, distortion: str) -> Measured:
    """Code the samples for real: bits of the file per sample, distortion of what comes back."""
    import numpy as np

    from obverse.codec import side_of
    from obverse.container import read, write
    from obverse.registry import open_codec
    from obverse.theory import Measured

    codec = open_codec(name)
    say(f"coding the samples with {name}")
    packed = write(codec.encode(x))
    back = np.asarray(codec.decode(read(packed), **side_of(codec, y if codec.method.side_info else None)))
    if back.shape != x.shape:
        raise UnsupportedInputError(f"codec {name!r} gave an array {back.shape} back for samples {x.shape}")
    error = x.reshape(len(x), -1).astype(np.float64) - back.reshape(len(x), -1)
    each = {"mse": error**2, "abs": np.abs(error), "hamming": error != 0}[distortion]
    return Measured(float(each.sum(1).mean()), len(packed) * 8 / len(x), name)


def _show(found: Limits, measured: list[Measured], folder: Path | None, as_json: bool) -> int:
    from obverse.cli.console import out
    from obverse.container.files import make_folder, write_atomically

    text = _csv(found.curves, measured)
    for point in measured:
        sentence = _impossible(found, point)
        if sentence:
            say(f"warning: {sentence}")
    if as_json:
        out(to_json(_facts(found, measured)))
    else:
        say(f"{found.source}, {LABELS[found.distortion]}: {found.note}")
        for point in measured:
            out_of = _against(found.curves, point)
            say(f"{point.label}: {point.rate_bits:.4f} bits at distortion {point.distortion:.6g}{out_of}")
        if folder is None:
            out(text.rstrip("\n"))
    if folder is not None:
        from obverse.theory import plot_curves

        logarithmic = found.distortion != "hamming"
        picture = plot_curves(
            found.curves, measured, f"Limits: {found.source}", LABELS[found.distortion], logarithmic
        )
        make_folder(folder)
        for file, data in zip(FILES, (text.encode(), picture), strict=True):
            write_atomically(folder / file, data, overwrite=True)
            say(f"wrote {folder / file}")
    return 0


def _against(curves: list[RateDistortionCurve], point: Measured) -> str:
    """How far a measured point is above the limit that holds for it, the last one that is achievable."""
    names = [curve.name for curve in curves]
    curve = curves[names.index("Wyner-Ziv R(D)")] if "Wyner-Ziv R(D)" in names else curves[0]
    try:
        limit = curve.estimate_bits_at(point.distortion)
    except InputError:
        return ""
    return f", {point.rate_bits - limit:+.4f} bits from {curve.name}"


def _impossible(found: Limits, point: Measured) -> str:
    """What to say of a point that lies where no code can be; empty for others."""
    curve = found.bracket or found.curves[-1]
    least = curve.lower_rate_bits_at(point.distortion)
    if all(math.isnan(p.slope_nats) for p in curve.points):  # of a formula
        with suppress(InputError):
            least = curve.estimate_bits_at(point.distortion)
    if not point.rate_bits < least - ROUNDING_BITS:
        return ""
    if found.bracket is None:
        why = "is it of another source, or of few samples?"
    else:
        why = (
            "the estimate does not see all of the source's structure (give more samples), or the point is of other "
            "samples, or of too few"
        )
    return (
        f"{point.label}: {point.rate_bits:.4f} bits at distortion {point.distortion:.6g} lie below the "
        f"{least:.4f} bits that {curve.name} allows at least: {why}"
    )


def _csv(curves: list[RateDistortionCurve], measured: list[Measured]) -> str:
    lines = ["curve," + curves[0].csv().splitlines()[0]]
    for curve in curves:
        lines += [f'"{curve.name}",{line}' for line in curve.csv().splitlines()[1:]]
    for point in measured:
        label = point.label.replace('"', '""')
        lines.append(f'"{label}",{point.distortion:.8g},{point.rate_bits:.8g},,')
    return "\n".join(lines) + "\n"


def _facts(found: Limits, measured: list[Measured]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "source": found.source,
        "distortion": found.distortion,
        "note": found.note,
        "curves": [{"name": c.name, "points": [asdict(p) for p in c.points]} for c in found.curves],
        "points": [asdict(point) for point in measured],
    }
