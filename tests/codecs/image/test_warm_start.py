"""Training that begins where the shipped model ended: floats made from its integers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import obverse
from obverse.codecs.image.encoder import quantise_latents
from obverse.codecs.image.model import ImageModel
from obverse.codecs.image.recipe import ImageModelConfig
from obverse.codecs.image.warm_start import stored_state, warm_start
from obverse.errors import InputError
from obverse.zoo import load_model
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def started():
    model = ImageModel(ImageModelConfig())
    warm_start(model, load_model("image"))
    return model.eval()


@pytest.fixture(scope="module")
def pixels():
    return np.asarray(Image.open(REPOSITORY / "examples" / "kodim23.png").convert("RGB"))[128:384, 256:512]


def to_input(pixels):
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255


def psnr(a, b):
    return float(-10 * torch.log10((a - b).pow(2).mean()))


@pytest.mark.parametrize("level", [200, 1000, 1800])
@torch.no_grad()
def test_rate_and_psnr_are_those_of_the_shipped_codec(started, pixels, level):
    networks = obverse.open_codec("image").networks
    y = networks.analyse(pixels, level)
    coded, y_hat = quantise_latents(networks, (y, networks.hyper_analyse(y)), level)
    bits = [float(networks.tables.bits(symbols, index).sum()) for symbols, index in coded]
    synthesised = to_input(networks.synthesise(y_hat, level, *pixels.shape[:2]))
    x = to_input(pixels)
    out = started(x, torch.tensor([level / 1980]))
    assert float(out["y_bits"] + out["z_bits"]) == pytest.approx(sum(bits), rel=0.02)
    assert float(out["z_bits"]) == pytest.approx(bits[0], rel=0.03)  # a few hundred bits
    rounded = (out["x_hat"] * 255).round().clamp(0, 255) / 255
    assert psnr(rounded, x) == pytest.approx(psnr(synthesised, x), abs=0.05)


@torch.no_grad()
def test_a_larger_model_starts_as_the_same_function(started, pixels):
    sizes = {
        "analysis_fine": 6,
        "analysis_coarse": 3,
        "analysis_fine_hidden": 120,
        "analysis_coarse_hidden": 176,
    }
    model = ImageModel(replace(ImageModelConfig(), **sizes)).eval()
    warm_start(model, load_model("image"))
    x, t = to_input(pixels), torch.tensor([0.6])
    wanted, got = started(x, t), model(x, t)
    assert (
        wanted["x_hat"] - got["x_hat"]
    ).abs().mean() < 1e-4  # a latent near a half may round the other way
    assert float(got["y_bits"]) == pytest.approx(float(wanted["y_bits"]), rel=1e-3)


def test_blocks_beyond_those_of_the_model_are_left_out(started):
    model = ImageModel(replace(ImageModelConfig(), fine=3, analysis_fine=4))
    warm_start(model, load_model("image"))
    own, wanted = model.state_dict(), started.state_dict()
    assert all(torch.equal(own[name], wanted[name]) for name in own)
    assert set(wanted) - set(own) == {name for name in wanted if name.startswith("synthesis.fine.3.")}


def test_floats_have_sizes_that_one_learning_rate_suits():
    """As large as the weights that were trained as floats and never became integers."""
    state = stored_state(load_model("image"))
    kernels = {name: value for name, value in state.items() if name.startswith("prior.") and value.dim() == 4}
    sizes = {name: float(value.pow(2).mean().sqrt()) for name, value in kernels.items()}
    assert len(sizes) == 19 and all(0.01 < size < 0.5 for size in sizes.values()), sizes


def test_models_of_other_sizes_or_codecs_are_refused():
    with pytest.raises(InputError, match=r"merge\.weight"):
        warm_start(ImageModel(replace(ImageModelConfig(), latents=192)), load_model("image"))
    with pytest.raises(InputError, match="not one of the image codec"):
        warm_start(ImageModel(ImageModelConfig()), load_model("image-lossless"))
