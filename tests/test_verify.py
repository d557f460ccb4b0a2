"""A file is decoded before it is kept; what was computed wrongly is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import obverse
from obverse import exact_sums
from obverse.cli import run
from obverse.errors import DamagedError, DecodeError, OptionError, UnsupportedInputError, VerificationError
from tests.codecs.flow.models import some_images
from tests.codecs.vae.models import strokes

SETS = {"vae": strokes(6, seed=2), "flow": some_images(3)}


class WrongKernel:
    """Sums that are off by one in some places, and the trial that does not notice."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.on = True
        direct = exact_sums._direct

        def sums(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
            out = direct(x, weight, bias)
            # an error that the rescaling does not round away
            return out + 40 * out.abs().max() / 100 * (out % 7 == 3) if self.on else out

        monkeypatch.setattr(exact_sums, "_direct", sums)
        monkeypatch.setattr(exact_sums, "_is_exact", lambda *_: True)


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> WrongKernel:
    return WrongKernel(monkeypatch)


@pytest.mark.parametrize("name", SETS)
def test_a_wrong_kernel_is_caught_at_compress_and_at_decode(name: str, wrong: WrongKernel) -> None:
    codec, images = obverse.open_codec(name), SETS[name]
    file = obverse.compress(images, codec=name, model_only=True)  # the same mistake twice goes unnoticed
    with pytest.raises(VerificationError, match="does not decode to what was given"):
        obverse.compress(images, codec=name, model_only=True, verify="certain")
    assert np.array_equal(obverse.decompress(file), images)
    wrong.on = False  # another machine
    with pytest.raises(DecodeError):
        obverse.decompress(file)
    assert np.array_equal(codec.decode(codec.encode(images, codec.options(model_only=True))), images)


@pytest.mark.parametrize("name", SETS)
def test_a_kernel_that_is_wrong_now_and_then_is_caught_at_once(
    name: str, wrong: WrongKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = type(obverse.open_codec(name))
    encode = codec.encode

    def encode_wrongly(*arguments: object) -> object:
        wrong.on = True
        try:
            return encode(*arguments)
        finally:
            wrong.on = False

    monkeypatch.setattr(codec, "encode", encode_wrongly)
    with pytest.raises(VerificationError):
        obverse.compress(SETS[name], codec=name, model_only=True)
    assert obverse.compress(SETS[name], codec=name, model_only=True, verify=False)


def test_samples_that_parse_but_are_others_are_caught_by_their_checksum() -> None:
    """A decoder may go wrong in a way that leaves a message that ends as it should."""
    image = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)
    codec = obverse.open_codec("image-lossless")
    container = codec.encode(image)
    other = codec.encode(image ^ 1)
    with pytest.raises(DamagedError, match="checksum"):
        codec.decode(type(container)(**{**vars(other), "samples": container.samples}))


@pytest.mark.parametrize("name", ["image", "features", "image-lossless"])
def test_files_without_fault_pass(name: str) -> None:
    data = (
        np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
        if name == "features"
        else np.full((20, 30, 3), 90, np.uint8)
    )
    plain = obverse.compress(data, codec=name)
    assert obverse.compress(data, codec=name, verify="certain") == plain
    assert obverse.compress(data, codec=name, verify=True) == plain


def test_what_cannot_be_asked_for() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    for wrong in ("yes", 3, "no", np.array([1, 2]), torch.ones(2), [True]):
        with pytest.raises(OptionError, match="certain"):
            obverse.compress(image, verify=wrong)  # type: ignore[call-overload]
    with pytest.raises(UnsupportedInputError, match="side information"):
        obverse.compress(image, codec="stereo", verify=True)


def test_the_command_line(tmp_path: Path, wrong: WrongKernel, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "set.npy", SETS["vae"])
    command = ["compress", "--codec", "vae", "--model-only", str(tmp_path / "set.npy")]
    assert run([*command, "--verify", "certain"]) == VerificationError.exit_code
    assert "does not decode" in capsys.readouterr().err and not (tmp_path / "set.obv").exists()
    assert run([*command, "--no-verify"]) == 0 and (tmp_path / "set.obv").exists()
    assert run([*command, "--no-verify", "--verify", "quick"]) == 2
