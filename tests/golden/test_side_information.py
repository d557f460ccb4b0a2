"""Every frozen file of a codec with side information decodes to what it did when it was written."""

from pathlib import Path

import numpy as np
import pytest

import obverse
from tests.codecs_side_information import EXAMPLES, same

FOLDER = Path(__file__).parent / "side_information"


def test_every_codec_has_a_file():
    assert {path.stem for path in FOLDER.glob("*.obv")} == set(EXAMPLES)


@pytest.mark.parametrize("codec", EXAMPLES)
def test_decodes_to_the_frozen_data(codec):
    side = np.load(FOLDER / f"{codec}-side.npy")
    wanted = np.load(FOLDER / f"{codec}-decoded.npy")
    decoded = obverse.decompress(FOLDER / f"{codec}.obv", side_info=side)
    assert decoded.dtype == wanted.dtype
    assert same(codec, decoded, wanted)
