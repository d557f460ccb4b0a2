"""`obverse split export` and `obverse train split`: two files that work together, and a model from a set of images."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load as load_safetensors

from obverse.cli import run
from obverse.codecs.split.codec import SplitCodec
from obverse.codecs.split.command import split_export
from obverse.codecs.split.halves import load_device, load_server
from obverse.errors import InputError, ModelError, OutputError, OutputExistsError
from obverse.zoo import load_model_from, store_model
from tests.codecs.split.models import RECONSTRUCTS, SMALL, images_of, stored_model

QUICK = [
    "--teacher-steps",
    "2",
    "--steps",
    "4",
    "--batch",
    "8",
    "--codes",
    "3",
    "--width",
    "2",
    "--device",
    "cpu",
]


def words_of(data, out, *more):
    return ["train", "split", "--data", str(data), "--out", str(out), *more]


@pytest.fixture
def model(tmp_path):
    """The folder of a small model, and the codec with it."""
    made = stored_model(RECONSTRUCTS)
    folder = tmp_path / "model"
    return folder, SplitCodec(store_model(folder, made.weights, made.config, "# small"))


def test_export(model, tmp_path, capsys):
    folder, codec = model
    assert split_export(str(folder), output=tmp_path / "halves") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(codec.fingerprint.hex() in line for line in lines)
    device = load_device(tmp_path / "halves" / "device.safetensors")
    server = load_server(tmp_path / "halves" / "server.safetensors")
    images = images_of(RECONSTRUCTS, 4)
    payload = device.encode(images)
    np.testing.assert_array_equal(server.predict(payload, 4), codec.predict(codec.encode(images)))


def test_export_as_json_and_again(model, tmp_path, capsys):
    folder, codec = model
    split_export(str(folder), output=tmp_path, json=True)
    rows = json.loads(capsys.readouterr().out)
    assert [row["half"] for row in rows] == ["split-device", "split-server"]
    for row in rows:
        assert row["model"] == codec.fingerprint.hex()
        assert row["bytes_out"] == (tmp_path / row["output"].rpartition("/")[2]).stat().st_size
    (tmp_path / "device.safetensors").unlink()
    with pytest.raises(OutputExistsError, match=r"server\.safetensors"):
        split_export(str(folder), output=tmp_path)
    assert not (tmp_path / "device.safetensors").exists()  # none is written if one cannot be
    assert split_export(str(folder), output=tmp_path, force=True) == 0


def test_export_of_what_is_not_whole(model, tmp_path):
    folder, _ = model
    with pytest.raises(ModelError, match="only split models"):
        split_export("image", output=tmp_path / "a")
    made = stored_model(SMALL)
    tensors = load_safetensors(made.weights)
    from safetensors.torch import save

    weights = save({name: tensor for name, tensor in tensors.items() if "tail" not in name})
    store_model(tmp_path / "bad", weights, made.config, "# bad")
    with pytest.raises(ModelError, match="no whole server"):
        split_export(str(tmp_path / "bad"), output=tmp_path / "b")
    assert not (tmp_path / "b").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        split_export(str(folder), output=tmp_path / "file" / "halves")


@pytest.mark.parametrize("reconstruct", [None, 0.5])
def test_train_from_arrays(reconstruct, tmp_path, capsys):
    np.save(tmp_path / "images.npy", images_of(SMALL, 80))
    np.save(tmp_path / "labels.npy", np.arange(80) % 3)
    words = words_of(tmp_path / "images.npy", tmp_path / "run", "--labels", str(tmp_path / "labels.npy"))
    words += f"--beta 0.01 --seed 7 --teacher-lr 0.05 --threads {torch.get_num_threads()}".split()
    if reconstruct is not None:
        words += ["--reconstruct", str(reconstruct)]
    assert run([*words, *QUICK]) == 0
    model = load_model_from(tmp_path / "run" / "model")
    assert model.codec == "split" and model.fingerprint.hex() in capsys.readouterr().err
    codec = SplitCodec(model)
    assert codec.predict(codec.encode(images_of(SMALL, 5))).shape == (5, 3)
    assert codec.config.reconstructs == (reconstruct is not None)
    (phase,) = json.loads((tmp_path / "run" / "recipe.json").read_text())["phases"]
    recipe = phase["recipe"]
    assert (recipe["beta"], recipe["seed"], recipe["reconstruct"]) == (0.01, 7, reconstruct or 0.0)
    assert phase["data"]["images"] == 76
    (phase,) = json.loads((tmp_path / "run" / "teacher" / "recipe.json").read_text())["phases"]
    teaching = phase["recipe"]
    assert (teaching["steps"], teaching["lr"], teaching["batch"], teaching["seed"]) == (2, 0.05, 128, 7)
    assert run(["export", "split", str(tmp_path / "run"), "--out", str(tmp_path / "again")]) == 0
    assert load_model_from(tmp_path / "again").fingerprint == model.fingerprint
    words[words.index("--out") + 1] = str(tmp_path / "next")
    assert run([*words, *QUICK, "--start", str(tmp_path / "run")]) == 0
    begun = load_model_from(tmp_path / "next" / "model")
    assert begun.fingerprint != model.fingerprint  # four steps more
    assert run([*words, *QUICK, "--start", str(tmp_path / "gone")]) == InputError.exit_code
    assert "to start from" in capsys.readouterr().err


def test_train_from_folders(tmp_path):
    for name in ("bird", "cat"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i, image in enumerate(images_of(SMALL, 30, seed=len(name))):
            Image.fromarray(image).save(tmp_path / "photos" / name / f"{i:02}.png")
    words = words_of(tmp_path / "photos", tmp_path / "run", "--objective", "end-to-end", "--widths", "4", "5")
    assert run([*words, *QUICK]) == 0
    model = load_model_from(tmp_path / "run" / "model")
    assert model.config["objective"] == "end-to-end" and model.config["model"]["teacher"]["classes"] == 2
    assert model.config["model"]["widths"] == [4, 5]


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--beta", "-1"), ("--reconstruct", "-1"), ("--codes", "0"), ("--teacher-steps", "0"), ("--steps", "0"),
     ("--batch", "1"), ("--width", "0"), ("--seed", "-1")],
)  # fmt: skip
def test_wrong_use(flag, value, tmp_path, capsys):
    assert run(words_of(tmp_path, tmp_path / "run", flag, value)) == 2
    assert f"{flag} must be" in capsys.readouterr().err


def test_images_without_classes(tmp_path, capsys):
    np.save(tmp_path / "images.npy", images_of(SMALL, 80))
    assert run(words_of(tmp_path / "images.npy", tmp_path / "run")) == InputError.exit_code
    assert "give --labels" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
