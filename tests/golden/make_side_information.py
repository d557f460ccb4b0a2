"""Write the golden files of codecs with side information: python tests/golden/make_side_information.py

Each case is an .obv file, its side information and what it decodes to. Run once for each released model.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

import obverse
from obverse.container import write_atomically
from obverse.data.arrays import npy_bytes
from tests.codecs_side_information import EXAMPLES


def main() -> None:
    for name, make in EXAMPLES.items():
        data, side = make(11)
        packed = obverse.compress(data, codec=name)
        folder = HERE / "side_information"
        write_atomically(folder / f"{name}.obv", packed, overwrite=True)
        write_atomically(folder / f"{name}-side.npy", npy_bytes(side), overwrite=True)
        decoded = obverse.decompress(packed, side_info=side)
        write_atomically(folder / f"{name}-decoded.npy", npy_bytes(decoded), overwrite=True)


if __name__ == "__main__":
    main()
