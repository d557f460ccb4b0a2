"""Bytes and CPU seconds of files of weights: Obverse, zstd on bytes and on planes of bytes, xz, and ZipNN.

    python benchmarks/weights.py model.safetensors ... [--zipnn PYTHON] [--effort 3,9]

ZipNN needs another torch than ours: `--zipnn` names the Python of an environment where it is installed. Every file is
decoded and compared. Writes benchmarks/results/weights.csv; seconds are those of one thread, the least of three.
"""

from __future__ import annotations

import argparse
import csv
import lzma
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import zstandard

from obverse.codecs.weights.codec import WeightsCodec
from obverse.codecs.weights.files import load_weights
from obverse.codecs.weights.options import WeightsOptions
from obverse.codecs.weights.tensors import Tensors
from obverse.container import read, write

OUT = Path(__file__).parent / "results" / "weights.csv"
ZIPNN = """
import sys, time, warnings
warnings.filterwarnings("ignore")
import zipnn
raw, dtype = open(sys.argv[1], "rb").read(), sys.argv[2]
coder = zipnn.ZipNN(bytearray_dtype=dtype, threads=1)
best = [9e9, 9e9]
for _ in range(3):
    data = bytearray(raw)
    start = time.process_time(); packed = coder.compress(data); middle = time.process_time()
    back = coder.decompress(packed); end = time.process_time()
    best = [min(best[0], middle - start), min(best[1], end - middle)]
print(len(packed), *best, bytes(back) == raw)
"""


def timed(
    encode: Callable[[], bytes], decode: Callable[[bytes], bytes], raw: bytes, repeats: int = 3
) -> list[float]:
    """Bytes, and seconds of both ways."""
    best = [float("inf"), float("inf")]
    for _ in range(repeats):
        start = time.process_time()
        packed = encode()
        middle = time.process_time()
        back = decode(packed)
        best = [min(best[0], middle - start), min(best[1], time.process_time() - middle)]
        if back != raw:
            raise SystemExit("what was decoded differs")
    return [len(packed), *best]


def planes(raw: bytes, width: int, back: bool) -> bytes:
    """Bytes of each place of a number side by side, or those put together again."""
    whole = len(raw) // width * width
    data = np.frombuffer(raw[:whole], np.uint8)
    shaped = data.reshape(width, -1).T if back else data.reshape(-1, width).T
    return np.ascontiguousarray(shaped).tobytes() + raw[whole:]


def _encode(tensors: Tensors, options: WeightsOptions) -> bytes:
    return write(WeightsCodec().encode(tensors, options))


def _zip(raw: bytes, level: int, width: int) -> bytes:
    return zstandard.ZstdCompressor(level).compress(planes(raw, width, False) if width > 1 else raw)


def rows_of(path: Path, efforts: list[int], zipnn: str | None) -> list[dict[str, object]]:
    raw = path.read_bytes()
    tensors = load_weights(path)
    dtype = max(tensors.layout.tensors, key=lambda tensor: tensor.size).dtype
    width = {"F32": 4}.get(dtype, 2)
    codec = WeightsCodec()
    found: dict[str, list[float]] = {}
    for effort in efforts:
        options = WeightsOptions(effort=effort)
        found[f"obverse-{effort}"] = timed(
            partial(_encode, tensors, options),
            lambda packed: np.asarray(codec.decode(read(packed))).tobytes(),
            raw,
            1 if effort > 6 else 3,
        )
    unzip = zstandard.ZstdDecompressor().decompress
    for level in (3, 19):
        found[f"zstd-{level}"] = timed(partial(_zip, raw, level, 1), unzip, raw, 1)
        found[f"planes-zstd-{level}"] = timed(
            partial(_zip, raw, level, width), lambda p: planes(unzip(p), width, True), raw, 1
        )
    found["xz-6"] = timed(lambda: lzma.compress(raw), lzma.decompress, raw, 1)
    if zipnn:
        name = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]
        done = subprocess.run([zipnn, "-c", ZIPNN, path, name], capture_output=True, text=True, check=True)
        size, enc, dec, same = done.stdout.split()
        if same != "True":
            raise SystemExit("ZipNN: what was decoded differs")
        found["zipnn"] = [int(size), float(enc), float(dec)]
    return [
        {
            "file": path.stem, "dtype": dtype, "file_bytes": len(raw), "codec": codec, "bytes": int(size),
            "share": round(size / len(raw), 5), "encode_gb_s": round(len(raw) / enc / 1e9, 4),
            "decode_gb_s": round(len(raw) / dec / 1e9, 4),
        }
        for codec, (size, enc, dec) in found.items()
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--zipnn", help="a Python that has zipnn")
    parser.add_argument("--effort", default="3,9")
    given = parser.parse_args()
    rows = []
    for path in given.files:
        rows += rows_of(path, [int(one) for one in given.effort.split(",")], given.zipnn)
        for row in rows[-12:]:
            if row["file"] == path.stem:
                print(
                    path.stem,
                    row["codec"],
                    row["share"],
                    row["encode_gb_s"],
                    row["decode_gb_s"],
                    file=sys.stderr,
                )
    for codec in dict.fromkeys(row["codec"] for row in rows):
        of = [row for row in rows if row["codec"] == codec]
        size, whole = sum(row["bytes"] for row in of), sum(row["file_bytes"] for row in of)
        rows.append({"file": "all", "dtype": "", "file_bytes": whole, "codec": codec, "bytes": size,
                     "share": round(size / whole, 5), "encode_gb_s": "", "decode_gb_s": ""})  # fmt: skip
    with OUT.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
