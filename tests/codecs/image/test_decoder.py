"""The decoder without torch: the same integers as the encoder's networks, and pixels within a grey level of theirs."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save
from torch.nn import functional as F

import obverse
from obverse.certain import certain_sums
from obverse.codecs.image import decoder as image_decoder
from obverse.codecs.image import exact_arrays
from obverse.codecs.image.codec import ImageCodec, message_of
from obverse.codecs.image.decoder import ImageDecoder
from obverse.codecs.image.encoder import quantise_pixels
from obverse.codecs.image.exact_arrays import ExactLayer, FourStepPrior
from obverse.codecs.image.exact_prior import ExactFourStep, export_exact
from obverse.codecs.image.latents import LEVELS, Z_MAX
from obverse.codecs.image.networks import ImageNetworks
from obverse.codecs.image.prior import FourStepHyperprior
from obverse.codecs.image.recipe import ImageModelConfig
from obverse.codecs.image.synthesis import Bottleneck
from obverse.codecs.image.winograd import convolve, padded, transformed
from obverse.coding import Message
from obverse.errors import ModelError
from obverse.transforms.blocks import ResidualBottleneck
from obverse.zoo import StoredModel, load_model
from tests.conftest import REPOSITORY, smooth_photo

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def codec() -> ImageCodec:
    opened = obverse.open_codec("image")
    assert isinstance(opened, ImageCodec)
    return opened


IN_A_PROCESS = """
import sys
from obverse.cli import run
code = run(["decompress", sys.argv[1], "-o", sys.argv[2]])
print(code, "torch" in sys.modules)
"""


@pytest.mark.parametrize("name", ["image-colour-q40", "image-gray-q70"])
def test_decompressing_never_imports_torch(name: str, tmp_path: Path) -> None:
    file = next(
        path for path in sorted(GOLDEN.glob("*.obv")) if path.stem.startswith(name.rpartition("-")[0])
    )
    command = [sys.executable, "-c", IN_A_PROCESS, str(file), str(tmp_path / "out.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["0", "False"], done.stderr
    assert (tmp_path / "out.png").exists()


@pytest.fixture(scope="module")
def priors() -> tuple[ExactFourStep, FourStepPrior]:
    """A small prior with random weights, of tensors and of arrays."""
    torch.manual_seed(0)
    sizes = ImageModelConfig(latents=16, hyper=8, features=24, context=16, hidden=32)
    model = FourStepHyperprior(16, 8, 24, 16, 32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 4:
                parameter.mul_(2)
    exact = export_exact(
        model, [(torch.randn(1, 16, 16, 16) * 4, torch.tensor([t])) for t in (0.1, 0.5, 0.9)]
    )
    return exact, FourStepPrior.of({key: value.numpy() for key, value in exact.export_state().items()}, sizes)


def run_both(
    priors: tuple[ExactFourStep, FourStepPrior], level: int, rows: int, columns: int, seed: int
) -> None:
    """Residuals as a hostile file may hold them: mostly small, some anywhere in int32."""
    exact, arrays = priors
    rng = np.random.default_rng(seed)
    z = rng.integers(-Z_MAX, Z_MAX + 1, (arrays.hyper, rows, columns), np.int32)
    shape = (4, arrays.latents, 2 * rows, 2 * columns)
    residuals = rng.integers(-20, 21, shape, np.int32)
    wild = rng.random(shape) < 0.05
    residuals[wild] = rng.integers(-(2**31), 2**31, int(wild.sum()))
    wanted = []

    def remember(k: int, mean: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        wanted.append(index.numpy().copy())
        return torch.from_numpy(residuals[k])

    def compare(k: int, index: np.ndarray) -> np.ndarray:
        assert np.array_equal(index, wanted[k])
        return residuals[k]

    with torch.inference_mode():
        y = exact.join(exact.run(torch.from_numpy(z)[None].float(), level, remember))
    assert np.array_equal(arrays.join(arrays.run(z, level, compare)), y[0].numpy())
    assert np.array_equal(arrays.z_tables(level), exact.z_tables(level).numpy())


def test_integers_are_those_of_the_encoder_at_every_level(
    priors: tuple[ExactFourStep, FourStepPrior],
) -> None:
    for level in range(LEVELS + 1):
        run_both(priors, level, 1 + level % 2, 1 + level % 3, level)


def test_integers_of_the_shipped_model(codec: ImageCodec) -> None:
    for level in range(0, LEVELS + 1, 110):
        run_both((codec.networks.prior, codec.decoder.prior), level, 1, 2, level)


def test_windows_and_whole_numbers_give_the_same_integers(
    priors: tuple[ExactFourStep, FourStepPrior], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_arrays, "WINDOW", 6)
    run_both(priors, 300, 6, 9, 1)
    with certain_sums():
        run_both(priors, 300, 3, 5, 2)
    monkeypatch.setattr(exact_arrays, "_is_exact", lambda dtype: False)
    run_both(priors, 300, 3, 5, 3)


def test_products_of_this_machine_are_exact() -> None:
    assert exact_arrays._is_exact(np.dtype(np.float32)) and exact_arrays._is_exact(np.dtype(np.float64))


@pytest.mark.parametrize("quality", [1, 50, 97.35, 100])
@pytest.mark.parametrize("size", [(1, 1), (150, 203), (330, 70)])
def test_a_file_is_parsed_to_the_symbols_and_painted_within_a_level(
    codec: ImageCodec, quality: float, size: tuple[int, int]
) -> None:
    level = round((quality - 1) * 20)
    coded, y_hat = quantise_pixels(codec.networks, smooth_photo(*size, seed=3), level)
    message = Message.from_bytes(message_of(codec.networks.tables, coded).to_bytes())
    popped, y = codec.decoder.pop(message, level, *size)
    for ours, theirs in zip(popped, coded, strict=True):
        assert np.array_equal(ours.symbols, theirs.symbols) and np.array_equal(ours.index, theirs.index)
    assert np.array_equal(y, y_hat[0].numpy())
    painted = codec.decoder.synthesise(y, level, *size).astype(int)
    assert np.abs(painted - codec.networks.synthesise(y_hat, level, *size)).max() <= 1


def test_windows_of_the_synthesis_give_the_whole_image(
    codec: ImageCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = np.random.default_rng(0).normal(0, 3, (320, 20, 28)).astype(np.float32)
    whole = codec.decoder.synthesise(y, 900, 310, 441).astype(int)
    monkeypatch.setattr(image_decoder, "WINDOW", 96)
    parts = codec.decoder.synthesise(y, 900, 310, 441)
    assert np.abs(parts - whole).max() <= 1 and np.mean(parts != whole) < 1e-2


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (9, 60), (40, 7), (1, 900)])
def test_a_convolution_by_tiles_is_that_of_torch(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(*size, 12)).astype(np.float32)
    weight = rng.normal(size=(10, 12, 3, 3)).astype(np.float32)
    wide = padded(*size, 12)
    wide[1 : size[0] + 1, 1 : size[1] + 1] = x
    rows = np.concatenate([part.copy() for _, part in convolve(wide, transformed(weight))])
    wanted = F.conv2d(torch.from_numpy(x).permute(2, 0, 1)[None], torch.from_numpy(weight), padding=1)
    got = rows[: size[0], : size[1]]
    np.testing.assert_allclose(got, wanted[0].permute(1, 2, 0).numpy(), atol=1e-4)


def test_a_residual_block_is_that_of_torch() -> None:
    torch.manual_seed(0)
    block = ResidualBottleneck(20, 12)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    state = {key: value.numpy().copy() for key, value in block.state_dict().items()}
    x = torch.randn(1, 20, 7, 11)
    with torch.no_grad():
        wanted = block(x, torch.tensor([1234 / LEVELS]))
    ours = x[0].permute(1, 2, 0).numpy().copy()
    Bottleneck.of(state).add_to(ours, 1234)
    np.testing.assert_allclose(ours, wanted[0].permute(1, 2, 0).numpy(), atol=1e-4)


# -- hostile models -------------------------------------------------------------------------------------------


def changed(name: str, tensor: np.ndarray | None) -> StoredModel:
    """The shipped model with another tensor, or without it."""
    model = load_model("image")
    tensors = dict(load(model.weights))
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    return replace(model, weights=save(tensors))


@pytest.mark.parametrize(
    "name, tensor",
    [
        ("prior/conv1.weight", None),
        ("prior/slices.2.spatial.bias", None),
        ("prior/slices.3.mix.weight", np.zeros((320, 4, 1, 1), np.int16)),
        ("prior/slices.3.mix.weight", np.full((320, 320, 1, 1), 1e30, np.float64)),
        ("prior/slices.3.mix.weight", np.full((320, 320, 1, 1), np.nan, np.float32)),
        ("prior/slices.3.head.high", np.full(640, 1e30, np.float32)),
        ("prior/conv1.limits", np.array([99, 127, 0])),
        ("prior/conv1.limits", np.array([1, 2**60, 0])),
        ("prior/quality", np.zeros((1, 384), np.int64)),
        ("prior/z_index", np.zeros(96, np.int64)),
        ("prior/spare", np.zeros(1, np.int64)),
        ("spare/weight", np.zeros(1, np.int64)),
        ("tables/cdf", None),
        ("tables/cdf", np.zeros(5, np.uint32)),
        ("gains/log_inverse_gain.anchors", np.zeros((9, 4), np.float32)),
        ("synthesis/split.weight", None),
        ("synthesis/fine.0.gain.anchors", np.zeros((1, 112), np.float32)),
        ("synthesis/coarse.0.reduce.weight", np.zeros((160, 320), np.int8)),
        ("synthesis/coarse.0.reduce.weight.row_scale", np.zeros(3, np.float32)),
    ],
)
def test_a_hostile_model_is_refused(name: str, tensor: np.ndarray | None) -> None:
    with pytest.raises(ModelError):
        _ = ImageCodec(changed(name, tensor)).decoder


@pytest.mark.filterwarnings("error")
def test_what_a_model_chooses_beyond_its_tables_is_refused() -> None:
    high = np.full(640, 2**19, np.int32)
    high[320:] = 300
    model = changed("prior/slices.0.head.high", high)
    low = np.array(load(model.weights)["prior/slices.0.head.low"])
    low[320:] = -5
    with pytest.raises(ModelError, match="tables"):
        _ = ImageCodec(
            replace(model, weights=save(dict(load(model.weights)) | {"prior/slices.0.head.low": low}))
        ).decoder


def test_both_readings_of_a_model_are_the_same_sizes() -> None:
    """What one side refuses the other one does."""
    model = load_model("image")
    for size in ("latents", "fine", "coarse_hidden", "hyper", "features", "context", "hidden"):
        config = {**model.config, "model": {**model.config["model"], size: 4096}}
        with pytest.raises(ModelError):
            _ = ImageCodec(replace(model, config=config)).decoder
    assert isinstance(ImageDecoder.load(model), ImageDecoder) and isinstance(
        ImageNetworks.load(model), ImageNetworks
    )


def test_a_layer_of_another_shape_is_refused() -> None:
    layer = {key: np.array(1) for key in ("weight", "bias", "multiplier", "low", "high")}
    with pytest.raises((ValueError, LookupError, obverse.ObverseError)):
        ExactLayer.of(layer | {"limits": np.array([1, 1, 0])}, (1, 1, 1))


def test_the_shipped_photo_is_read_from_a_stream(codec: ImageCodec) -> None:
    data = obverse.compress(REPOSITORY / "examples" / "kodim23.png", quality=20)
    assert obverse.decompress(io.BytesIO(data)).shape == (512, 768, 3)
