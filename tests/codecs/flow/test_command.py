"""`obverse train flow`: from a folder of images to a model that compresses."""

import json

import numpy as np
from PIL import Image

import obverse
from obverse.cli import run
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
    words = ["train", "flow", "--data", str(tmp_path / "images"), "--photos", str(tmp_path / "photos")]
    words += [
        "--steps",
        "2",
        "--batch",
        "2",
        "--validation",
        "2",
        "--device",
        "cpu",
        "--width",
        "8",
        "--blocks",
        "1",
        "1",
        "1",
    ]
    words += ["--out", str(out)]
    assert run(words) == 0
    assert "bits per dimension" in "".join(capsys.readouterr())
    data = obverse.compress(images, codec=str(out / "model"), model_only=True)
    assert np.array_equal(obverse.decompress(data, model=out / "model"), images)
    again = (out / "model" / "config.json").read_bytes()
    assert run(words) == 0  # nothing left to do but to export
    assert (out / "model" / "config.json").read_bytes() == again
    assert obverse.compress(images, codec=str(out / "model"), model_only=True) == data
    assert json.loads(again)["model"]["blocks"] == [1, 1, 1]
    assert run(["export", "flow", str(out), "--out", str(tmp_path / "zoo")]) == 0  # it knows its data
    assert (tmp_path / "zoo" / "config.json").read_bytes() == again


def test_no_images(tmp_path, capsys):
    train = ["train", "flow", "--out", str(tmp_path / "run"), "--data"]
    assert run([*train, str(tmp_path)]) == InputError.exit_code
    assert "empty" in capsys.readouterr().err
    np.save(tmp_path / "x.npy", some_images(3))
    (tmp_path / "photos").mkdir()
    assert (
        run([*train, str(tmp_path / "x.npy"), "--photos", str(tmp_path / "photos")]) == InputError.exit_code
    )
    assert "no images" in capsys.readouterr().err and not (tmp_path / "run").exists()
