"""What a probe's own strength is worth on the codes of `invariant-mnist`: two hidden layers against one linear layer.

    python experiments/invariant/probes.py --data MNIST --out report/

Both learn from the codes of changed training images, as in mnist.py, and are asked for the classes of the changed test
images. Writes probes.csv.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
import torch
from mnist import MNIST, PROBE_EPOCHS, PROBE_VIEWS, probe_accuracy, read_set, transformed_set

import obverse
from obverse.codecs.invariant.codec import InvariantCodec


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--views", type=int, default=PROBE_VIEWS, help="changes of each training image")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    codec = obverse.open_codec("invariant-mnist")
    if not isinstance(codec, InvariantCodec):
        raise SystemExit("invariant-mnist is no model of the codec invariant")
    images, labels, test, test_labels = read_set(arguments.data)
    changed = transformed_set(test, MNIST.affine, seed=100)
    views = [transformed_set(images, MNIST.affine, seed=200 + i) for i in range(arguments.views)]
    codes = [(codec.symbols_of(x) + codec.offset).astype(np.float32) for x in (*views, changed)]
    rows = []
    for name, hidden in (("two hidden layers of 256", 256), ("linear", 0)):
        accuracy = probe_accuracy(
            np.concatenate(codes[:-1]), np.tile(labels, len(views)), codes[-1], test_labels, PROBE_EPOCHS,
            hidden=hidden,
        )  # fmt: skip
        rows.append({"probe": name, "views": len(views), "accuracy": accuracy})
        print(rows[-1])
    arguments.out.mkdir(parents=True, exist_ok=True)
    with (arguments.out / "probes.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
