"""An encoder that was trained for the decoder of an earlier model: its files are that model's."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.codecs.image.codec import ImageCodec
from obverse.codecs.image.export import export_image
from obverse.codecs.image.recipe import ImageInputs, ImageModelConfig
from obverse.codecs.image.train import run, train
from obverse.codecs.image.weights import weight_groups
from obverse.container import read, write
from obverse.errors import ModelError, TrainingError
from obverse.zoo import CONFIG, find_model, load_model_from
from tests.codecs.image.test_tunes import RECIPE, SIZES
from tests.conftest import smooth_photo

WIDER = {"analysis_fine": 2, "analysis_fine_hidden": 24}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for i in range(3):
        Image.fromarray(smooth_photo(80, 96, seed=i)).save(folder / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory, data):
    """The folders of a model, and of one with a larger analysis that was trained for its decoder."""
    out = tmp_path_factory.mktemp("encoder")
    old, new = out / "old" / "image-1", out / "new" / "image-2"
    torch.set_num_threads(1)
    train([data], out / "first", RECIPE, ImageModelConfig(**SIZES), "cpu")
    export_image(out / "first" / "checkpoint.pt", [data], old)
    inputs = ImageInputs(data=[data], encoder_of=str(old))
    run(inputs, out / "second", replace(RECIPE, lr=1e-2), WIDER, "cpu")
    export_image(out / "second" / "checkpoint.pt", [data], new, encoder_of=load_model_from(old))
    return old, new


def test_each_decodes_what_the_other_encodes(models):
    old, new = (ImageCodec(load_model_from(folder)) for folder in models)
    assert old.fingerprint == new.fingerprint
    pixels = smooth_photo(70, 90, seed=3)
    files = [write(codec.encode(pixels, codec.options(quality=40))) for codec in (old, new)]
    assert files[0] != files[1]
    for file in files:
        assert np.array_equal(old.decode(read(file)), new.decode(read(file)))


def test_the_decoder_is_kept_to_the_last_bit_and_the_encoder_is_not(models):
    old, new = (weight_groups(load_model_from(folder)) for folder in models)
    for part in ("prior", "tables", "synthesis"):
        assert old[part].keys() == new[part].keys()
        assert all(np.array_equal(old[part][name], new[part][name]) for name in old[part])
    kept = [name for name in old["gains"] if name.startswith("log_inverse_gain")]
    assert kept and all(np.array_equal(old["gains"][name], new["gains"][name]) for name in kept)
    assert new["analysis"].keys() > old["analysis"].keys()
    assert not np.array_equal(old["gains"]["log_gain.anchors"], new["gains"]["log_gain.anchors"])


def test_it_is_found_where_files_of_the_earlier_model_are(models, monkeypatch):
    monkeypatch.setenv("OBVERSE_ZOO", str(models[1].parent))
    found = find_model("image", load_model_from(models[0]).fingerprint)
    assert found is not None and found.name == "image-2"


@pytest.mark.parametrize("decoder", [3, "", "0011", "xyz", "00" * 9])
def test_a_decoder_that_is_no_fingerprint(models, tmp_path, decoder):
    folder = tmp_path / "model"
    folder.mkdir()
    for file in models[1].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / CONFIG).read_text()) | {"decoder": decoder}
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ModelError, match="is damaged"):
        load_model_from(folder)


def test_what_has_no_other_decoder(models, data, tmp_path):
    inputs = ImageInputs(data=[data], encoder_of=str(models[0]))
    with pytest.raises(TrainingError, match="give only those of the analysis"):
        run(inputs, tmp_path / "a", RECIPE, WIDER | {"fine": SIZES["fine"] + 1}, "cpu")
    with pytest.raises(TrainingError, match="each begins elsewhere"):
        run(replace(inputs, tune_of=inputs.encoder_of), tmp_path / "b", RECIPE, {}, "cpu")
