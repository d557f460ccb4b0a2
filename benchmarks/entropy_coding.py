"""Million symbols per CPU second, and bits above the ideal: Obverse's coder beside constriction's.

    python benchmarks/entropy_coding.py [--sizes 1000000 10000000] [--repeats 3]

Symbols are rounded Gaussians of 64 scales from 0.11 to 256, mixed in three ways: all scales alike, mostly
small ones, and a mix whose true rate is 0.1 bit per symbol. Obverse codes with one table of 24 bits per
scale. constriction codes the same symbols with a Gaussian computed for each symbol (`QuantizedGaussian`),
on its stack (ANS) and its queue (range coder), and with one `Categorical` per scale, for which the symbols
are sorted by scale beforehand (the sorting is not counted).

Time is CPU time of all threads of the process, the median of several calls; the first call of a fresh
cache, which compiles, is told apart. Ratios are to constriction's Gaussian on its stack, in the same run.
The overhead is over the ideal code length of the true discretised Gaussians. constriction codes 10^6
symbols at most: with 10^7 symbols its lines would only repeat the speed that they have with 10^6. The table
is printed and written to benchmarks/results/entropy_coding.csv, with a plot beside it.
"""

from __future__ import annotations

import argparse
import atexit
import csv
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_CACHE = tempfile.TemporaryDirectory()
atexit.register(_CACHE.cleanup)
os.environ["NUMBA_CACHE_DIR"] = _CACHE.name  # so that the first call really compiles

import constriction  # noqa: E402
import numpy as np  # noqa: E402

from obverse.coding import Message, TableFamily  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
SCALES = 0.11 * np.exp(np.linspace(0, math.log(256 / 0.11), 64))
PEER_SYMBOLS = 1_000_000
UNIT = "constriction ANS, Gaussian per symbol"
OURS = "Obverse"


def probability(k: float, scale: float) -> float:
    """Of the integer k under a rounded Gaussian of mean 0."""
    k = abs(k)
    root = scale * math.sqrt(2)
    if k == 0:
        return math.erf(0.5 / root)
    return 0.5 * (math.erfc((k - 0.5) / root) - math.erfc((k + 0.5) / root))


def entropy(scale: float) -> float:
    p = [probability(k, scale) for k in range(math.ceil(12 * scale) + 1)]
    return sum(-q * math.log2(q) * (1 if k == 0 else 2) for k, q in enumerate(p) if q > 0)


def mixes() -> dict[str, np.ndarray]:
    """Weights of the 64 scales."""
    entropies = np.array([entropy(scale) for scale in SCALES])

    def falling(decay: float) -> np.ndarray:
        weights = np.exp(-np.arange(64) / decay)
        return weights / weights.sum()

    low, high = 0.1, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) @ entropies < 0.1 else (low, middle)
    return {"uniform": np.full(64, 1 / 64), "skewed": falling(8.0), "very low": falling(low)}


def draw(weights: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(symbols, index, ideal bits)"""
    rng = np.random.default_rng(1)
    index = rng.choice(64, count, p=weights).astype(np.uint8)
    symbols = np.round(rng.normal(size=count) * SCALES[index]).astype(np.int32)
    bits = 0.0
    for table, scale in enumerate(SCALES):
        values, counts = np.unique(np.abs(symbols[index == table]), return_counts=True)
        for value, times in zip(values.tolist(), counts.tolist(), strict=True):
            bits -= times * math.log2(probability(value, scale))
    return symbols, index, bits


def timed(function: Callable[[], object]) -> tuple[object, float]:
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def measure(
    encode: Callable[[], object], decode: Callable[[object], np.ndarray], expected: np.ndarray, repeats: int
) -> tuple[object, float, float]:
    """(what encode returns, CPU seconds to encode, to decode), medians."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        data, seconds = timed(encode)
        times[0].append(seconds)
        decoded, seconds = timed(lambda data=data: decode(data))
        times[1].append(seconds)
        if not np.array_equal(decoded, expected):
            raise SystemExit("a coder did not give back its symbols")
    return data, statistics.median(times[0]), statistics.median(times[1])


def ours(tables: TableFamily, symbols: np.ndarray, index: np.ndarray) -> tuple[Callable, Callable]:
    def encode() -> bytes:
        message = Message()
        message.push(symbols, tables, index)
        return message.to_bytes()

    return encode, lambda data: Message.from_bytes(data).pop(tables, index)


def per_symbol(symbols: np.ndarray, index: np.ndarray, ans: bool) -> tuple[Callable, Callable]:
    stream = constriction.stream
    family = stream.model.QuantizedGaussian(-2000, 2000)
    means, scales = np.zeros(len(symbols)), SCALES[index]

    def encode() -> np.ndarray:
        coder = stream.stack.AnsCoder() if ans else stream.queue.RangeEncoder()
        (coder.encode_reverse if ans else coder.encode)(symbols, family, means, scales)
        return coder.get_compressed()

    def decode(data: np.ndarray) -> np.ndarray:
        coder = (stream.stack.AnsCoder if ans else stream.queue.RangeDecoder)(data)
        return coder.decode(family, means, scales)

    return encode, decode


def grouped(symbols: np.ndarray, index: np.ndarray, ans: bool) -> tuple[Callable, Callable, np.ndarray]:
    """One Categorical for each scale; the symbols come sorted by scale, shifted to start at 0."""
    stream = constriction.stream
    groups = []
    for table, scale in enumerate(SCALES):
        group = symbols[index == table]
        half = max(math.ceil(6 * scale), int(np.abs(group).max(initial=1)))
        p = np.array([probability(k, scale) for k in range(-half, half + 1)])
        groups.append((group + half, stream.model.Categorical(p, perfect=False)))

    def encode() -> np.ndarray:
        coder = stream.stack.AnsCoder() if ans else stream.queue.RangeEncoder()
        for group, model in groups[::-1] if ans else groups:
            (coder.encode_reverse if ans else coder.encode)(group, model)
        return coder.get_compressed()

    def decode(data: np.ndarray) -> np.ndarray:
        coder = (stream.stack.AnsCoder if ans else stream.queue.RangeDecoder)(data)
        return np.concatenate([coder.decode(model, len(group)) for group, model in groups])

    return encode, decode, np.concatenate([group for group, _ in groups])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()

    tables, seconds = timed(lambda: TableFamily.gaussian(SCALES, precision=24))
    print(f"building 64 tables of 24 bits: {seconds:.2f} s")
    trial = np.zeros(20_000, np.int32)
    encode, decode = ours(tables, trial, trial)
    data, first_encode = timed(encode)
    _, first_decode = timed(lambda: decode(data))
    print(f"first call, which compiles: encode {first_encode:.2f} s, decode {first_decode:.2f} s")

    lines: list[dict[str, object]] = []
    for mix, weights in mixes().items():
        for size in options.sizes:
            symbols, index, bits = draw(weights, size)
            coders = {OURS: (*ours(tables, symbols, index), symbols)}
            if size <= PEER_SYMBOLS:
                for name, ans in (("ANS", True), ("range", False)):
                    label = f"constriction {name}, "
                    coders[label + "Gaussian per symbol"] = (*per_symbol(symbols, index, ans), symbols)
                    coders[label + "sorted by scale"] = grouped(symbols, index, ans)
            for coder, (encode, decode, expected) in coders.items():
                data, encoding, decoding = measure(encode, decode, expected, options.repeats)
                size_bits = 8 * len(data) if isinstance(data, bytes) else 32 * len(data)
                line = {
                    "mix": mix,
                    "symbols": size,
                    "coder": coder,
                    "bits_per_symbol": bits / size,
                    "overhead_percent": 100 * (size_bits / bits - 1),
                    "encode_msymbols_per_s": size / encoding / 1e6,
                    "decode_msymbols_per_s": size / decoding / 1e6,
                }
                lines.append(line)
    units = {line["mix"]: line for line in lines if line["coder"] == UNIT}
    for line in lines:
        unit = units.get(line["mix"])
        for way in ("encode", "decode"):
            key = f"{way}_msymbols_per_s"
            line[f"{way}_ratio"] = line[key] / unit[key] if unit else math.nan
    RESULTS.mkdir(exist_ok=True)
    with (RESULTS / "entropy_coding.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        for line in lines:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in line.items()})
    show(lines)
    plot(lines)


def show(lines: list[dict[str, object]]) -> None:
    print(f"\n{'':58}        over ideal     encode           decode")
    print(f"{'mix':9} {'symbols':>9}  {'coder':38} {'bit/sym':>7} {'%':>8} ", end="")
    print(f"{'M/s':>8} {'ratio':>7} {'M/s':>8} {'ratio':>7}")
    for line in lines:
        print(
            f"{line['mix']:9} {line['symbols']:9d}  {line['coder']:38} {line['bits_per_symbol']:7.3f}", end=""
        )
        print(f" {line['overhead_percent']:8.4f} ", end="")
        print(f"{line['encode_msymbols_per_s']:8.1f} {line['encode_ratio']:7.1f}", end=" ")
        print(f"{line['decode_msymbols_per_s']:8.1f} {line['decode_ratio']:7.1f}")
    print("ratio: to", UNIT, "with 10^6 symbols; constriction is not run with more than 10^6 symbols")


def plot(lines: list[dict[str, object]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    size = min(line["symbols"] for line in lines)
    lines = [line for line in lines if line["symbols"] == size]
    names = list(dict.fromkeys(line["mix"] for line in lines))
    coders = list(dict.fromkeys(line["coder"] for line in lines))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True, layout="constrained")
    for axis, way in zip(axes, ("encode", "decode"), strict=True):
        for number, coder in enumerate(coders):
            heights = [line[f"{way}_msymbols_per_s"] for line in lines if line["coder"] == coder]
            places = np.arange(len(names)) + (number - (len(coders) - 1) / 2) * 0.16
            bars = axis.bar(places, heights, 0.15, label=coder)
            axis.bar_label(bars, fmt="%.0f", fontsize=7)
        rates = {line["mix"]: line["bits_per_symbol"] for line in lines}
        axis.set_xticks(range(len(names)), [f"{name}\n{rates[name]:.2f} bit/symbol" for name in names])
        axis.set_title(f"{way}, {size:,} symbols")
    axes[0].set_ylabel("million symbols per CPU second")
    axes[1].legend(loc="upper left", fontsize=8, frameon=False)
    figure.savefig(RESULTS / "entropy_coding.png", dpi=120)


if __name__ == "__main__":
    main()
