"""Vision models of Hugging Face folders: a tiny CLIP of random weights stands for those that cannot be downloaded."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from obverse.errors import InputError, MissingExtraError
from obverse.integrations.encoders import load_encoder
from obverse.integrations.hugging_face import clip_prototypes
from obverse.integrations.image_input import InputFormat
from tests.tiny_clip import make_tiny_clip

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)


def test_hugging_face_without_its_library_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MissingExtraError, match=r"pip install 'obverse\[clip\]'"):
        load_encoder(tmp_path)
    with pytest.raises(MissingExtraError, match="transformers"):
        clip_prototypes(tmp_path, ["cat"])


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: CLIP is not loaded"
    )
    return make_tiny_clip(transformers, tmp_path_factory.mktemp("clip"))


def test_a_clip_vision_tower(tiny_clip):
    """As `transformers` itself computes it, from images of several sizes."""
    import transformers

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, size, dtype=np.uint8) for size in ((40, 50, 3), (64, 33, 3), (32, 32))]
    encoder = load_encoder(tiny_clip)
    features = encoder.features(images, 2)
    assert features.shape == (3, 12) and len(encoder.fingerprint) == 32
    model = transformers.CLIPModel.from_pretrained(tiny_clip).eval()
    pixels = InputFormat.of_folder(tiny_clip).batch(images)
    settings = json.loads((tiny_clip / "preprocessor_config.json").read_text())
    settings.pop("image_processor_type")
    # the one of the library that needs no torchvision has had this name since version 5
    kind = "CLIPImageProcessorPil" if hasattr(transformers, "CLIPImageProcessorPil") else "CLIPImageProcessor"
    processor = getattr(transformers, kind)(**settings)
    pictures = [Image.fromarray(image).convert("RGB") for image in images]
    np.testing.assert_allclose(
        pixels, np.stack([processor(p, return_tensors="np")["pixel_values"][0] for p in pictures]), atol=1e-5
    )
    with torch.inference_mode():
        towers = model.vision_model(pixel_values=torch.from_numpy(pixels))
        expected = model.visual_projection(towers.pooler_output).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-6)


def test_weights_that_are_missing_are_not_made_up(tiny_clip, tmp_path):
    """The library would draw them at random."""
    import shutil

    from safetensors.numpy import load_file, save_file

    shutil.copytree(tiny_clip, tmp_path / "clip")
    path = tmp_path / "clip" / "model.safetensors"
    weights = load_file(path)
    save_file({k: v for k, v in weights.items() if k != "visual_projection.weight"}, path, {"format": "pt"})
    with pytest.raises(InputError, match="lacks 1 of its weights, such as visual_projection"):
        load_encoder(tmp_path / "clip")


def test_clip_prototypes(tiny_clip):
    found = clip_prototypes(tiny_clip, ["cat", "dog"])
    assert list(found) == ["cat", "dog"] and found["cat"].shape == (12,)
    assert not np.allclose(found["cat"], found["dog"])
    again = clip_prototypes(tiny_clip, ["dog"], "a photo of a {}.")
    np.testing.assert_allclose(again["dog"], found["dog"], rtol=1e-4, atol=1e-5)
    for names, template in (([], "{}"), (["cat"], "no name")):
        with pytest.raises(InputError, match="prototypes need"):
            clip_prototypes(tiny_clip, names, template)
    with pytest.raises(InputError, match="cannot be loaded"):
        clip_prototypes(tiny_clip / "missing", ["cat"])


def test_other_vision_models(tmp_path):
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed: ViT is not loaded"
    )
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=8,
        patch_size=4,
    )
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"no preprocessor_config\.json"):
        load_encoder(tmp_path)
    assert load_encoder(tmp_path, InputFormat())(IMAGES).shape == (5, 16)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_encoder(tmp_path, InputFormat())
