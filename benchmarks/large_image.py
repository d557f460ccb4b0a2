"""Peak memory and time of a 24-megapixel photo: python benchmarks/large_image.py [--megapixels 24]

The photo is the shipped one, enlarged and tiled. Encoding and decoding run in a process each, whose peak
resident memory is reported, the interpreter and the libraries included.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "large_image.csv"

CHILD = """
import json, resource, sys, time
import numpy as np
import obverse
from PIL import Image
task, path, photo, height, width = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
if task == "encode":
    image = Image.open(photo).convert("RGB")
    image = np.asarray(image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC))
    rows, columns = -(-height // image.shape[0]), -(-width // image.shape[1])
    image = np.tile(image, (rows, columns, 1))[:height, :width].copy()
    started = time.perf_counter()
    data = obverse.compress(image, quality=50)
    open(path, "wb").write(data)
else:
    started = time.perf_counter()
    assert obverse.decompress(path).shape == (height, width, 3)
seconds = time.perf_counter() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps({"task": task, "seconds": round(seconds, 1), "peak_gb": round(peak, 3)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megapixels", type=float, default=24.0)
    width = round((parser.parse_args().megapixels * 1e6 * 1.5) ** 0.5)
    height = round(width / 1.5)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.obv"
        for task in ("encode", "decode"):
            command = [
                sys.executable,
                "-c",
                CHILD,
                task,
                str(path),
                str(REPOSITORY / "examples" / "kodim23.png"),
            ]
            command += [str(height), str(width)]
            result = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append({"height": height, "width": width, **json.loads(result.stdout)})
            print(rows[-1])
    RESULT.parent.mkdir(exist_ok=True)
    with open(RESULT, "w", newline="") as f:
        writer = csv.DictWriter(f, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
