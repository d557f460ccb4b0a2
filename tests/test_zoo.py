"""Stored models that are none: refused before they take memory."""

from __future__ import annotations

import json
import lzma
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

import obverse
from obverse.errors import ModelError
from obverse.registry import open_codec
from obverse.zoo import CONFIG, WEIGHTS, StoredModel, load_model, load_model_from, pack, unpack

MEGABYTE = 2**20


def folder_of(tmp_path: Path, weights: bytes, config: bytes = b"{}") -> Path:
    (tmp_path / WEIGHTS).write_bytes(weights)
    (tmp_path / CONFIG).write_bytes(config)
    return tmp_path


def test_what_unpacks_to_more_than_a_model_is_not_unpacked(tmp_path: Path) -> None:
    bomb = lzma.compress(bytes(200 * MEGABYTE), preset=0)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError, match="damaged"):
            load_model_from(folder_of(tmp_path, bomb))
        assert tracemalloc.get_traced_memory()[1] < 60 * MEGABYTE
    finally:
        tracemalloc.stop()


def test_more_names_than_a_model_has_are_not_read(tmp_path: Path) -> None:
    entry = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    header = json.dumps({f"tensor{i}": entry for i in range(60_000)}).encode()
    with pytest.raises(ModelError, match="damaged"):
        load_model_from(folder_of(tmp_path, pack(len(header).to_bytes(8, "little") + header)))


@pytest.mark.parametrize(
    "weights", [b"", b"x", pack(b""), pack(b"abc"), pack(save({}))[:-1], pack(save({})) + b"x"]
)
def test_other_damage(tmp_path: Path, weights: bytes) -> None:
    try:
        load_model_from(folder_of(tmp_path, weights))
    except ModelError:
        return
    assert unpack(weights) in (b"", b"abc")  # whoever reads the tensors refuses these


@pytest.mark.parametrize("config", [b"[]", b"{", b"[" * 200_000, b" " * 5 * MEGABYTE + b"{}"])
def test_configurations_that_are_none(tmp_path: Path, config: bytes) -> None:
    with pytest.raises(ModelError, match="damaged"):
        load_model_from(folder_of(tmp_path, pack(save({})), config))


@pytest.mark.parametrize("widths", [{"widths": [2048, 2048], "codes": 2048}, {"teacher": 2048}])
def test_a_configuration_that_asks_for_gigabytes(widths: dict) -> None:
    """The sizes of its networks are compared with its tensors before they are made."""
    shipped = load_model("split-cifar")
    model = json.loads(json.dumps(shipped.config["model"]))
    if "teacher" in widths:
        for key, value in model["teacher"].items():
            if "width" in key:
                model["teacher"][key] = [2048] * len(value) if isinstance(value, list) else 2048
    else:
        model |= widths
    hostile = StoredModel("hostile", shipped.weights, shipped.config | {"model": model}, shipped.fingerprint)
    codec = type(open_codec("split-cifar"))(hostile)
    tracemalloc.start()
    try:
        with pytest.raises(ModelError):
            codec.device.check()
            codec.server.check()
        assert tracemalloc.get_traced_memory()[1] < 100 * MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "name", ["flow", "vae-mnist", "image", "stereo", "split-cifar", "invariant-mnist", "wyner-ziv"]
)
def test_tensors_that_no_part_of_a_model_has_are_refused(name: str) -> None:
    codec = open_codec(name)
    tensors = load(codec.model.weights)
    # one beside the first of each part
    beside = {n.partition(".")[0].partition("/")[0]: n for n in sorted(tensors)}.values()
    for unknown in ("spare.weight", "spare", *(f"{n}.more" for n in beside)):
        weights = save(tensors | {unknown: torch.zeros(3)})
        other = type(codec)(StoredModel("mine", weights, codec.model.config, codec.fingerprint))
        with pytest.raises(ModelError):
            for part in (
                "networks",
                "fusion",
                "device",
                "server",
                "encoder",
                "decoder",
                "tables",
                "clusters",
            ):
                made = getattr(other, part, None)
                if hasattr(made, "check") and part in ("device", "server"):
                    made.check()


def test_memory_is_limited_for_flat_pictures_too() -> None:
    import numpy as np

    file = obverse.compress(np.zeros((4096, 4096), np.uint8), codec="image-lossless")
    with pytest.raises(obverse.errors.LimitError, match="--memory"):
        obverse.decompress(file, limits=obverse.Limits(memory=2**24))
