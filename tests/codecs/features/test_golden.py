"""Every frozen file of features has the symbols that were coded, bit for bit."""

from pathlib import Path

import numpy as np
import pytest

from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.items import Layout, decode_chunk
from obverse.container import Limits, read

FILES = [
    path
    for path in sorted((Path(__file__).parent / "golden").glob("*.obv"))
    if path.stem != "stored"  # vectors as they are: no symbols
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_parses_to_the_frozen_symbols(path):
    container = read(path)
    layout = Layout.of(container.config, container.shape, container.model, len(container.items))
    model = FeatureCodec().model_of(layout, container.items[0], Limits())
    symbols = [
        decode_chunk(model, payload, layout.vectors_of(i))
        for i, payload in enumerate(container.items[layout.first :])
    ]
    np.testing.assert_array_equal(np.concatenate(symbols, 1), np.load(path.with_suffix(".npz"))["symbols"])
