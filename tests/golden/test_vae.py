"""Every frozen file of the bits-back codec decodes to the images that were coded, byte for byte."""

from pathlib import Path

import numpy as np
import pytest

import obverse

FOLDER = Path(__file__).parent / "lossless"
NAMES = sorted(path.stem for path in FOLDER.glob("vae-*.obv"))


def test_every_shipped_model_has_a_file():
    shipped = {path.parent.name for path in (Path(obverse.__file__).parent / "zoo").glob("vae-*/config.json")}
    assert shipped and shipped <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_decodes_to_the_frozen_images(name):
    decoded = obverse.decompress(FOLDER / f"{name}.obv")
    wanted = np.load(FOLDER / f"{name}.npy")
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, wanted)
