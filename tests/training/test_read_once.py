"""What a training learns from is read once, by the check before it, the training and the export."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obverse.codecs.image_lossless.recipe import LosslessInputs
from obverse.codecs.invariant.export import export as export_invariant
from obverse.codecs.invariant.recipe import InvariantInputs, InvariantRecipe
from obverse.codecs.invariant.train import run as train_invariant
from obverse.codecs.split.images import read_images
from obverse.codecs.split.recipe import SplitInputs
from obverse.codecs.vae.export import export as export_vae
from obverse.codecs.vae.recipe import VaeInputs, VaeRecipe
from obverse.codecs.vae.train import run as train_vae

pytestmark = pytest.mark.usefixtures("one_thread")
RNG = np.random.default_rng(0)


def test_vae(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", RNG.integers(0, 256, (120, 8, 8), dtype=np.uint8))
    inputs = VaeInputs(data=[tmp_path / "set.npy"])
    inputs.check()
    (tmp_path / "set.npy").unlink()
    train_vae(inputs, tmp_path / "run", VaeRecipe(steps=1, batch=2, bf16=False), {}, "cpu")
    assert export_vae(inputs, tmp_path / "run" / "checkpoint.pt", tmp_path / "model")["steps"] == 1


def test_invariant(tmp_path: Path) -> None:
    np.save(tmp_path / "points.npy", RNG.normal(size=(200, 2)).astype(np.float32))
    inputs = InvariantInputs(data=[tmp_path / "points.npy"])
    inputs.check()
    (tmp_path / "points.npy").unlink()
    train_invariant(inputs, tmp_path / "run", InvariantRecipe(steps=1, batch=4, bf16=False), {}, "cpu")
    assert export_invariant(inputs, tmp_path / "run" / "checkpoint.pt", tmp_path / "model")["fingerprint"]


def test_split(tmp_path: Path) -> None:
    np.save(tmp_path / "set.npy", RNG.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(60) % 3)
    inputs = SplitInputs(data=tmp_path / "set.npy", labels=tmp_path / "labels.npy")
    inputs.check()
    for name in ("set.npy", "labels.npy"):
        (tmp_path / name).unlink()
    for _ in range(2):  # of the training, of the export
        learned, held_out = read_images(inputs)
        assert (len(learned), len(held_out), learned.classes) == (57, 3, 3)


def test_image_lossless(tmp_path: Path) -> None:
    """Photos are too many to be kept; which of them are held out is settled once."""
    for name in "abc":
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    inputs = LosslessInputs(data=[tmp_path])
    inputs.check()
    before = inputs.files
    Image.new("RGB", (8, 8)).save(tmp_path / "d.png")
    assert inputs.files == before and [path.name for path in before[1]] == ["c.png"]
