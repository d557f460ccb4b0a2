"""How long it takes to fit, compress and decompress feature vectors, and to read one of them.

    python benchmarks/features.py [--vectors 50000] [--dimensions 512] [--repeats 3]

The vectors are Gaussian with a spectrum that falls as in features of images (eigenvalue k is 1 / (1 + k / 20)^1.5), in
random directions, float16. CPU time on one thread, the median of several calls; the first call, which compiles where
nothing is cached, is told apart. The table is printed and written to benchmarks/results/features.csv.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
    os.environ[f"{library}_NUM_THREADS"] = "1"  # before any of them is imported

import numpy as np  # noqa: E402

from obverse.codecs.features.codec import FeatureCodec  # noqa: E402
from obverse.codecs.features.export import fit_model  # noqa: E402
from obverse.codecs.features.fit import Target  # noqa: E402
from obverse.codecs.features.view import FeatureView  # noqa: E402
from obverse.container import read, write  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"


def features(count: int, dimensions: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
    scales = (1 + np.arange(dimensions) / 20) ** -0.75
    return ((rng.normal(size=(count, dimensions)) * scales) @ rotation.T).astype(np.float16)


def timed(work: Callable[[], Any], repeats: int) -> tuple[float, float, Any]:
    """Median CPU seconds, those of the first call, and what the work returned."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), seconds[0], result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vectors", type=int, default=50_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS / "features.csv")
    options = parser.parse_args()
    n, d = options.vectors, options.dimensions
    x = features(n, d)
    rows: list[dict[str, object]] = []

    def row(work: str, median: float, first: float, count: int) -> None:
        rows.append({
            "work": work, "vectors": n, "dimensions": d, "cpu_seconds": f"{median:.4f}", "first_call": f"{first:.4f}",
            "vectors_a_second": f"{count / median:.0f}",
        })  # fmt: skip
        print(f"| {work} | {median:.3f} | {first:.3f} | {count / median:,.0f} |", flush=True)

    print("| work | CPU s | first call | vectors a second |\n|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for loss in (0.01, 0.05):
            target = Target(loss=loss)
            median, first, (stored, facts) = timed(lambda t=target: fit_model(x, Path(folder) / "m", t), 1)
            print(f"{facts['bits']:.0f} bits a vector, {facts['coefficients']} coefficients")
            row(f"fit, {loss:.0%} lost", median, first, n)
            codec = FeatureCodec(stored)
            median, first, blob = timed(lambda c=codec: write(c.encode(x)), options.repeats)
            row(f"compress, {loss:.0%} lost", median, first, n)
            median, first, _ = timed(lambda c=codec, b=blob: c.decode(read(b)), options.repeats)
            row(f"decompress, {loss:.0%} lost", median, first, n)
            path = Path(folder) / "x.obv"
            path.write_bytes(blob)
            rng = np.random.default_rng(1)
            with FeatureView(path, model=Path(folder) / "m", cache=0) as view:
                median, first, _ = timed(lambda v=view, r=rng: v[int(r.integers(n))], 30)
            row(f"read one vector, {loss:.0%} lost", median, first, 1)
    options.out.parent.mkdir(exist_ok=True)
    with options.out.open("w", newline="") as f:
        writer = csv.DictWriter(f, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
