"""Every frozen file is parsed to the very same symbols, on any machine and in any setting: not only the picture."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from obverse.codec import codec_of
from obverse.codecs.image.latents import ALIGN
from obverse.coding import Message
from obverse.container import read
from obverse.testing.machines import SETTINGS, setting
from obverse.torch_settings import known_settings

HERE = Path(__file__).parent / "golden"
FACTS = json.loads((HERE / "symbols.json").read_text())
FILES = sorted(HERE.glob("*.obv"))


def digest_of(path: Path) -> str:
    """SHA-256 of what is parsed: z and the four slices, each with its table indices."""
    container = read(path)
    networks = codec_of(container).networks
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
    return digest.hexdigest()


def digest_without_torch(path: Path) -> str:
    """What the decoder parses: the same."""
    container = read(path)
    message = Message.from_bytes(container.sections["y"])
    coded, _ = codec_of(container).decoder.pop(message, container.config[0], *container.shape)
    digest = hashlib.sha256()
    for symbols, index in coded:
        digest.update(symbols.astype("<i4").tobytes() + index.astype(np.uint8).tobytes())
    return digest.hexdigest()


def test_every_file_has_its_symbols():
    assert {path.stem for path in FILES} == set(FACTS) and FACTS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_parses_to_the_frozen_symbols(path):
    assert digest_of(path) == digest_without_torch(path) == FACTS[path.stem]["symbols_sha256"]


@pytest.mark.parametrize("name", SETTINGS)
def test_symbols_are_identical_in_every_setting(name):
    with setting(name), known_settings(), torch.inference_mode():
        assert digest_of(HERE / "image-colour-q40.obv") == FACTS["image-colour-q40"]["symbols_sha256"]
