"""Write the golden files of the split codec: python tests/golden/make_split.py

Run once for each released model; `test_split.py` decodes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

from obverse.codecs.split.codec import SplitCodec
from obverse.container import write, write_atomically
from obverse.data.arrays import npy_bytes
from tests.conftest import smooth_photo


def images() -> dict[str, np.ndarray]:
    """A set, one image, and noise, which needs the tables' escapes."""
    side = SplitCodec().config.teacher.side
    noise = np.random.default_rng(0).choice(np.array([0, 255], np.uint8), (3, side, side, 3))
    return {
        "split-set": np.stack([smooth_photo(side, side, seed) for seed in range(12)]),
        "split-one": smooth_photo(side, side, 40),
        "split-noise": noise,
    }


def main() -> None:
    codec = SplitCodec()
    for name, data in images().items():
        container = codec.encode(data)
        write_atomically(HERE / "split" / f"{name}.obv", write(container), overwrite=True)
        write_atomically(HERE / "split" / f"{name}.npy", npy_bytes(codec.decode(container)), overwrite=True)


if __name__ == "__main__":
    (HERE / "split").mkdir(exist_ok=True)
    main()
