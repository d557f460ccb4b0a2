"""Classifiers on disk: scores of images and of vectors, from every kind of file that encoders come in."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from obverse.errors import InputError, MissingExtraError
from obverse.integrations.classifiers import load_classifier
from obverse.integrations.encoders import load_encoder
from obverse.integrations.hugging_face import clip_prototypes
from obverse.integrations.image_input import InputFormat
from tests.tiny_clip import make_tiny_clip

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def script(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        torch.jit.script(module.eval()).save(str(path))
    return path


def test_images_and_vectors(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    classifier = load_classifier(script(network, tmp_path / "c.pt"), trust=True)
    expected = network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255).detach().numpy()
    np.testing.assert_allclose(classifier(IMAGES), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(classifier(list(IMAGES)), expected, rtol=1e-4, atol=1e-5)
    assert classifier.name == "c.pt" and classifier.classes == ()
    probe = nn.Linear(6, 3)
    reader = load_classifier(script(probe, tmp_path / "p.pt"), trust=True)
    vectors = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float16)
    expected = probe(torch.from_numpy(vectors.astype(np.float32))).detach().numpy()
    np.testing.assert_allclose(reader(vectors), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"cannot be run on a batch of shape \(7, 5\)"):
        reader(vectors[:, :5])


def test_functions_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_task.py").write_text(
        "import numpy as np\ndef scores(items):\n    return np.stack([[np.mean(i), 100.0] for i in items])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    classifier = load_classifier("my_task:scores")
    assert classifier(IMAGES).shape == (5, 2)
    assert classifier(np.ones((3, 9), np.float32))[:, 0].tolist() == [1, 1, 1]


def test_what_is_no_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.pt").write_bytes(b"damaged")
    for name, sentence in (
        ("x.pt", "is not a TorchScript"),
        ("gone.onnx", "no encoder"),
        (".", r"no config\.json"),
    ):
        with pytest.raises(InputError, match=sentence):
            load_classifier(tmp_path / name, trust=True)
    with pytest.raises(InputError, match="--trust"):
        load_classifier(tmp_path / "x.pt")
    (tmp_path / "config.json").write_text("{damaged")
    with pytest.raises(InputError, match="is damaged"):
        load_classifier(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ViTModel"]}))
    with pytest.raises(InputError, match=r"gives no class scores \(ViTModel\)"):
        load_classifier(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ViTForImageClassification"]}))
    with pytest.raises(MissingExtraError, match=r"obverse\[clip\]"):
        load_classifier(tmp_path)


@pytest.fixture(scope="module")
def transformers() -> Any:
    return pytest.importorskip("transformers", reason="transformers is not installed: no Hugging Face model")


def test_a_hugging_face_classifier(transformers: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        id2label={0: "cat", 1: "dog", 2: "eel"}, label2id={"cat": 0, "dog": 1, "eel": 2},
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no preprocessor_config\.json"):
        load_classifier(tmp_path)
    classifier = load_classifier(tmp_path, InputFormat())
    assert classifier.classes == ("cat", "dog", "eel")
    pixels = torch.from_numpy(InputFormat().batch(IMAGES))
    with torch.inference_mode():
        expected = model(pixel_values=pixels).logits.numpy()
    np.testing.assert_allclose(classifier(IMAGES), expected, rtol=1e-4, atol=1e-5)


def test_clip_compares_with_class_names(transformers: Any, tmp_path: Path) -> None:
    folder = make_tiny_clip(transformers, tmp_path)
    with pytest.raises(InputError, match="or class names"):
        load_classifier(folder)
    classifier = load_classifier(folder, classes=["cat", "dog"])
    scores = classifier(list(IMAGES))
    features = load_encoder(folder)(list(IMAGES)).astype(float)
    names = np.stack(list(clip_prototypes(folder, ["cat", "dog"]).values())).astype(float)
    expected = features @ names.T / np.linalg.norm(features, axis=1)[:, None] / np.linalg.norm(names, axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
