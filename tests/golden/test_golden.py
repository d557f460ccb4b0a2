"""Every frozen file is parsed to the very same symbols and painted to the same picture, on any machine."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import obverse
from obverse.codecs.image.codec import ALIGN
from obverse.coding import Message
from obverse.container import read

HERE = Path(__file__).parent
FACTS = json.loads((HERE / "golden.json").read_text())
FILES = sorted(HERE.glob("*.obv"))


def test_every_file_has_its_facts():
    assert {path.stem for path in FILES} == set(FACTS) and FACTS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_decodes_to_the_frozen_picture(path):
    decoded = obverse.decompress(path)
    wanted = np.asarray(Image.open(path.with_suffix(".png")))
    assert decoded.shape == wanted.shape
    assert np.abs(decoded.astype(int) - wanted.astype(int)).max() <= 1
    if decoded.ndim == 3 and decoded.shape[2] == 4:
        assert np.array_equal(decoded[:, :, 3], wanted[:, :, 3])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_parses_to_the_frozen_symbols(path):
    container = read(path)
    networks = obverse.open_codec("image").networks
    level, (height, width) = container.config[0], container.shape
    message = Message.from_bytes(container.sections["y"])
    shape = (networks.prior.hyper, -(-height // ALIGN), -(-width // ALIGN))
    index = np.broadcast_to(networks.prior.z_tables(level).to(torch.uint8).numpy()[:, None, None], shape)
    z = message.pop(networks.tables, index)
    digest = hashlib.sha256(z.astype("<i4").tobytes() + index.tobytes())

    def coder(k, mean, index):
        residual = message.pop(networks.tables, index.numpy())
        digest.update(residual.astype("<i4").tobytes() + index.numpy().tobytes())
        return torch.from_numpy(residual)

    networks.prior.run(torch.from_numpy(z)[None].float(), level, coder)
    assert message.empty
    assert digest.hexdigest() == FACTS[path.stem]["symbols_sha256"]
