"""Checkpoints against the one before, in bytes of real files: python experiments/weights/bases.py checkpoints/

Writes experiments/results/weights/bases.csv. The checkpoints are those of checkpoints.py; of each kind of tensor,
weights and both moments, what it takes alone, and with the checkpoint before as base.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np

import obverse
from obverse.codecs.weights.files import load_weights

OUT = Path(__file__).parents[1] / "results" / "weights" / "bases.csv"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", type=Path)
    rows = []
    for path in sorted(parser.parse_args().checkpoints.glob("*-[1-9].safetensors")):
        model, _, number = path.stem.rpartition("-")
        before = load_weights(path.with_name(f"{model}-{int(number) - 1}.safetensors"))
        now = load_weights(path)
        for kind in ("weights", "first", "second"):
            old, new = ({k: v for k, v in tensors.items() if k.startswith(kind)} for tensors in (before, now))
            alone = len(obverse.compress(new, codec="weights"))
            file = obverse.compress(new, codec="weights", base=old)
            back = obverse.decompress(file, side_info=old)
            if any(not np.array_equal(back[name], new[name]) for name in new):
                raise SystemExit("what was decoded differs")
            plain = sum(array.nbytes for array in new.values())
            rows.append({"model": model, "checkpoint": number, "kind": kind, "plain": plain, "alone": alone,
                         "with_base": len(file), "ratio": round(len(file) / alone, 4)})  # fmt: skip
            print(rows[-1], flush=True)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    with OUT.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
