"""A user's module as functions of arrays, exported and loaded again; nothing in an archive is unpickled."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch

from obverse.codecs.plug_and_play.generative_model import ExportedFunction, exported, model_of, of_module
from obverse.errors import ExportError, InputError, ModelError
from tests.codecs.plug_and_play.models import BadShape, BadStd, Blocks, Linear, OneThing

MODELS = "tests.codecs.plug_and_play.models"


@pytest.fixture(scope="module")
def archives():
    return exported(Linear(), np.zeros((3, 6), np.float32))


def data(n: int = 7) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 6)).astype(np.float32)


def test_a_module_is_found_by_name():
    assert isinstance(model_of(f"{MODELS}:linear"), Linear)
    assert isinstance(model_of(f"{MODELS}:make_linear"), Linear)
    assert isinstance(model_of(f"{MODELS}:Linear"), Linear)
    assert isinstance(model_of(Linear()), Linear)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (MODELS, "module:name"),
        (f"{MODELS}:nothing", "cannot be imported"),
        ("no_such_module:x", "cannot be imported"),
        (f"{MODELS}:no_model", "cannot be made"),
        ("math:sqrt", "cannot be made"),
        (np.zeros(3), "no torch module"),
        (Linear, "no torch module"),
        (torch.nn.Linear(2, 2), "no torch module"),
    ],
)
def test_what_is_no_model_is_refused(source, words):
    with pytest.raises(InputError, match=words):
        model_of(source)


def test_the_archives_do_what_the_module_does(archives):
    encode, decode = ExportedFunction(archives[0], "encode", 2), ExportedFunction(archives[1], "decode", 1)
    module = of_module(Linear())
    for n in (1, 2, 7):
        x = data(n)
        mean, std = encode(x)
        np.testing.assert_allclose(mean, module.encode(x)[0], atol=1e-6)
        np.testing.assert_allclose(std, module.encode(x)[1], atol=1e-6)
        np.testing.assert_allclose(decode(mean), module.decode(mean), atol=1e-6)


def test_weights_that_only_the_other_half_uses_are_left_out(archives):
    assert len(archives[0]) < 30_000 < len(archives[1])  # only_decode has 40,000 bytes


def test_images_of_any_size():
    encode = ExportedFunction(exported(Blocks(), np.zeros((1, 3, 16, 24), np.float32))[0], "encode", 2)
    assert encode(np.zeros((2, 3, 40, 8), np.float32))[0].shape == (2, 48, 10, 2)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (BadStd(), "std values are zero or negative"),
        (BadShape(), r"decode makes shape \(2, 5\) of latents of shape \(2, 4\).*\(2, 6\)"),
        (OneThing(), "mean and std, two tensors"),
    ],
)
def test_models_that_do_not_fit_are_refused_with_the_reason(module, words):
    with pytest.raises(InputError, match=words):
        exported(module, data(4))


def test_data_that_the_model_cannot_take_is_named():
    with pytest.raises(InputError, match=r"encode cannot be run on an array of shape \(2, 9\)"):
        of_module(Linear()).posterior(np.zeros((2, 9)))


def test_a_model_that_is_not_deterministic_cannot_be_exported():
    class Random(Linear):
        def decode(self, z):
            return super().decode(z) + torch.randn(z.shape[0], 6)

    with pytest.raises(ExportError, match="deterministic"):
        exported(Random(), data(4))


# -- archives -----------------------------------------------------------------------------------------------------


class Harmful:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


def changed(archive: bytes, change) -> bytes:
    """The archive with another content of its files; `change` gets and returns a dict of them."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        contents = change({name: files.read(name) for name in files.namelist()})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as files:
        for name, content in contents.items():
            files.writestr(name, content)
    return buffer.getvalue()


def with_pickled_weights(files: dict[str, bytes]) -> dict[str, bytes]:
    name = next(n for n in files if n.endswith("model_weights_config.json"))
    config = json.loads(files[name])
    first = next(iter(config["config"].values()))
    first["use_pickle"] = True
    weight = name.rsplit("/", 1)[0] + "/" + first["path_name"]
    return files | {name: json.dumps(config).encode(), weight: pickle.dumps(Harmful())}


def with_pickled_sample(files: dict[str, bytes]) -> dict[str, bytes]:
    buffer = io.BytesIO()
    torch.save(Harmful(), buffer)
    return files | {next(n for n in files if n.endswith(".pt")): buffer.getvalue()}


def with_custom_object(files: dict[str, bytes]) -> dict[str, bytes]:
    root = next(iter(files)).split("/")[0]
    return files | {f"{root}/data/constants/custom_obj_0": pickle.dumps(Harmful())}


@pytest.mark.parametrize(
    "change",
    [with_pickled_weights, with_pickled_sample, with_custom_object, lambda files: {"x/data.pkl": b""}],
)
def test_pickles_are_refused_before_they_are_loaded(archives, change):
    with pytest.raises(ModelError, match="not loaded"):
        ExportedFunction(changed(archives[0], change), "encode", 2)(data())


@pytest.mark.parametrize("damage", [lambda a: b"", lambda a: b"PK\x03\x04", lambda a: a[: len(a) // 2]])
def test_damaged_archives_are_refused(archives, damage):
    with pytest.raises(ModelError):
        ExportedFunction(damage(archives[0]), "encode", 2)(data())
