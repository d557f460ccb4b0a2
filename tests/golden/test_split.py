"""Every frozen file of the split codec decodes to the codes that it was made of, to the last bit."""

from pathlib import Path

import numpy as np
import pytest

import obverse
from obverse.codecs.split.codec import SplitCodec
from obverse.container import read

FOLDER = Path(__file__).parent / "split"
NAMES = ("split-set", "split-one", "split-noise")


def test_every_file_is_named_here():
    assert {path.stem for path in FOLDER.glob("*.obv")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_decodes_to_the_frozen_codes(name):
    wanted = np.load(FOLDER / f"{name}.npy")
    decoded = obverse.decompress(FOLDER / f"{name}.obv")
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_the_codes_encode_to_the_frozen_file(name):
    """Encoders are float networks and may round otherwise elsewhere; the coder behind them may not."""
    container = read(FOLDER / f"{name}.obv")
    code = SplitCodec().device.code
    latents = np.load(FOLDER / f"{name}.npy").astype(np.float64)
    q = np.rint(latents - code.offset).astype(np.int32).reshape(-1, *code.config.latent_shape)
    assert code.pack(q) == container.sections["codes"]
