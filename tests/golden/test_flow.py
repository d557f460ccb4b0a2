"""Every frozen file of the flow codec decodes to the images that it was made from, and they make the same file."""

from pathlib import Path

import numpy as np
import pytest

import obverse
from obverse.container import read_header

FOLDER = Path(__file__).parent / "lossless"
NAMES = ("flow-photos", "flow-hard", "flow-one-gray")


def test_every_file_is_named_here():
    assert {path.stem for path in FOLDER.glob("flow-*.obv")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_decodes_to_the_frozen_images(name):
    wanted = np.load(FOLDER / f"{name}.npy")
    decoded = obverse.decompress(FOLDER / f"{name}.obv")
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_encodes_to_the_frozen_file(name):
    segment = read_header(FOLDER / f"{name}.obv").config[0]
    packed = obverse.compress(np.load(FOLDER / f"{name}.npy"), codec="flow", segment=segment)
    assert packed == (FOLDER / f"{name}.obv").read_bytes()
