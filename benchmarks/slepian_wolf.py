"""Bits beyond the entropy that bit planes need: polar codes with lists of several sizes, and parity checks.

    python benchmarks/slepian_wolf.py [--blocks 30] [--lists 1 8 32 128] [--block 65536]

Two kinds of planes. `Gaussian`: log-odds N(m, 2m) in favour of the bit, of given entropy. `trellis`: the planes of
trellis-coded quantisation (256 states) of X = Y + N, N ~ N(0, 0.1), given Y and the planes below, at the steps of
about 1.4 and 1.9 bits a sample.

For each block the fewest bits with which it decodes are found by bisection (as if decoding were monotonic in them),
to 1/1024 of a bit a sample; beyond the mean entropy of all blocks of the plane. 50 %: their mean; 99 %: the quantile
of a normal distribution of their mean and standard deviation, with the factor for so few blocks. The blocks' own
entropy varies too: `ideal` is a code that needs just this, block by block. Time is CPU time of decoding with the
bits of 99 %; its ratio is to lists of 8 on the same plane. Writes a table and a plot to
benchmarks/results/slepian_wolf/.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from obverse.coding import ldpc, polar
from obverse.quantization.trellis import Trellis

RESULTS = Path(__file__).resolve().parent / "results" / "slepian_wolf"
GRAIN = 1_024  # of a bit a sample
NOISE = 0.1
TRELLIS = Trellis.of(256)
PLANES = {  # name: entropy, or step and number of the plane
    "Gaussian .110": 0.110,
    "Gaussian .413": 0.413,
    "Gaussian .805": 0.805,
    "trellis, step .18, plane 3": (0.18, 3),
    "trellis, step .27, plane 2": (0.27, 2),
    "trellis, step .18, plane 2": (0.18, 2),
}
Block = tuple[np.ndarray, np.ndarray]  # bits, log-odds


def gaussian_block(entropy: float, n: int, rng: np.random.Generator) -> Block:
    mean = 2.0 ** (polar.log2_mean_of(entropy) / polar.UNIT)
    x = rng.integers(0, 2, n).astype(np.uint8)
    return x, ((1 - 2.0 * x) * (mean + math.sqrt(2 * mean) * rng.normal(size=n))).astype(np.float32)


def trellis_block(step: float, plane: int, n: int, rng: np.random.Generator) -> Block:
    y = rng.normal(size=n)
    x = y + math.sqrt(NOISE) * rng.normal(size=n)
    _, _, points = TRELLIS.quantise(x / step)
    error = float(np.mean((x - points * step) ** 2))
    near = np.floor(y / step).astype(np.int64)[:, None] + np.arange(-32, 32)
    log_p = -((near * step - y[:, None]) ** 2) / (2 * (NOISE + error))
    p = np.exp(log_p) * (near % (1 << plane) == (points % (1 << plane))[:, None])
    one = (near >> plane) & 1
    odds = np.log(((p * (one == 0)).sum(1) + 1e-30) / ((p * one).sum(1) + 1e-30))
    return ((points >> plane) & 1).astype(np.uint8), odds.astype(np.float32)


def bits_of(block: Block) -> float:
    x, odds = block
    return float(np.logaddexp(0, np.where(x == 1, odds, -odds).astype(np.float64)).mean() / math.log(2))


def polar_coder(entropy: float, n: int, lists: int) -> Callable[[Block, int], bool]:
    log2_mean = polar.log2_mean_of(entropy)
    order = polar.order(log2_mean, n.bit_length() - 1)

    def decodes(block: Block, grains: int) -> bool:
        x, odds = block
        sent = order[: grains * n // GRAIN]
        found, _ = polar.list_decode(odds, sent, polar.transform(x)[sent], log2_mean, lists)
        return bool((found == x).all(axis=1).any())

    return decodes


def ldpc_coder(entropy: float, n: int) -> Callable[[Block, int], bool]:
    @cache
    def design(grains: int) -> ldpc.Design:
        return ldpc.Design.of(entropy, grains / GRAIN)

    def decodes(block: Block, grains: int) -> bool:
        x, odds = block
        found = ldpc.decode(odds, ldpc.sent_bits(x, design(grains), design(grains).bits(n)), design(grains))
        return found is not None and bool((found == x).all())

    return decodes


def needs(decodes: Callable[[Block, int], bool], blocks: list[Block], entropy: float) -> np.ndarray:
    """(blocks,) bits a sample beyond the entropy."""
    result = []
    for block in blocks:
        low, high = math.floor(GRAIN * (entropy - 0.006)), min(GRAIN, math.ceil(GRAIN * (entropy + 0.09)))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if decodes(block, middle) else (middle, high)
        result.append(high / GRAIN - entropy)
    return np.array(result)


def quantile(values: np.ndarray) -> float:
    """Of which a new value falls short in 99 of 100 cases: normal, mean and deviation being estimates."""
    z, freedom = 2.3263, len(values) - 1
    z *= (1 + (z * z + 1) / (4 * freedom)) * math.sqrt(1 + 1 / len(values))
    return float(values.mean() + z * values.std(ddof=1))


def measure(name: str, blocks: list[Block], lists: list[int]) -> list[dict[str, object]]:
    n = blocks[0][0].size
    own = np.array([bits_of(block) for block in blocks])
    entropy = float(own.mean())
    ideal = {"plane": name, "entropy_bits": entropy, "code": "ideal", "bits_50": 0.0, "sd": own.std(ddof=1),
             "bits_99": quantile(own - entropy), "decode_ms": math.nan, "time_ratio": math.nan}  # fmt: skip
    lines = [ideal]
    coders = {f"polar, list {size}": polar_coder(entropy, n, size) for size in lists}
    coders["parity checks"] = ldpc_coder(entropy, n)
    for code, decodes in coders.items():
        values = needs(decodes, blocks, entropy)
        bits = quantile(values)
        grains = min(GRAIN, math.ceil(GRAIN * (entropy + bits)))
        decodes(blocks[0], grains)
        start = time.process_time()
        for block in blocks:
            decodes(block, grains)
        milliseconds = 1000 * (time.process_time() - start) / len(blocks)
        lines.append({"plane": name, "entropy_bits": entropy, "code": code, "bits_50": float(values.mean()),
                      "sd": float(values.std(ddof=1)), "bits_99": bits, "decode_ms": milliseconds})  # fmt: skip
        print(
            f"{name:28} {code:16} 50 % {values.mean():.4f}  99 % {bits:.4f}  {milliseconds:6.0f} ms",
            flush=True,
        )
    unit = next((line["decode_ms"] for line in lines if line["code"] == "polar, list 8"), math.nan)
    for line in lines:
        line["time_ratio"] = line["decode_ms"] / unit
    return lines


def plot(lines: list[dict[str, object]], n: int, blocks: int) -> None:
    codes = list(dict.fromkeys(line["code"] for line in lines))
    planes = list(dict.fromkeys(line["plane"] for line in lines))
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    axis = figure.subplots()
    width = 0.84 / len(codes)
    for k, code in enumerate(codes):
        rows = [line for line in lines if line["code"] == code]
        places = np.arange(len(planes)) + (k - (len(codes) - 1) / 2) * width
        colour = {"ideal": "0.6", "parity checks": "tab:red"}.get(code)
        if colour is None:
            colour = (0.75 - 0.6 * k / len(codes), 0.85 - 0.5 * k / len(codes), 0.95)
        axis.bar(places, [row["bits_99"] for row in rows], 0.94 * width, color=colour, label=code)
        axis.plot(places, [row["bits_50"] for row in rows], "k_", markersize=9)
    axis.plot([], [], "k_", markersize=9, label="mean need (50 %)")
    entropies = {line["plane"]: line["entropy_bits"] for line in lines}
    names = [
        f"{name.replace(', plane', chr(10) + 'plane')}\nH = {entropies[name]:.3f} bit" for name in planes
    ]
    axis.set_xticks(range(len(planes)), names)
    axis.set_ylabel("bits a sample beyond the entropy, 1 % failures")
    axis.set_title(f"Slepian-Wolf coding of bit planes: blocks of {n:,}, {blocks} of each plane")
    axis.set_ylim(0, 1.3 * max(line["bits_99"] for line in lines))
    axis.legend(frameon=False, ncols=4, loc="upper center")
    figure.savefig(RESULTS / "slepian_wolf.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=30, help="of each plane")
    parser.add_argument("--lists", type=int, nargs="*", default=[1, 8, 32, 128])
    parser.add_argument("--block", type=int, default=65_536, help="bits, a power of two from 1024 on")
    parser.add_argument("--planes", nargs="+", choices=PLANES, default=list(PLANES))
    options = parser.parse_args()
    lines: list[dict[str, object]] = []
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in options.planes:
        rng = np.random.default_rng(5)
        what = PLANES[name]
        blocks = [
            trellis_block(*what, options.block, rng)
            if isinstance(what, tuple)
            else gaussian_block(what, options.block, rng)
            for _ in range(options.blocks)
        ]
        lines += measure(name, blocks, options.lists)
        with (RESULTS / "slepian_wolf.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*lines[0], "block", "blocks"])
            writer.writeheader()
            for line in lines:
                rounded = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in line.items()}
                writer.writerow(rounded | {"block": options.block, "blocks": options.blocks})
        plot(lines, options.block, options.blocks)


if __name__ == "__main__":
    main()
