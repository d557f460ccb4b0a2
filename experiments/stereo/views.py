"""Right views of stereo pairs: coded alone, coded for a decoder that has the left view, and coded jointly.

    python experiments/stereo/views.py pairs --gray FOLDER --colour FOLDER --out report/stereo
    python experiments/stereo/views.py memory

`pairs` writes, from real files: images.csv (every measurement), bd_rates.csv, latents.csv (what the left view tells
about the latents), rd.png and views.png. The gray folder's last five pairs are the test; the joint coder is fitted
on others of it, never on these. The colour pairs are of other cameras, and no part of any training.
`memory` prints what decoding takes.
"""

from __future__ import annotations

import argparse
import csv
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import joint
import numpy as np
import torch
from matplotlib.figure import Figure

from obverse.codec import side_of
from obverse.codecs.image.codec import ImageCodec, level_of, message_of, quality_of_level
from obverse.codecs.image.encoder import quantise_pixels
from obverse.codecs.image.model import lmbda_of
from obverse.codecs.image.networks import quality_of
from obverse.codecs.stereo.codec import StereoCodec, fuse_pixels, like, to_tensor
from obverse.codecs.stereo.pairs import pair_files, read_pair
from obverse.container import read, write
from obverse.evaluation.rates import Row
from obverse.evaluation.report import summarise
from obverse.metrics.bd_rate import bd_rate

LOW = (1, 5, 10, 15, 20, 25, 30)
HIGH = (30, 45, 60, 75)
TEST_PAIRS = 5
FIT_PAIRS = 4
JOINT = (1, 10, 20, 30)
STYLES = {
    "image": ("#000000", "o", "right view alone (image)"),
    "stereo": ("#d55e00", "s", "left view at the decoder (stereo)"),
    "joint": ("#0072b2", "^", "left view at encoder and decoder (joint)"),
}

Pair = tuple[str, np.ndarray, np.ndarray]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def row(
    name: str,
    codec: str,
    quality: float,
    size: int,
    right: np.ndarray,
    decoded: np.ndarray,
    seconds: tuple[float, float],
) -> Row:
    height, width = right.shape[:2]
    return Row(
        name, codec, quality, size, 8 * size / (height * width), psnr(decoded, right), float("nan"), *seconds
    )


def measure(pair: Pair, quality: float, image: ImageCodec, stereo: StereoCodec) -> list[Row]:
    """The image codec's and the stereo codec's file of the right view."""
    name, left, right = pair
    rows = []
    for codec in (image, stereo):
        start = time.process_time()
        data = write(codec.encode(right, codec.options(quality=quality)))
        middle = time.process_time()
        decoded = codec.decode(read(data), **side_of(codec, left if codec is stereo else None))
        seconds = middle - start, time.process_time() - middle
        rows.append(row(name, codec.id, quality, len(data), right, decoded, seconds))
    return rows


def measure_joint(
    pair: Pair, model: joint.JointModel, stereo: StereoCodec, quality: float
) -> tuple[Row, dict[str, object]]:
    """The joint coder's file, with the container that the image codec has; and what its latents weigh."""
    name, left, right = pair
    networks = stereo.networks
    start = time.process_time()
    data, latent_bits, side_bits = joint.encode(networks, model, left, right)
    middle = time.process_time()
    base = joint.decode(networks, model, data, left)
    decoded, _ = fuse_pixels(stereo.fusion, base, left, model.level)
    seconds = middle - start, time.process_time() - middle
    alone = message_of(networks.tables, quantise_pixels(networks, right, model.level)[0]).to_bytes()
    overhead = len(write(stereo.encode(right, stereo.options(quality=quality)))) - len(alone)
    entry = {
        "image": name,
        "quality": quality,
        "latents_bits": 8 * len(alone),
        "latents_given_left_bits": round(latent_bits),
        "disparity_and_mode_bits": round(side_bits),
        "message_bits": 8 * len(data),
    }
    return row(name, "joint", quality, len(data) + overhead, right, decoded, seconds), entry


def decoder_view(
    stereo: StereoCodec, left: np.ndarray, right: np.ndarray, level: int
) -> tuple[np.ndarray, np.ndarray]:
    """What a decoder knows that has decoded the image codec's file: the left view, aligned, (H, W, 3) uint8, and a
    class for each block of 16x16 pixels by how far it is from the decoded view, worst first."""
    base = ImageCodec.decode_photo(
        stereo, stereo.encode(right, stereo.options(quality=quality_of_level(level)))
    ).pixels
    with torch.inference_mode():
        x, y = to_tensor(base), to_tensor(left)
        aligned = stereo.fusion(x, y, quality_of(level)).aligned[0].permute(1, 2, 0)
    aligned = (
        (aligned[: right.shape[0], : right.shape[1]] * 255).clamp(0, 255).round().to(torch.uint8).numpy()
    )
    far = np.abs(joint.pad(aligned).astype(float) - joint.pad(base)).mean(2)
    rows, columns = far.shape[0] // joint.BLOCK, far.shape[1] // joint.BLOCK
    far = far.reshape(rows, joint.BLOCK, columns, joint.BLOCK).mean((1, 3))
    return aligned, np.digitize(-far, (-16, -9, -5))  # grey levels


def slepian_wolf_bits(
    stereo: StereoCodec,
    fitting: Sequence[tuple[np.ndarray, np.ndarray]],
    pairs: Sequence[Pair],
    level: int,
    lmbda: float,
) -> list[float]:
    """For each pair the ideal bits of the latents given what the decoder knows, by the joint coder's conditional
    model without anything sent: what Slepian-Wolf coding of the latents could come to at best."""
    known = [decoder_view(stereo, left, right, level) for left, right in fitting]
    model = joint.fit(stereo.networks, fitting, level, lmbda, known=known)
    return [
        joint.conditional_bits(stereo.networks, model, right, *decoder_view(stereo, left, right, level))
        for _, left, right in pairs
    ]


def curve(rows: Sequence[Row], codec: str, qualities: Sequence[float]) -> list[tuple[float, float]]:
    """Mean bpp and mean PSNR over the pairs, at each quality."""
    return [(s.bpp, s.psnr) for s in summarise(rows) if s.codec == codec and s.quality in qualities]


def bd_rates(rows: Sequence[Row], data: str, qualities: Sequence[float]) -> list[dict[str, object]]:
    """BD-rate (PSNR) of codecs at these qualities against the image codec at all of its own: of the mean curves,
    and the range over the pairs. All of its own, so that the PSNRs that are reached with the left view are
    compared, and not only those that the image codec reaches at the same qualities."""
    every = LOW + HIGH
    found = []
    for codec in ("stereo", "joint"):
        if any(r.codec == codec for r in rows):
            names = dict.fromkeys(r.image for r in rows)
            each = [
                bd_rate(curve(own, "image", every), curve(own, codec, qualities))
                for own in ([r for r in rows if r.image == name] for name in names)
            ]
            mean = bd_rate(curve(rows, "image", every), curve(rows, codec, qualities))
            found.append(
                {
                    "data": data,
                    "codec": codec,
                    "qualities": f"{qualities[0]} to {qualities[-1]}",
                    "percent": round(mean, 1),
                    "best_pair": round(min(each), 1),
                    "worst_pair": round(max(each), 1),
                }
            )
    return found


def write_csv(path: Path, records: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def plot(results: dict[str, list[Row]], path: Path) -> None:
    figure = Figure(figsize=(5.6 * len(results), 4.6), layout="constrained")
    for axes, (title, rows) in zip(
        np.atleast_1d(figure.subplots(1, len(results))), results.items(), strict=True
    ):
        for codec, (colour, marker, label) in STYLES.items():
            points = curve(rows, codec, LOW)
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, marker=marker, label=label)
        pairs = len({r.image for r in rows})
        axes.set(xlabel="bits per pixel of the right view (whole file)", ylabel="PSNR (dB)")
        axes.set_title(f"{title}, mean of {pairs} pairs", fontsize=11)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9, loc="lower right")
    figure.savefig(path, dpi=110)


def plot_views(pair: Pair, quality: float, stereo: StereoCodec, image: ImageCodec, path: Path) -> None:
    """One right view: original, left view, both decoded views from the same bits, their errors, the disparity."""
    name, left, right = pair
    container = stereo.encode(right, stereo.options(quality=quality))
    base = image.decode(container)
    fused = stereo.decode(container, side_info=left)
    with torch.inference_mode():
        found = stereo.fusion(to_tensor(base), to_tensor(like(left, right)), quality_of(container.config[0]))
    disparity = found.disparity[0, 0, : right.shape[0], : right.shape[1]].numpy()
    size = len(write(container))
    wide = right.shape[1] > 2 * right.shape[0]
    figure = Figure(figsize=(13, 8.5) if wide else (15, 7), layout="constrained")
    figure.suptitle(f"{name}, one file of {size} bytes (quality {quality:g})")
    panels = [
        ("right view, original", right, {}),
        ("left view, at the decoder", left, {}),
        (f"image codec, {psnr(base, right):.2f} dB", base, {}),
        (f"stereo codec, {psnr(fused, right):.2f} dB", fused, {}),
    ]
    for title, view in (("error of the image codec", base), ("error of the stereo codec", fused)):
        error = np.abs(view.astype(float) - right)
        panels.append(
            (
                title + " (grey levels)",
                error if error.ndim == 2 else error.mean(2),
                {"vmin": 0, "vmax": 40, "cmap": "magma"},
            )
        )
    panels.append(("disparity found (pixels)", disparity, {"vmin": 0, "vmax": None, "cmap": "viridis"}))
    change = fused.astype(float) - base
    panels.append(
        (
            "what fusion added (grey levels)",
            change if change.ndim == 2 else change.mean(2),
            {"vmin": -40, "vmax": 40, "cmap": "coolwarm"},
        )
    )
    for axes, (title, view, style) in zip(
        (figure.subplots(4, 2) if wide else figure.subplots(2, 4)).flat, panels, strict=True
    ):
        shown = axes.imshow(
            view, **({"cmap": "gray", "vmin": 0, "vmax": 255} | style if view.ndim == 2 else {})
        )
        axes.set_title(title, fontsize=10)
        axes.axis("off")
        if style:
            figure.colorbar(shown, ax=axes, shrink=0.8)
    figure.savefig(path, dpi=100)


def run_pairs(gray: Path, colour: Path | None, out: Path, with_joint: bool) -> None:
    image, stereo = ImageCodec(), StereoCodec()
    out.mkdir(parents=True, exist_ok=True)
    files = pair_files([gray])
    test: dict[str, list[Pair]] = {"driving, gray": [(f.name, *read_pair(f)) for f in files[-TEST_PAIRS:]]}
    if colour:
        test["other cameras, colour"] = [(f.name, *read_pair(f)) for f in pair_files([colour])]
    fitting = [read_pair(f) for f in files[: -TEST_PAIRS : (len(files) - TEST_PAIRS) // FIT_PAIRS]][
        :FIT_PAIRS
    ]
    results: dict[str, list[Row]] = {title: [] for title in test}
    latents: list[dict[str, object]] = []
    for title, pairs in test.items():
        for pair in pairs:
            for quality in LOW + HIGH[1:]:
                results[title] += measure(pair, quality, image, stereo)
        sys.stderr.write(f"{title}: image and stereo measured\n")
    for quality in JOINT if with_joint else ():
        level = level_of(quality)
        lmbda = 2 / float(lmbda_of(quality_of(level)))
        model = joint.fit(stereo.networks, fitting, level, lmbda)
        title = next(iter(test))  # the colour pairs are of other cameras than those that it is fitted on
        ideal = slepian_wolf_bits(stereo, fitting, test[title], level, lmbda)
        for pair, bits in zip(test[title], ideal, strict=True):
            measured, entry = measure_joint(pair, model, stereo, quality)
            results[title].append(measured)
            latents.append({"data": title} | entry | {"latents_given_decoder_view_bits": round(bits)})
        sys.stderr.write(f"joint coding at quality {quality} measured\n")
    records = [{"data": title} | vars(r) for title, rows in results.items() for r in rows]
    write_csv(out / "images.csv", [{k: v for k, v in r.items() if k != "ms_ssim"} for r in records])
    rates = [rate for title, rows in results.items() for rate in bd_rates(rows, title, LOW)]
    for title, rows in results.items():
        rates += bd_rates([r for r in rows if r.codec != "joint"], title, HIGH)
    write_csv(out / "bd_rates.csv", rates)
    plot(results, out / "rd.png")
    plot_views(test["driving, gray"][0], 10, stereo, image, out / "views.png")
    if colour:
        plot_views(test["other cameras, colour"][-1], 10, stereo, image, out / "views_colour.png")
    report(results, rates, latents, out)


def report(
    results: dict[str, list[Row]], rates: list[dict[str, object]], latents: list[dict[str, object]], out: Path
) -> None:
    """Print the tables."""
    lines = ["| data | codec | quality | bpp | PSNR (dB) | decode (CPU s) |", "|---|---|--:|--:|--:|--:|"]
    for title, rows in results.items():
        lines += [
            f"| {title} | {s.codec} | {s.quality:g} | {s.bpp:.4f} | {s.psnr:.2f} | {s.decode_seconds:.2f} |"
            for s in summarise(rows)
        ]
    lines += [
        "",
        "| data | codec | qualities | BD-rate against image | best pair | worst pair |",
        "|---|---|---|--:|--:|--:|",
    ]
    lines += [
        f"| {r['data']} | {r['codec']} | {r['qualities']} | {r['percent']:+.1f} % | {r['best_pair']:+.1f} % "
        f"| {r['worst_pair']:+.1f} % |"
        for r in rates
    ]
    if latents:
        write_csv(out / "latents.csv", latents)
        lines += [
            "",
            "| data | quality | latents, bits | given the decoder's aligned left view, ideal | given disparity "
            "and modes | disparity and modes, bits |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        for quality in JOINT:
            own = [e for e in latents if e["quality"] == quality]
            alone, decoder, given, sides = (
                float(np.mean([e[key] for e in own]))
                for key in (
                    "latents_bits",
                    "latents_given_decoder_view_bits",
                    "latents_given_left_bits",
                    "disparity_and_mode_bits",
                )
            )
            lines.append(
                f"| {own[0]['data']} | {quality} | {alone:.0f} | {decoder:.0f} ({100 * (decoder / alone - 1):+.0f} %) "
                f"| {given:.0f} ({100 * (given / alone - 1):+.0f} %) | {sides:.0f} |"
            )
    sys.stdout.write("\n".join(lines) + "\n")


def run_memory(side: int) -> None:
    """Print the peak memory of decoding a square image, and per pixel of a window."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (side // 8, side // 8), dtype=np.uint8)
    right = np.kron(small, np.ones((8, 8), np.uint8))
    codec = StereoCodec()
    container = codec.encode(right, codec.options(quality=10))
    ImageCodec.decode_photo(codec, container)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    codec.decode(container, side_info=right)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(
        f"{side}x{side}: {time.process_time() - start:.1f} CPU s, {(peak - before) / 1024:.0f} MiB more than the "
        f"image codec, {1024 * (peak - before) / side**2:.0f} bytes a pixel\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    pairs = commands.add_parser("pairs")
    pairs.add_argument("--gray", type=Path, required=True)
    pairs.add_argument("--colour", type=Path)
    pairs.add_argument("--out", type=Path, default=Path("report/stereo"))
    pairs.add_argument("--no-joint", action="store_true")
    memory = commands.add_parser("memory")
    memory.add_argument("--side", type=int, default=1152)
    for command in (pairs, memory):
        command.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.command == "pairs":
        run_pairs(options.gray, options.colour, options.out, not options.no_joint)
    else:
        run_memory(options.side)


if __name__ == "__main__":
    main()
