"""`obverse train stereo`: what the command hands to the training and to the export."""

import torch
from PIL import Image

from obverse.cli import run
from obverse.errors import InputError
from tests.conftest import smooth_photo


def test_the_command_trains_and_exports(tmp_path, monkeypatch, capsys):
    import obverse.codecs.stereo.export
    import obverse.codecs.stereo.train
    from obverse.zoo import load_model, store_model

    for side in ("left", "right"):
        Image.fromarray(smooth_photo(16, 24)).save(tmp_path / f"a_{side}.png")
    calls = {}

    def train(data, out, recipe, config, decode, device):
        calls["train"] = (data, out, recipe, device)
        calls["decoded"] = decode(smooth_photo(20, 30), 10)
        return (out / "checkpoint.pt").touch()

    def export(checkpoint, data, out, decode, match, image_model):
        calls["export"] = (checkpoint, data, out, image_model)
        return store_model(out, b"weights", {"codec": "stereo"}, "")

    monkeypatch.setattr(obverse.codecs.stereo.train, "train", train)
    monkeypatch.setattr(obverse.codecs.stereo.export, "export_stereo", export)
    out = tmp_path / "run"
    words = ["train", "stereo", "--data", str(tmp_path), "--out", str(out), "--device", "cpu"]
    threads = ["--threads", str(torch.get_num_threads())]
    assert run([*words, *threads, "--steps", "7", "--keep-out", "2", "--lr", "0.5", "--no-bf16"]) == 0
    data, folder, recipe, device = calls["train"]
    assert (data, folder, device) == ([tmp_path], out, "cpu")
    assert (recipe.steps, recipe.keep_out, recipe.lr, recipe.bf16) == (7, 2, 0.5, False)
    assert calls["decoded"].shape == (20, 30, 3)
    fingerprint = load_model("image").fingerprint
    assert calls["export"] == (out / "checkpoint.pt", [tmp_path], out / "model", fingerprint)
    assert f"trained: {out / 'model'}, model " in capsys.readouterr().err
    assert run(["export", "stereo", str(out), "--out", str(tmp_path / "zoo")]) == 0
    assert calls["export"] == (out / "checkpoint.pt", [tmp_path], tmp_path / "zoo", fingerprint)


def test_no_pairs_is_told_before_anything_is_trained(tmp_path, capsys):
    words = ["train", "stereo", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert run(words) == InputError.exit_code
    assert "no stereo pairs" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
