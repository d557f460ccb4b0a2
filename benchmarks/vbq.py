"""How many latents a second Variational Bayesian Quantization chooses points for, on one core.

    OMP_NUM_THREADS=1 python benchmarks/vbq.py

Timed are the choice alone (both passes are this), with one grid, and with 100 grids of one or eight contexts each;
counting and making tables; and files of one million latents with their tables, there and back. CPU time of the best of
some runs; compiled before.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.codecs.plug_and_play.point_tables import PointTables
from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.codecs.plug_and_play.quantiser import choose, empirical_grid, normal_grid, published_bits

MILLION = 1_000_000


def best(function: Callable[[], Any], runs: int) -> float:
    """CPU seconds of the fastest run, after one that compiles."""
    function()
    times = []
    for _ in range(runs):
        started = time.process_time()
        function()
        times.append(time.process_time() - started)
    return min(times)


def rows(runs: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    shape = (1, 1, MILLION)
    posterior = Posterior.of(rng.normal(size=shape), np.exp(rng.normal(-2, 1, shape)))
    found = []
    for depth in (8, 10, 12):
        for name, grid in (
            ("normal", normal_grid(1, depth)),
            ("empirical", empirical_grid(posterior.mean, depth)),
        ):
            bits = published_bits(grid)
            for lmbda in (0.01, 1.0, 100.0):
                seconds = best(lambda: choose(posterior, grid, bits, lmbda), runs)  # noqa: B023
                found.append(
                    {"what": "choose", "prior": name, "depth": depth, "lmbda": lmbda, "seconds": seconds}
                )
    channels = Posterior(*(a.reshape(1000, 100, 10) for a in (posterior.mean, posterior.std)))
    grid = empirical_grid(channels.mean, 12)
    symbols = choose(channels, grid, published_bits(grid), 1.0)
    for count in (1, 8):
        known = {"prior": "empirical", "depth": 12, "lmbda": 1.0}
        seconds = best(lambda: PointTables.of(symbols, grid, count=count), runs)  # noqa: B023
        found.append({"what": f"{100 * count} tables", **known, "seconds": seconds})
        tables = PointTables.of(symbols, grid, count=count)
        bits = tables.point_bits(grid)
        seconds = best(lambda: choose(channels, grid, bits, 1.0, tables.contexts), runs)  # noqa: B023
        found.append({"what": f"choose, contexts: {count}", **known, "seconds": seconds})
    codec = PlugAndPlayCodec()
    file = codec.encode(posterior)
    for what, run in (
        ("file with tables, encode", lambda: codec.encode(posterior)),
        ("file, decode", lambda: codec.decode(file)),
    ):
        found.append(
            {"what": what, "prior": "empirical", "depth": 12, "lmbda": 1.0, "seconds": best(run, runs)}
        )
    return [row | {"latents_per_second": MILLION / row["seconds"]} for row in found]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "vbq.csv")
    arguments = parser.parse_args()
    found = rows(arguments.runs)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, found[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            row
            | {"seconds": f"{row['seconds']:.4f}", "latents_per_second": f"{row['latents_per_second']:.0f}"}
            for row in found
        )
    for row in found:
        setting = f"{row['what']:25} {row['prior']:10} depth {row['depth']:2} lmbda {row['lmbda']:<6}"
        print(f"{setting} {row['latents_per_second'] / 1e6:6.1f} M/s")
