"""`obverse train vae`: what the command hands to the training and to the export."""

from __future__ import annotations

import zipfile

import numpy as np
import torch
from PIL import Image

from obverse.cli import run
from obverse.data.image_sets import read_image_set
from obverse.errors import InputError, UnsupportedInputError
from obverse.zoo import store_model
from tests.codecs.vae.models import TWO_LAYERS, images_of, stored_model


def test_the_command_trains_and_exports(tmp_path, monkeypatch, capsys):
    import obverse.codecs.vae.export
    import obverse.codecs.vae.train

    path = tmp_path / "set.npy"
    np.save(path, images_of(TWO_LAYERS, 5))
    calls = []

    def train(data, out, recipe, config, device, images):
        calls.append((data, out, recipe, config, device))

    def export(checkpoint, data, out, images):
        calls.append((checkpoint, data, out))
        return {"fingerprint": "0123", "net rate": 1.5}

    monkeypatch.setattr(obverse.codecs.vae.train, "train", train)
    monkeypatch.setattr(obverse.codecs.vae.export, "export_vae", export)
    out = tmp_path / "run"
    threads = torch.get_num_threads()
    words = ["train", "vae", "--data", str(path), "--out", str(out), "--device", "cpu"]
    assert run([*words, *f"--steps 7 --lr .5 --shift 1 --threads {threads} --top 9 --no-bf16".split()]) == 0
    data, folder, recipe, config, device = calls[0]
    assert (data, folder, device) == ([path], out, "cpu")
    assert (recipe.steps, recipe.lr, recipe.shift, recipe.binarise, recipe.bf16) == (
        7,
        0.5,
        1,
        "as-is",
        False,
    )
    assert (config.height, config.width, config.levels, config.top) == (8, 12, 256, 9)
    assert calls[1] == (out / "checkpoint.pt", [path], out / "model")
    assert "0123" in capsys.readouterr().err
    run([*words, "--binarise", "stochastic"])
    assert (calls[2][2].binarise, calls[2][3].levels, calls[2][3].components) == ("stochastic", 2, 1)
    run([*words, "--levels", "2"])
    assert (calls[4][2].binarise, calls[4][3].levels, calls[4][3].components) == ("as-is", 2, 1)


def test_wrong_use_and_missing_data(tmp_path, capsys):
    words = ["train", "vae", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    np.save(tmp_path / "images.npy", images_of(TWO_LAYERS, 5))
    for wrong in ("--steps=0", "--seed=-1", "--threads=0", "--top=0", "--binarise=often"):
        assert run([*words[:3], str(tmp_path / "images.npy"), *words[4:], wrong]) == 2
        assert wrong.partition("=")[0] in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert run([*words[:3], str(tmp_path / "empty"), *words[4:]]) == InputError.exit_code
    assert "empty" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_a_folder_of_images_is_one_set(tmp_path, monkeypatch, capsys):
    """Compressed with a model of one's own, and back as an array or as images."""
    monkeypatch.chdir(tmp_path)
    stored = stored_model(TWO_LAYERS)
    store_model(tmp_path / "mine", stored.weights, stored.config, "# mine")
    images = images_of(TWO_LAYERS, 7)
    (tmp_path / "digits").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "digits" / f"{number}.png")
    np.save("array.npy", images)
    assert run(["compress", "digits", "--codec", "./mine"]) == 0
    assert run(["compress", "array.npy", "--codec", "./mine"]) == 0
    assert (tmp_path / "digits.obv").read_bytes() == (tmp_path / "array.obv").read_bytes()
    assert run(["decompress", "digits.obv", "--model", "mine"]) == 0
    np.testing.assert_array_equal(np.load("digits.npy"), images)
    assert run(["decompress", "digits.obv", "-o", "again.zip", "--model", "mine"]) == 0
    with zipfile.ZipFile("again.zip") as archive:
        archive.extractall("again")
    np.testing.assert_array_equal(read_image_set(tmp_path / "again"), images)
    capsys.readouterr()
    assert run(["compress", "again.zip", "--codec", "./mine"]) == InputError.exit_code
    assert "not a set of images" in capsys.readouterr().err
    np.save("float.npy", images / 255)
    assert run(["compress", "float.npy", "--codec", "./mine"]) == UnsupportedInputError.exit_code
    assert "float64" in capsys.readouterr().err
