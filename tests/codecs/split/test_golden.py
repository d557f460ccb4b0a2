"""The codes in the frozen files of the split codec are coded to the same bytes again."""

from pathlib import Path

import numpy as np
import pytest

from obverse.codecs.split.codec import SplitCodec
from obverse.container import read

FILES = sorted((Path(__file__).parent / "golden").glob("*.obv"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_codes_encode_to_the_frozen_file(path):
    """Encoders are float networks and may round otherwise elsewhere; the coder behind them may not."""
    code = SplitCodec().device.code
    latents = np.load(path.with_suffix(".npz"))["decoded"].astype(np.float64)
    q = np.rint(latents - code.offset).astype(np.int32).reshape(-1, *code.config.latent_shape)
    assert code.pack(q) == read(path).sections["codes"]
