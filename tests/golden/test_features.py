"""Every frozen file of features has the symbols that were coded, bit for bit, and decodes to the same features."""

from pathlib import Path

import numpy as np
import pytest

from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.items import Layout, decode_chunk
from obverse.container import Limits, read

FOLDER = Path(__file__).parent / "features"
NAMES = sorted(path.stem for path in FOLDER.glob("*.obv"))


def test_there_are_files():
    assert len(NAMES) == 5


@pytest.mark.parametrize("name", NAMES)
def test_decodes_to_what_was_frozen(name):
    container = read(FOLDER / f"{name}.obv")
    wanted = np.load(FOLDER / f"{name}.npz")
    layout = Layout.of(container.config, container.shape, container.model, len(container.items))
    model = FeatureCodec().model_of(layout, container.items[0], Limits())
    symbols = [
        decode_chunk(model, payload, layout.vectors_of(i))
        for i, payload in enumerate(container.items[layout.first :])
    ]
    np.testing.assert_array_equal(np.concatenate(symbols, 1), wanted["symbols"])
    decoded = FeatureCodec().decode(container)
    assert decoded.dtype == wanted["features"].dtype
    # painted in floats: the last bit may differ between machines
    tolerance = 4 * np.finfo(decoded.dtype).eps
    np.testing.assert_allclose(decoded, wanted["features"], rtol=tolerance, atol=tolerance * 10)
