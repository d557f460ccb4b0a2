"""Models from before there were graphs: never loaded unasked, converted where trusted, and their files kept."""

import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

import obverse
from obverse.codecs.plug_and_play.codec import PlugAndPlayCodec
from obverse.codecs.plug_and_play.convert import convert
from obverse.codecs.plug_and_play.export import exported
from obverse.codecs.plug_and_play.fit import build_model, fit, posterior_of, save_model
from obverse.codecs.plug_and_play.generative_model import of_module
from obverse.container import read, write
from obverse.errors import InputError, ModelError, OutputExistsError, WrongModelError
from obverse.zoo import StoredModel, load_model_from, store_model
from tests.codecs.plug_and_play.models import Linear, ResNet, archived

X = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
PHOTO = np.random.default_rng(1).random((1, 3, 32, 48)).astype(np.float32)


def fitted(module, x, **more) -> StoredModel:
    p = posterior_of(of_module(module).posterior, iter([x]))
    return build_model(fit(p, 1, [0.1, 1.0]), p.shape, axis=1, networks=exported(module, x[:4]), **more)


@pytest.fixture(scope="module")
def models() -> tuple[StoredModel, StoredModel]:
    """With graphs, and as it was stored before."""
    new = fitted(Linear(), X)
    return new, archived(new, Linear(), X[:4])


@pytest.fixture
def old(models, tmp_path):
    folder = tmp_path / "old"
    store_model(folder, models[1].weights, models[1].config, "# mine\n")
    return folder


@pytest.fixture
def loads(monkeypatch):
    """What torch.export.load was called with."""
    called = []
    loaded = torch.export.load
    monkeypatch.setattr(
        torch.export, "load", lambda *args, **more: called.append(args) or loaded(*args, **more)
    )
    return called


def test_an_old_model_is_refused_with_the_way_to_convert_it(old, models, loads):
    file = write(PlugAndPlayCodec(models[0]).encode(X))
    written = write(replace(read(file), model=load_model_from(old).fingerprint))
    for use in (lambda: obverse.compress(X, codec=old), lambda: obverse.decompress(written, model=old)):
        with pytest.raises(ModelError, match="obverse plug-and-play convert FOLDER --trust"):
            use()
    assert not loads


def test_nothing_is_loaded_without_trust(old, loads):
    before = load_model_from(old)
    with pytest.raises(InputError, match=r"may run any code .*--trust \(trust=True in Python\)"):
        convert(old)
    assert not loads and load_model_from(old) == before


def test_the_converted_model_reads_the_old_one_s_files(old, models, tmp_path, monkeypatch):
    before = load_model_from(old)
    file = write(PlugAndPlayCodec(models[0]).encode(X))
    written = write(replace(read(file), model=before.fingerprint))
    wanted = obverse.decompress(file, model=store(models[0], tmp_path / "new"))
    with pytest.raises(WrongModelError):
        obverse.decompress(written, model=tmp_path / "new")
    made = convert(old, trust=True)
    assert made == load_model_from(old) and made.replaces == (before.fingerprint,)
    assert "Converted of the model" in (old / "card.md").read_text("utf-8")
    np.testing.assert_array_equal(obverse.decompress(written, model=old), wanted)
    monkeypatch.setenv("OBVERSE_ZOO", str(tmp_path))
    np.testing.assert_array_equal(obverse.decompress(written), wanted)  # found by its fingerprint
    assert read(obverse.compress(X, codec=old)).model == made.fingerprint
    with pytest.raises(InputError, match="nothing to convert"):
        convert(old, trust=True)


def store(model: StoredModel, folder):
    save_model(model, folder)
    return folder


def test_images_of_any_size_are_kept(tmp_path):
    torch.manual_seed(0)
    module = ResNet().eval()
    new = fitted(module, PHOTO, images=3, multiple=4)
    old = archived(new, module, np.concatenate([PHOTO, PHOTO]))
    store_model(tmp_path / "old", old.weights, old.config, "")
    made = convert(tmp_path / "old", tmp_path / "converted", trust=True)
    assert (tmp_path / "old" / "config.json").read_bytes() != (
        tmp_path / "converted" / "config.json"
    ).read_bytes()
    photo = np.random.default_rng(2).integers(0, 256, (21, 50, 3), np.uint8)
    back = [codec.decode(codec.encode(photo)) for codec in (PlugAndPlayCodec(new), PlugAndPlayCodec(made))]
    np.testing.assert_array_equal(*back)


def test_what_is_damaged_is_told(models, tmp_path):
    arrays = load(models[1].weights)
    for content in (b"", b"PK\x03\x04", arrays["network.encode"].tobytes()[:500]):
        changed = save(arrays | {"network.encode": np.frombuffer(content, np.uint8)})
        store_model(tmp_path / "damaged", changed, models[1].config, "")
        with pytest.raises(ModelError, match="encode cannot be loaded"):
            convert(tmp_path / "damaged", trust=True)
    store_model(tmp_path / "damaged", b"x", models[1].config, "")
    with pytest.raises(ModelError, match="damaged"):
        convert(tmp_path / "damaged", trust=True)


# torch.export.load parses the strings of symbolic sizes: what is there, runs
OWN = "__import__('pathlib').Path('owned').touch()"
USE = """
import sys
import obverse
obverse.open_codec("./hostile").encode([[0.0] * 6])
"""


def test_code_in_an_old_model_does_not_run(models, tmp_path):
    arrays = load(models[1].weights)
    archive = arrays["network.encode"].tobytes()
    buffer, changed = io.BytesIO(), 0
    with zipfile.ZipFile(io.BytesIO(archive)) as files, zipfile.ZipFile(buffer, "w") as made:
        for name in files.namelist():
            content = files.read(name)
            if name.endswith("models/model.json"):
                tree, changed = with_code(json.loads(content))
                content = json.dumps(tree).encode()
            made.writestr(name, content)
    assert changed
    hostile = save(arrays | {"network.encode": np.frombuffer(buffer.getvalue(), np.uint8)})
    store_model(tmp_path / "hostile", hostile, models[1].config, "")
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert "ModelError" in done.stderr and not (tmp_path / "owned").exists()


def with_code(tree):
    """Every string of a size becomes code; and how many there were."""
    if isinstance(tree, dict):
        found = {key: with_code(value) for key, value in tree.items()}
        if isinstance(tree.get("expr_str"), str):
            found["expr_str"] = (OWN, 1)
        return {key: value for key, (value, _) in found.items()}, sum(count for _, count in found.values())
    if isinstance(tree, list):
        listed = [with_code(value) for value in tree]
        return [value for value, _ in listed], sum(count for _, count in listed)
    return tree, 0


def test_the_command(old, capsys):
    from obverse.codecs.plug_and_play.command import convert as command

    before = load_model_from(old).fingerprint.hex()
    with pytest.raises(InputError, match="--trust"):
        command(old)
    assert command(old, trust=True, json=True) == 0
    assert json.loads(capsys.readouterr().out)["replaces"] == [before]


def test_the_command_keeps_a_model_that_lies_at_its_output(old, models, tmp_path, loads):
    from obverse.codecs.plug_and_play.command import convert as command

    store_model(tmp_path / "other", models[0].weights, models[0].config, "# other\n")
    with pytest.raises(OutputExistsError, match="--force"):
        command(old, out=tmp_path / "other", trust=True)
    assert not loads  # it is known before the programs are loaded
    assert load_model_from(tmp_path / "other").fingerprint == models[0].fingerprint
    assert command(old, out=tmp_path / "other", trust=True, force=True) == 0
    assert load_model_from(tmp_path / "other").replaces == (load_model_from(old).fingerprint,)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text("{}")  # of another program
    with pytest.raises(OutputExistsError):
        command(old, out=tmp_path / "foreign", trust=True)


def test_the_command_says_what_a_folder_lacks(old, tmp_path):
    from obverse.codecs.plug_and_play.command import convert as command

    (old / "config.json").unlink()
    with pytest.raises(ModelError, match=r"holds no model \(there is no config\.json in it\)"):
        command(old, trust=True)
    with pytest.raises(ModelError, match="there is no folder"):
        command(tmp_path / "gone", trust=True)


# -- networks among the tensors of a model --------------------------------------------------------------------------


ONE = b'{"input":[null,6],"nodes":[],"output":[{"value":0}]}'


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"graph.decode": None}, "no graph of its decode"),
        ({"graph.decode": np.zeros(3, np.float32)}, "no graph of its decode"),
        ({"graph.decode": np.zeros((3, 3), np.uint8)}, "no graph of its decode"),
        ({"graph.encode": np.frombuffer(b"{}", np.uint8)}, "input, nodes and output"),
        ({"network.encode.only_encode": None}, "a weight that it needs is not there"),
        ({"network.both.more": np.zeros(3, np.float32)}, "tensors that no network uses: network.both.more"),
        ({"network.both.scales": np.ones(4, np.uint16)}, "is of uint16, which no network takes"),
        ({"graph.encode": np.frombuffer(ONE, np.uint8)}, "its encode returns 1 tensors, not 2"),
    ],
)
def test_damaged_networks_are_told(models, change, words):
    arrays = load(models[0].weights)
    for name, array in change.items():
        if array is None:
            del arrays[name]
        else:
            arrays[name] = array
    bad = StoredModel("bad", save(arrays), models[0].config, bytes(8))
    with pytest.raises(ModelError, match=words):
        PlugAndPlayCodec(bad).encode(X)
