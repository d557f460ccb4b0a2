"""`obverse train stereo`: what the command hands to the training and to the export."""

import pytest
import torch
from PIL import Image

from obverse.codecs.stereo.command import train_stereo
from obverse.errors import InputError
from tests.conftest import smooth_photo


def test_the_command_trains_and_exports(tmp_path, monkeypatch, capsys):
    import obverse.codecs.stereo.export
    import obverse.codecs.stereo.train
    from obverse.zoo import load_model

    for side in ("left", "right"):
        Image.fromarray(smooth_photo(16, 24)).save(tmp_path / f"a_{side}.png")
    calls = {}

    def train(data, out, recipe, config, decode, device):
        calls["train"] = (data, out, recipe, device)
        calls["decoded"] = decode(smooth_photo(20, 30), 10)
        return out / "checkpoint.pt"

    def export(checkpoint, data, out, decode, match, image_model):
        calls["export"] = (checkpoint, data, out, image_model)
        return {"fingerprint": "0123"}

    monkeypatch.setattr(obverse.codecs.stereo.train, "train", train)
    monkeypatch.setattr(obverse.codecs.stereo.export, "export_stereo", export)
    out = tmp_path / "run"
    assert (
        train_stereo(
            data=[tmp_path],
            out=out,
            steps=7,
            keep_out=2,
            lr=0.5,
            device="cpu",
            threads=torch.get_num_threads(),
        )
        == 0
    )
    data, folder, recipe, device = calls["train"]
    assert (data, folder, device) == ([tmp_path], out, "cpu")
    assert (recipe.steps, recipe.keep_out, recipe.lr) == (7, 2, 0.5)
    assert calls["decoded"].shape == (20, 30, 3)
    fingerprint = load_model("image").fingerprint
    assert calls["export"] == (out / "checkpoint.pt", [tmp_path], out / "model", fingerprint)
    assert "0123" in capsys.readouterr().err


def test_no_pairs_is_told_before_anything_is_trained(tmp_path):
    with pytest.raises(InputError, match="no stereo pairs"):
        train_stereo(data=[tmp_path], out=tmp_path / "run")
