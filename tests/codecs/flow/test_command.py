"""`obverse train flow`: from a folder of images to a model that compresses."""

import numpy as np
import pytest
from PIL import Image

import obverse
from obverse.codecs.flow.command import train_flow
from obverse.errors import InputError
from tests.codecs.flow.models import some_images
from tests.conftest import smooth_photo


def test_train_then_compress(tmp_path, capsys):
    images = some_images(6)
    (tmp_path / "images").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "images" / f"{i}.png")
    (tmp_path / "photos").mkdir()
    Image.fromarray(smooth_photo(100, 120)).save(tmp_path / "photos" / "photo.jpg")
    out = tmp_path / "run"
    settings = {"photos": [tmp_path / "photos"], "steps": 2, "batch": 2, "validation": 2, "device": "cpu"}
    assert train_flow(data=tmp_path / "images", out=out, **settings) == 0
    assert "bits per dimension" in "".join(capsys.readouterr())
    data = obverse.compress(images, codec=str(out / "model"))
    assert np.array_equal(obverse.decompress(data, model=out / "model"), images)
    again = (out / "model" / "config.json").read_bytes()
    assert train_flow(data=tmp_path / "images", out=out, **settings) == 0  # nothing left to do but to export
    assert (out / "model" / "config.json").read_bytes() == again
    assert obverse.compress(images, codec=str(out / "model")) == data


def test_no_images(tmp_path):
    with pytest.raises(InputError, match="empty"):
        train_flow(data=tmp_path, out=tmp_path / "run")
    np.save(tmp_path / "x.npy", some_images(3))
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="no images"):
        train_flow(data=tmp_path / "x.npy", out=tmp_path / "run", photos=[tmp_path / "photos"])
