"""SSIMULACRA2 and LPIPS against those who defined them, and as what networks are trained with."""

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.errors import InputError, MissingExtraError
from obverse.metrics import lpips
from obverse.metrics.image_metrics import METRICS, check_metrics, lpips_db
from obverse.metrics.ssimulacra2 import half, score, ssimulacra2

KODIM23 = Path(__file__).parents[2] / "examples" / "kodim23.png"


def jpeg(image, quality):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.fixture(scope="module")
def photo():
    return np.asarray(Image.open(KODIM23).convert("RGB"))


# what the package ssimulacra2 0.3.0 says of JPEGs of the shipped photo
@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 768, 512), {5: -60.71788231, 30: 46.34629317, 90: 84.62612963}),
        ((100, 50, 401, 253), {5: -8.44518829, 30: 64.03096144, 90: 81.19345747}),
        ((100, 50, 140, 100), {5: -5.82993319, 30: 74.39644354, 90: 92.90581077}),
    ],
)
def test_ssimulacra2_is_that_of_the_package(photo, box, expected):
    left, top, right, bottom = box
    crop = photo[top:bottom, left:right]
    for quality, value in expected.items():
        assert score(crop, jpeg(crop, quality)) == pytest.approx(value, abs=2e-3)


def test_ssimulacra2_beside_the_package_itself(photo, tmp_path):
    reference = pytest.importorskip("ssimulacra2", reason="the package ssimulacra2 is not installed")
    for number, crop in enumerate((photo[:201, :333], photo[100:131, 200:299])):
        other = jpeg(crop, 20)
        for name, image in (("a.png", crop), ("b.png", other)):
            Image.fromarray(image).save(tmp_path / f"{number}{name}")
        value = reference.compute_ssimulacra2(tmp_path / f"{number}a.png", tmp_path / f"{number}b.png")
        assert score(crop, other) == pytest.approx(value, abs=2e-3)


def test_ssimulacra2_of_the_same_image_is_100(photo):
    assert score(photo[:64, :64], photo[:64, :64]) == pytest.approx(100, abs=1e-3)


def test_ssimulacra2_can_be_trained_with(photo):
    x = torch.from_numpy(photo[:64, :64].copy()).permute(2, 0, 1)[None].double() / 255
    noisy = (x + 0.1 * torch.randn(x.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))).clamp(
        0, 1
    )
    noisy.requires_grad_()
    before = ssimulacra2(x, noisy)
    (slope,) = torch.autograd.grad(before.sum(), noisy)
    assert torch.isfinite(slope).all()
    step = 1e-4 * slope / slope.abs().max()
    assert ssimulacra2(x, noisy + step) > before
    same = x.clone().requires_grad_()
    assert torch.isfinite(torch.autograd.grad(ssimulacra2(x, same).sum(), same)[0]).all()


def test_half_takes_the_mean_of_what_there_is():
    x = torch.arange(15.0).view(1, 1, 3, 5)
    assert half(x)[0, 0].tolist() == [[3, 5, 6.5], [10.5, 12.5, 14]]


def test_lpips_orders_what_eyes_order(photo):
    try:
        lpips.weights("alex")
    except MissingExtraError as error:
        pytest.skip(str(error))
    crop = photo[100:292, 200:392]
    values = [lpips.distance(crop, jpeg(crop, quality)) for quality in (5, 30, 90)]
    assert lpips.distance(crop, crop) == 0
    assert 0 < values[2] < 0.05 < values[1] < 0.3 < values[0] < 1
    x = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float() / 255
    blurred = (0.9 * x + 0.1 * x.mean()).requires_grad_()
    (slope,) = torch.autograd.grad(lpips.lpips(x, blurred).sum(), blurred)
    assert torch.isfinite(slope).all() and slope.abs().max() > 0


def test_the_weights_of_lpips_are_read_without_running_anything(tmp_path):
    import os
    import pickle

    class Bad:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    with pytest.raises(InputError, match=r"ask for posix\.mkdir|ask for nt\.mkdir"):
        lpips._Arrays(io.BytesIO(pickle.dumps(Bad()))).load()
    assert not (tmp_path / "made").exists()
    array = {"Conv_0": np.arange(3.0)}
    assert lpips._Arrays(io.BytesIO(pickle.dumps(array))).load()["Conv_0"].tolist() == [0, 1, 2]


def test_lpips_without_its_weights_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    lpips.weights.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'obverse\[lpips\]'"):
        check_metrics(["lpips"])
    lpips.weights.cache_clear()


def test_scales_of_curves():
    assert lpips_db(0.1) == pytest.approx(10)
    assert lpips_db(0) == math.inf and math.isnan(lpips_db(math.nan))
    tiny = np.zeros((7, 7, 3), np.uint8)
    assert math.isnan(METRICS["ssimulacra2"].measure(tiny, tiny))
    assert math.isnan(METRICS["lpips"].measure(tiny, tiny))
