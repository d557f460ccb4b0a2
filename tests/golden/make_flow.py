"""Write the golden files of the flow codec: python tests/golden/make_flow.py

Run once for each released model; `test_flow.py` decodes them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

import obverse
from obverse.container import write_atomically
from obverse.data.arrays import npy_bytes
from tests.codecs.flow.models import hard_images, some_images


def main() -> None:
    cases = {
        "flow-photos": (some_images(3, 11), 250),
        "flow-hard": (hard_images()[:6], 2),
        "flow-one-gray": (np.repeat(some_images(1, 12)[..., :1], 3, 3), 250),
    }
    for name, (images, segment) in cases.items():
        packed = obverse.compress(images, codec="flow", segment=segment)
        write_atomically(HERE / "lossless" / f"{name}.obv", packed, overwrite=True)
        write_atomically(HERE / "lossless" / f"{name}.npy", npy_bytes(images), overwrite=True)


if __name__ == "__main__":
    (HERE / "lossless").mkdir(exist_ok=True)
    main()
