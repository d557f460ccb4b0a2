"""Every frozen file of latents decodes to the latents that were frozen, bit for bit."""

from pathlib import Path

import numpy as np
import pytest

from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.container import read
from obverse.zoo import load_model_from

FOLDER = Path(__file__).parent / "plug_and_play"
MODELS = {"with-model": "model", "with-contexts": "model-with-contexts"}
NAMES = sorted(path.stem for path in FOLDER.glob("*.obv"))


def test_there_are_files():
    assert len(NAMES) == 7


@pytest.mark.parametrize("name", NAMES)
def test_decodes_to_what_was_frozen(name):
    container = read(FOLDER / f"{name}.obv")
    codec = PlugAndPlayCodec(load_model_from(FOLDER / MODELS[name]) if name in MODELS else None)
    assert container.model == codec.fingerprint
    z, wanted = codec.decode(container), np.load(FOLDER / f"{name}.npy")
    assert z.dtype == wanted.dtype == np.float32
    np.testing.assert_array_equal(z, wanted)
