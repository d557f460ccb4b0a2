"""The frozen files of the flow codec are made again, byte for byte: its encoder is exact too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import obverse
from obverse.container import read, read_header, write

FILES = [
    path
    for path in sorted((Path(__file__).parent / "golden").glob("*.obv"))
    if not path.stem.startswith("flow-stored")  # LZMA's encoder is of the system
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_encodes_to_the_frozen_file(path):
    images = np.load(path.with_suffix(".npz"))["decoded"]
    packed = obverse.compress(images, codec="flow", segment=read_header(path).config[0], model_only=True)
    assert (
        write(replace(read(packed), version=1, samples=None)) == path.read_bytes()
    )  # written before version 2
