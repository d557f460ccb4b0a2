"""Granular gain and speed of trellis-coded quantisation, and the search for good codes.

    python benchmarks/trellis.py                      the table of every code in the package
    python benchmarks/trellis.py --search 2048 --dimensions 2 --tries 100

The granular gain is the squared error of the scalar quantiser of the same rate over that of the trellis, in dB;
1.53 dB is the limit.
"""

import argparse
import csv
import time
from pathlib import Path

import numpy as np

from obverse.quantization.trellis import CODES, Trellis

BLOCK = 65_536


def gain_db(trellis: Trellis, x: np.ndarray) -> float:
    parts = np.split(x, range(BLOCK, x.size, BLOCK))
    error = np.mean([np.square(part - trellis.quantise(part)[2]).mean() for part in parts])
    return float(10 * np.log10(trellis.volume**2 / 12 / error))


def table(samples: int) -> None:
    x = np.random.default_rng(2).uniform(-1000, 1000, samples)
    rows = []
    for dimensions, states in CODES:
        trellis = Trellis.of(states, dimensions)
        trellis.quantise(x[:1000])
        start = time.process_time()
        gain = gain_db(trellis, x)
        speed = samples / (time.process_time() - start)
        rows.append(
            {
                "dimensions": dimensions,
                "states": states,
                "gain_db": round(gain, 3),
                "samples_per_s": round(speed, -3),
            }
        )
        print(f"{dimensions}-D, {states:5} states: {gain:.3f} dB, {speed / 1e6:.2f} M samples/s", flush=True)
    with open(Path(__file__).parent / "results" / "trellis" / "trellis.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def search(states: int, dimensions: int, tries: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bits = states.bit_length() - 1
    x = rng.uniform(-1000, 1000, 6 * BLOCK)
    found = []
    for _ in range(tries):
        h0 = states | 1 | int(rng.integers(0, states // 2)) << 1
        h1 = int(rng.integers(1, 1 << (bits - 1))) << 1
        found.append((gain_db(Trellis(dimensions, states, h0, h1), x[: BLOCK // 2]), h0, h1))
    best = sorted(found, reverse=True)[:6]
    for gain, h0, h1 in sorted(
        ((gain_db(Trellis(dimensions, states, h0, h1), x), h0, h1) for _, h0, h1 in best), reverse=True
    ):
        print(f"{states} states, h0 {oct(h0)}, h1 {oct(h1)}: {gain:.4f} dB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=6 * BLOCK)
    parser.add_argument("--search", type=int, metavar="STATES")
    parser.add_argument("--dimensions", type=int, default=1)
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.search:
        search(options.search, options.dimensions, options.tries, options.seed)
    else:
        table(options.samples)
