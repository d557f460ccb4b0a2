"""Tunes of a model: trained for another judge, with the prior and the tables of the model that they are of."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import obverse
from obverse.codecs.image.codec import ImageCodec
from obverse.codecs.image.export import export_image
from obverse.codecs.image.judges import distortion
from obverse.codecs.image.recipe import ImageInputs, ImageModelConfig, ImageRecipe
from obverse.codecs.image.train import run, train
from obverse.codecs.image.warm_start import stored_state
from obverse.container import read
from obverse.errors import InputError, MissingExtraError, ModelError, OptionError, TrainingError
from obverse.metrics import lpips
from obverse.registry import codec_of_id
from obverse.zoo import load_model_from
from tests.conftest import smooth_photo

SIZES = {
    "latents": 32, "fine": 1, "coarse": 1, "fine_hidden": 8, "coarse_hidden": 8, "hyper": 8, "features": 16,
    "context": 16, "hidden": 16,
}  # fmt: skip
RECIPE = ImageRecipe(steps=4, batch=2, patch=64, warmup=1, validate_every=4, bf16=False)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """A folder of models: `image`, and its tune `image-ssim`; and photos."""
    root = tmp_path_factory.mktemp("tunes")
    data, models = root / "data", root / "zoo"
    data.mkdir()
    for i in range(4):
        Image.fromarray(smooth_photo(230, 240, seed=i)).save(data / f"{i}.png")
    torch.set_num_threads(1)
    train([data], root / "run", RECIPE, ImageModelConfig(**SIZES), "cpu")
    export_image(root / "run" / "checkpoint.pt", [data], models / "image")
    recipe = replace(RECIPE, tune="ssim", patch=192, lr=1e-2)
    inputs = ImageInputs(data=[data], tune_of=str(models / "image"))
    run(inputs, root / "tuned", recipe, {}, "cpu")
    base = load_model_from(models / "image")
    export_image(root / "tuned" / "checkpoint.pt", [data], models / "image-ssim", base=base)
    return root


@pytest.fixture
def installed(zoo, monkeypatch):
    monkeypatch.setenv("OBVERSE_ZOO", str(zoo / "zoo"))
    codec_of_id.cache_clear()  # it keeps the codec with its model
    yield zoo / "zoo"
    codec_of_id.cache_clear()


@pytest.fixture(scope="module")
def pixels():
    return smooth_photo(120, 150, seed=9)


def test_a_tune_shares_prior_and_tables(installed):
    tune, base = (load_model_from(installed / name) for name in ("image-ssim", "image"))
    assert tune.config["base"] == base.fingerprint.hex() and tune.config["tune"] == "ssim"
    assert len(tune.weights) < len(base.weights)
    own, other = ImageCodec(base).networks, ImageCodec(tune).networks
    assert torch.equal(own.prior.quality, other.prior.quality)
    assert not all(
        torch.equal(a, b)
        for a, b in zip(own.analysis.state_dict().values(), other.analysis.state_dict().values(), strict=True)
    )


def test_a_file_of_a_tune_names_it_and_is_found_by_name(installed, pixels):
    plain, tuned = (obverse.compress(pixels, quality=30, tune=tune) for tune in ("psnr", "ssim"))
    assert plain == obverse.compress(pixels, quality=30)
    base, tune = (load_model_from(installed / name).fingerprint for name in ("image", "image-ssim"))
    assert (read(plain).model, read(tuned).model) == (base, tune)
    assert obverse.decompress(tuned).shape == pixels.shape
    codec = ImageCodec()
    container = codec.encode(pixels, codec.options(quality=30, tune="ssim"))
    assert np.array_equal(codec.decode(container), obverse.decompress(tuned))
    bits = float(codec.rate_bits(pixels, codec.options(quality=30, tune="ssim"))[0])
    assert bits == pytest.approx(8 * len(container.sections["y"]), rel=0.05)
    # from a tune to another one, and back
    other = ImageCodec(load_model_from(installed / "image-ssim"))
    assert other.encode(pixels, other.options(quality=30)).model == tune
    assert other.encode(pixels, other.options(quality=30, tune="psnr")).model == base


def test_a_tune_that_there_is_not(installed, pixels):
    with pytest.raises(OptionError, match="the model 'image' has no tune 'eye'"):
        obverse.compress(pixels, tune="eye")
    with pytest.raises(OptionError, match="tune must be one of psnr, ssim, eye, not 'ear'"):
        obverse.compress(pixels, tune="ear")


def test_a_tune_without_its_model_is_named(zoo, pixels, monkeypatch, tmp_path):
    monkeypatch.setenv("OBVERSE_ZOO", str(tmp_path))
    codec = ImageCodec(load_model_from(zoo / "zoo" / "image-ssim"))
    with pytest.raises(ModelError, match=r"is a tune of model [0-9a-f]{16}, which is not installed"):
        codec.encode(pixels)


def test_what_cannot_be_tuned(zoo, tmp_path):
    inputs = ImageInputs(data=[zoo / "data"], tune_of=str(zoo / "zoo" / "image"))
    with pytest.raises(TrainingError, match="a patch of 64 is too small"):
        run(inputs, tmp_path / "a", replace(RECIPE, tune="ssim"), {}, "cpu")
    with pytest.raises(TrainingError, match="has the sizes of its model 'image': leave them out"):
        run(inputs, tmp_path / "b", RECIPE, {"latents": 64}, "cpu")
    with pytest.raises(InputError, match="is not one of the image codec"):
        run(replace(inputs, tune_of="vae-mnist"), tmp_path / "c", RECIPE, {}, "cpu")
    with pytest.raises(
        TrainingError, match="'image' is no tune of 'image': begin with one, or with the model"
    ):
        run(replace(inputs, warm_start=inputs.tune_of), tmp_path / "d", RECIPE, {}, "cpu")


def test_a_tune_goes_on_from_an_earlier_one(zoo, installed, tmp_path):
    """With no step of its own yet it is the tune that it begins with, not the model."""
    inputs = ImageInputs(
        data=[zoo / "data"], tune_of=str(installed / "image"), warm_start=str(installed / "image-ssim")
    )
    run(inputs, tmp_path, replace(RECIPE, steps=1, lr=1e-12), {}, "cpu")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["average"]
    earlier = stored_state(load_model_from(installed / "image-ssim"))
    base = stored_state(load_model_from(installed / "image"))
    name = next(n for n in state if n.startswith("synthesis.") and not torch.equal(earlier[n], base[n]))
    assert torch.allclose(state[name], earlier[name], atol=1e-4)
    shared = [n for n in state if n.startswith("prior.") and not n.startswith("prior.analysis")]
    assert len(shared) > 10 and all(torch.equal(state[n], base[n]) for n in shared)


@pytest.mark.parametrize("judge", ["psnr", "ssim", "eye"])
def test_judges_are_0_for_the_same_and_fall_where_they_should(judge):
    if judge == "eye":
        try:
            lpips.weights("alex")
        except MissingExtraError as error:
            pytest.skip(str(error))
    x = torch.from_numpy(smooth_photo(192, 192)).permute(2, 0, 1)[None].float() / 255
    x = torch.cat([x, x.flip(3)])
    t = torch.tensor([0.2, 0.8])
    assert distortion(judge, x, x, t).abs().max() < 0.5
    noise = 0.03 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    near, far = (distortion(judge, x, x + factor * noise, t) for factor in (1, 3))
    assert (near > 0).all() and (near < far).all()
    seen = (x + noise).requires_grad_()
    (slope,) = torch.autograd.grad(distortion(judge, x, seen, t).sum(), seen)
    assert torch.isfinite(slope).all() and slope.abs().max() > 0
