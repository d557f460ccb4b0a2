"""The files of experiments/lossy_bits_back: decoded in another process, and refused where they are damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import model as modelling
import numpy as np
import pytest
import run as experiment
import torch
from hyperprior import HyperpriorConfig, IntegerHyperprior
from PIL import Image

import obverse
from obverse.container import Container, read, write
from obverse.data.patches import PatchSampler
from obverse.errors import DamagedError, DecodeError, InputError, WrongModelError
from obverse.quantization.sga import Search
from tests.conftest import REPOSITORY, smooth_photo, torch_setting

FOLDER = REPOSITORY / "experiments" / "lossy_bits_back"


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    with torch_setting(1, True):
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The two modules, a model that was not trained, its coder, and the latents of three photos."""
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modelling, "CALIBRATION", 2)
        torch.manual_seed(0)
        networks = obverse.open_codec("image").networks
        photo = folder / "photo.png"
        Image.fromarray(smooth_photo(256, 256)).save(photo)
        sampler = PatchSampler([photo], 192, 0, lambda i, n: None)
        rates = len(modelling.QUALITIES)
        models = {
            kind: IntegerHyperprior(HyperpriorConfig(networks.latents, 4, 8, rates, drawn=kind == "drawn"))
            for kind in modelling.KINDS
        }
        grid = modelling.Grid(networks.latents, rates)
        modelling.export(folder, networks, grid, models, sampler, torch.device("cpu"))
    coder = experiment.Coder(folder)
    photos = [smooth_photo(64, 128, seed) for seed in range(3)]
    return folder, coder, photos


def file_of(coder, photos, rate: int = 1) -> tuple[bytes, list]:
    latents = [coder.plain(photos[0], rate, "rounded")] + [coder.plain(p, rate, "drawn") for p in photos[1:]]
    return coder.write(latents, rate, "drawn", "rounded", 1), latents


def test_another_process_synthesises_the_same_set(made, tmp_path: Path):
    folder, coder, photos = made
    data, latents = file_of(coder, photos)
    (tmp_path / "set.obv").write_bytes(data)
    script = str(FOLDER / "run.py")
    arguments = [sys.executable, script, "decode", str(tmp_path / "set.obv"), "--model", str(folder)]
    subprocess.run([*arguments, "--out", str(tmp_path / "out")], check=True)
    images = np.load(tmp_path / "out" / "set.npy")
    for image, (y, _) in zip(images, latents, strict=True):
        assert np.array_equal(image, coder.synthesise(y, 1))


def test_files_weigh_what_the_tables_say(made):
    _, coder, photos = made
    data, latents = file_of(coder, photos)
    names = ["rounded", "drawn", "drawn"]
    bits = sum(coder.net_bits(y, z, name, 1) for (y, z), name in zip(latents, names, strict=True))
    assert 8 * len(read(data).sections["y"]) == pytest.approx(bits, rel=0.01)


@pytest.mark.parametrize("name", ["rounded", "drawn"])
def test_a_search_never_costs_more(made, name):
    _, coder, photos = made

    def cost(latents) -> float:
        y, z = latents
        return coder.net_bits(y, z, name, 0) + coder.squared_error(photos[0], y, 0) * 0.0027

    found = coder.searched(photos[0], 0, name, Search(12, lr=0.02))
    assert cost(found) < cost(coder.plain(photos[0], 0, name))


def test_damaged_files_are_refused(made):
    _, coder, photos = made
    data, _ = file_of(coder, photos)
    container = read(data)

    def changed(**values) -> bytes:
        return write(Container(**(vars(container) | values)))

    payload = container.sections["y"]
    rng = np.random.default_rng(0)
    for _ in range(8):
        broken = bytearray(payload)
        broken[rng.integers(len(broken))] ^= 1 << rng.integers(8)
        with pytest.raises(DamagedError):  # the chain does not end empty
            coder.read(changed(sections={"y": bytes(broken)}))
    for cut in (0, 4, len(payload) // 2, len(payload) - 3):
        with pytest.raises(DamagedError):
            coder.read(changed(sections={"y": payload[:cut]}))
    for key, value in ((0, 4), (0, "1"), (1, -1), (1, 1), (2, 0), (3, 4), (3, True)):
        with pytest.raises(DamagedError):
            coder.read(changed(config=container.config | {key: value}))
    for shape in ((3, 60, 128, 3), (0, 64, 128, 3), (3, 64, 128), (2, 64, 128, 3)):
        with pytest.raises(DamagedError):
            coder.read(changed(shape=shape))
    with pytest.raises(DecodeError):
        coder.read(data[:-1])
    with pytest.raises(WrongModelError):
        coder.read(changed(model=bytes(8)))


def test_a_folder_without_a_model_is_named(made, tmp_path: Path):
    _, coder, _ = made
    (tmp_path / "model.safetensors").write_bytes(b"no")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="not a model of this experiment"):
            type(coder)(folder)
