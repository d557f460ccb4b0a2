"""Encoders from functions, files and folders; what their fingerprints notice; what cannot be used."""

import hashlib
import json
import sys
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.errors import InputError, MissingExtraError
from obverse.integrations.encoders import (
    load_encoder,
    module_fingerprint,
)
from obverse.integrations.image_input import InputFormat, image_files, read_images

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


class Network(torch.nn.Module):
    """(N, 3, 8, 8) -> (N, 4)."""

    def __init__(self, seed: int = 0):
        super().__init__()
        torch.manual_seed(seed)
        self.layer = torch.nn.Linear(3 * 8 * 8, 4)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, images):
        return self.dropout(self.layer(images.flatten(1)))


@pytest.fixture(scope="module")
def expected():
    with torch.inference_mode():
        return Network().eval()(torch.from_numpy(IMAGES).permute(0, 3, 1, 2) / 255).numpy()


def mean_colour(images):
    """A function of images as they are."""
    return np.stack([image.reshape(-1, 3).mean(0) for image in images])


# -- functions and modules ----------------------------------------------------------------------------------------


def test_functions_see_the_images_as_they_are():
    encoder = load_encoder(mean_colour)
    assert encoder.name == "mean_colour" and encoder.fingerprint is None
    np.testing.assert_allclose(encoder(IMAGES), IMAGES.reshape(5, -1, 3).mean(1))
    done = []
    np.testing.assert_allclose(encoder.features(list(IMAGES), 2, done.append), encoder(IMAGES))
    assert done == [2, 2, 1]
    np.testing.assert_allclose(encoder.features(IMAGES, 2), encoder(IMAGES))
    assert load_encoder(mean_colour, fingerprint=bytes(32)).fingerprint == bytes(32)
    with pytest.raises(InputError, match="32 bytes"):
        load_encoder(mean_colour, fingerprint=b"x")


def test_functions_by_name(tmp_path, monkeypatch):
    (tmp_path / "my_encoders.py").write_text(
        "import numpy as np\ndef size(images): return np.array([[len(i), i.shape[1]] for i in images], float)\nx = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    encoder = load_encoder("my_encoders:size")
    assert encoder.name == "my_encoders:size"
    np.testing.assert_array_equal(encoder(IMAGES), np.full((5, 2), 8.0))
    for name, text in (
        ("my_encoders:shape", "cannot be imported"),
        ("no_such:f", "cannot be imported"),
        ("my_encoders:x", "not a function"),
    ):
        with pytest.raises(InputError, match=text):
            load_encoder(name)


def test_what_a_function_makes_is_checked():
    for made, text in (
        (lambda x: np.zeros((4, 2)), r"shape \(4, 2\) of 5 images"), (lambda x: np.zeros(5), "shape"),
        (lambda x: np.zeros((5, 2), int), "int64"), (lambda x: [[1.0], [1.0, 2.0]], "no array"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=text):
            load_encoder(made)(IMAGES)
    widths = iter((3, 4))
    with pytest.raises(InputError, match="changing length"):
        load_encoder(lambda x: np.zeros((len(x), next(widths)))).features(IMAGES, 3)
    for nothing in (IMAGES[:0], []):
        with pytest.raises(InputError, match="no images"):
            load_encoder(mean_colour).features(nothing)
    with pytest.raises(InputError, match="batch"):
        load_encoder(mean_colour).features(IMAGES, 0)


def test_modules_and_their_weights(expected):
    encoder = load_encoder(Network())
    np.testing.assert_allclose(encoder(IMAGES), expected, rtol=1e-4, atol=1e-5)  # without dropout
    assert encoder.fingerprint == module_fingerprint(Network()) != module_fingerprint(Network(1))
    half = load_encoder(Network().bfloat16(), InputFormat())
    changed = Network()
    with torch.no_grad():
        changed.layer.bias[0] += 1e-6
    assert len({module_fingerprint(changed), encoder.fingerprint, half.fingerprint}) == 3
    assert load_encoder(lambda x: torch.ones(len(x), 2).bfloat16())(IMAGES).dtype == np.float32


# -- files --------------------------------------------------------------------------------------------------------


def torch_files(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.script(Network().eval()).save(str(folder / "script.pt"))
        program = torch.export.export(
            Network().eval(),
            (torch.zeros(2, 3, 8, 8),),
            dynamic_shapes=({0: torch.export.Dim("n", min=1, max=64)},),
        )
        torch.export.save(program, folder / "program.pt2")
    return folder / "script.pt", folder / "program.pt2"


def test_torch_files(tmp_path, expected):
    for path in torch_files(tmp_path):
        encoder = load_encoder(path, trust=True)
        assert encoder.name == path.name
        assert encoder.fingerprint == hashlib.sha256(path.read_bytes()).digest()
        np.testing.assert_allclose(encoder(IMAGES), expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(encoder.features(IMAGES, 2), expected, rtol=1e-4, atol=1e-5)
        with pytest.raises(InputError, match=r"cannot be run on a batch of shape \(5, 3, 9, 9\)"):
            load_encoder(path, InputFormat(resize=(9, 9)), trust=True)(IMAGES)
        path.write_bytes(b"damaged")
        with pytest.raises(InputError, match="is not a"):
            load_encoder(path, trust=True)


def test_saved_weights_are_no_program(tmp_path):
    for content in (Network().state_dict(), torch.nn.Linear(2, 2)):
        torch.save(content, tmp_path / "weights.pt")
        with pytest.raises(InputError, match=r"holds weights or a pickled module .*torch\.jit\.save") as told:
            load_encoder(tmp_path / "weights.pt", trust=True)
        assert "corrupted" not in str(told.value)


@pytest.mark.parametrize("name", ["x.pt", "x.pth", "x.ts", "x.torchscript", "x.jit", "x.pt2", "x.PT2"])
def test_files_that_are_programs_are_not_loaded_without_trust(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"a program")
    loaded = []
    monkeypatch.setattr(torch.jit, "load", lambda *args: loaded.append(args))
    monkeypatch.setattr(torch.export, "load", lambda *args: loaded.append(args))
    for trust in (False, None, 1):
        with pytest.raises(InputError, match=r"may run any code .*--trust \(trust=True in Python\)"):
            load_encoder(tmp_path / name, trust=trust)
    assert not loaded


def test_what_is_no_encoder(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    for path, text in (
        ("x.txt", "told by its name"),
        ("missing.pt", "no encoder"),
        ("folder", r"no config\.json"),
    ):
        with pytest.raises(InputError, match=text):
            load_encoder(tmp_path / path)


# -- ONNX ---------------------------------------------------------------------------------------------------------


def test_onnx_without_its_library_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "x.onnx").write_bytes(b"x")
    with pytest.raises(MissingExtraError, match=r"pip install 'obverse\[onnx\]'"):
        load_encoder(tmp_path / "x.onnx")


def test_onnx_sessions_are_fed(tmp_path, monkeypatch, expected):
    """With a library of the same interface."""

    class Session:
        def __init__(self, path, providers):
            if not Path(path).read_bytes().startswith(b"onnx"):
                raise ValueError("protobuf")

        def get_inputs(self):
            return [types.SimpleNamespace(name="pixels")]

        def run(self, outputs, feeds):
            if feeds["pixels"].shape[2] != 8:
                raise ValueError("invalid dimensions")
            return [Network().eval()(torch.from_numpy(feeds["pixels"])).detach().numpy(), None]

    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(InferenceSession=Session))
    path = tmp_path / "x.onnx"
    path.write_bytes(b"onnx weights")
    encoder = load_encoder(path)
    np.testing.assert_allclose(encoder(IMAGES), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="invalid dimensions"):
        load_encoder(path, InputFormat(resize=(9, 9)))(IMAGES)
    (tmp_path / "x.onnx.data").write_bytes(b"more weights")
    assert load_encoder(path).fingerprint != encoder.fingerprint
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="is not an ONNX model"):
        load_encoder(path)


def test_a_real_onnx_file(tmp_path, expected):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: ONNX files are not run")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: no ONNX file can be made")
    from onnx import TensorProto, helper, numpy_helper

    network = Network()
    weights = [
        numpy_helper.from_array(network.layer.weight.detach().numpy(), "w"),
        numpy_helper.from_array(network.layer.bias.detach().numpy(), "b"),
    ]
    nodes = [
        helper.make_node("Flatten", ["pixels"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "w", "b"], ["features"], transB=1),
    ]
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 8, 8])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "encoder", [pixels], [features], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "x.onnx"))
    encoder = load_encoder(tmp_path / "x.onnx")
    np.testing.assert_allclose(encoder(IMAGES), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="cannot be run"):
        load_encoder(tmp_path / "x.onnx", InputFormat(resize=(9, 9)))(IMAGES)


# -- images -------------------------------------------------------------------------------------------------------


def test_batches_of_pixels():
    plain = InputFormat().batch(IMAGES)
    np.testing.assert_allclose(plain, IMAGES.transpose(0, 3, 1, 2) / 255, rtol=1e-6)
    assert plain.dtype == np.float32
    normal = InputFormat(mean=(0.5,) * 3, std=(0.25,) * 3).batch(IMAGES)
    np.testing.assert_allclose(normal, (plain - 0.5) / 0.25, rtol=1e-5)
    assert InputFormat(mean=(0.0,), std=(1.0,)).batch(IMAGES).shape == (5, 1, 8, 8)
    assert InputFormat().batch(IMAGES[..., 0]).shape == (5, 3, 8, 8)
    wide = np.zeros((10, 21, 3), np.uint8)
    wide[:, 8:13] = 255
    cut = InputFormat(resize=20, crop=(16, 12)).batch([wide])
    assert cut.shape == (1, 3, 16, 12) and cut[0, 0, 8, 4:8].min() > 0.9
    assert InputFormat(resize=(4, 6)).batch([wide, IMAGES[0]]).shape == (2, 3, 4, 6)


def test_images_that_cannot_be_used():
    for images, text in (
        ([IMAGES[0], IMAGES[0, :4]], "differ in size"), ([IMAGES[0].astype(float)], "uint8"),
        ([IMAGES[0, ..., :2]], "shape"), ([np.zeros((0, 4), np.uint8)], "no pixels"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=text):
            InputFormat().batch(images)
    for wrong in (
        {"resize": 0},
        {"crop": (1 << 15, 3)},
        {"mean": (0.0, 0.0)},
        {"std": (1.0, 0.0, 1.0)},
        {"resample": 9},
    ):
        with pytest.raises(InputError):
            InputFormat(**wrong)


def test_input_formats_of_folders(tmp_path):
    def write(**values):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
        return InputFormat.of_folder(tmp_path)

    usual = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert write(size=224, **usual).resize == 224
    assert write(size={"height": 3, "width": 5}, **usual).resize == (3, 5)
    found = write(size={"shortest_edge": 7}, do_center_crop=True, crop_size=6, resample=2, **usual)
    assert (found.resize, found.crop, found.resample) == (7, (6, 6), 2)
    assert write(do_resize=False, size=3, do_rescale=False, do_normalize=False).rescale == 1.0
    for values in ({}, {**usual, "size": {"longest": 3}}, {**usual, "image_mean": "x"}):
        with pytest.raises(InputError, match="does not say"):
            write(**values)


def test_folders_of_images(tmp_path):
    for name, image in zip(("b.png", "a.png", "c.jpg"), IMAGES, strict=False):
        Image.fromarray(image).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    files = image_files(tmp_path)
    assert [path.name for path in files] == ["a.png", "b.png", "c.jpg"]
    images = list(read_images(files))
    np.testing.assert_array_equal(images[0], IMAGES[1])
    with pytest.raises(InputError, match="is empty"):
        image_files(_empty(tmp_path))


def _empty(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def test_an_encoder_that_raises_is_told_with_its_cause():
    """Whatever it raises is its user's, and no bug of ours."""

    def broken(images):
        raise KeyError("layer4")

    encoder = load_encoder(broken)
    with pytest.raises(InputError, match=r"fails on a batch of 5 images: KeyError: 'layer4'") as told:
        encoder(IMAGES)
    assert isinstance(told.value.__cause__, KeyError)
