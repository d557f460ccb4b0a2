"""Stored models: replaced as a whole; and those that are none, refused before they take memory."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

import obverse
from obverse.errors import ModelError, OutputError
from obverse.registry import open_codec
from obverse.zoo import (
    CARD,
    CONFIG,
    WEIGHTS,
    StoredModel,
    find_model,
    find_tune,
    load_model,
    load_model_from,
    own_models,
    store_model,
)
from obverse.zoo.packing import PLANES, pack, unpack

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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no fifos here")
@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_a_fifo_in_the_folder_of_a_model_is_not_waited_for(tmp_path: Path, file: str) -> None:
    folder = tmp_path / "mine"
    store_model(folder, save({}), {"codec": "vae"}, "")
    (folder / file).unlink()
    os.mkfifo(folder / file)
    environment = os.environ | {"OBVERSE_ZOO": str(tmp_path)}
    np.save(tmp_path / "x.npy", np.zeros((2, 28, 28), np.uint8))
    for words, code in (
        (["list"], 0),
        (["compress", "x.npy", "--codec", "mine"], 9),
        (["compress", "x.npy", "--codec", "./mine"], 9),
        (["decompress", "x.npy", "--model", "mine"], 11),
    ):
        command = [sys.executable, "-m", "obverse", *words]
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == code, ended.stderr
        assert code != 9 or f"{file} is not an ordinary file" in ended.stderr


def test_large_configurations_are_read_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mine"
    store_model(folder, save({}), {"codec": "vae"}, "")
    (folder / CONFIG).write_bytes(b" " * 40 * MEGABYTE + b"{}")
    monkeypatch.setenv("OBVERSE_ZOO", str(tmp_path))
    tracemalloc.start()
    try:
        assert own_models() == {} and find_model("mine", b"") is find_tune("mine", b"", "eye") is None
        assert tracemalloc.get_traced_memory()[1] < 20 * MEGABYTE
    finally:
        tracemalloc.stop()


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
    file = obverse.compress(np.zeros((4096, 4096), np.uint8), codec="image-lossless")
    with pytest.raises(obverse.errors.LimitError, match="--memory"):
        obverse.decompress(file, limits=obverse.Limits(memory=2**24))


KILLED = """
import os, sys
from pathlib import Path
from obverse.container import files
from obverse.zoo import store_model
left, put = int(sys.argv[2]), files._put_in_place

def put_or_die(*given):
    global left
    if not left:
        os._exit(77)
    left -= 1
    put(*given)

files._put_in_place = put_or_die
store_model(Path(sys.argv[1]), b"new weights", {"codec": "new"}, "new")
"""


@pytest.mark.parametrize("files", [0, 1, 2, 3])
def test_a_model_that_is_half_replaced_is_none(files: int, tmp_path: Path) -> None:
    """The process is killed after so many files have got their names."""
    old = store_model(tmp_path, b"old weights", {"codec": "old"}, "old")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(files)], check=False)
    if files == 3:
        found = load_model_from(tmp_path)
        assert ended.returncode == 0
        assert (found.weights, found.config, (tmp_path / CARD).read_text()) == (
            b"new weights",
            {"codec": "new"},
            "new",
        )
    else:
        assert ended.returncode == 77
        with pytest.raises(ModelError, match=r"no config\.json"):
            load_model_from(tmp_path)
    assert store_model(tmp_path, b"old weights", {"codec": "old"}, "old") == old == load_model_from(tmp_path)
    if files < 3:  # what was left is gone with the next process that writes here
        subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "3"], check=True)
    assert {path.name for path in tmp_path.iterdir()} == {WEIGHTS, CONFIG, CARD}


def test_a_model_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    old = store_model(tmp_path, b"old weights", {"codec": "old"}, "old")
    os.unlink(tmp_path / CARD)
    (tmp_path / CARD).mkdir()
    with pytest.raises(OutputError, match=r"card\.md is a folder"):
        store_model(tmp_path, b"new weights", {"codec": "new"}, "new")
    assert load_model_from(tmp_path) == old


# -- the two forms of stored weights ---------------------------------------------------------------------------


def noisy_weights() -> bytes:
    """As those of networks: bytes without patterns, numbers of every size."""
    rng = np.random.default_rng(0)
    return save(
        {
            "a": torch.from_numpy((rng.normal(size=40_000) * 20).astype(np.int8)),
            "b": torch.from_numpy((rng.normal(size=40_000) * 300).astype(np.int16)),
            "c": torch.from_numpy(rng.normal(size=40_000).astype(np.float32)),
            "d": torch.from_numpy((rng.normal(size=500) * 1e5).astype(np.int64)),
            "e": torch.zeros(0, 3),
            "f": torch.tensor(True),
            "g": torch.from_numpy(rng.normal(size=500)).to(torch.bfloat16),
        }
    )


def test_weights_come_back_from_either_form(tmp_path: Path) -> None:
    """Models of every version load for ever, with the same fingerprint."""
    weights = noisy_weights()
    packed = pack(weights)
    assert packed.startswith(PLANES) and len(packed) < 1.02 * len(lzma.compress(weights, preset=9))
    loaded = [
        load_model_from(folder_of(tmp_path, form)) for form in (packed, lzma.compress(weights, preset=9))
    ]
    assert loaded[0] == loaded[1] and loaded[0].weights == weights


def test_what_planes_would_make_larger_stays_small() -> None:
    far_apart = np.tile(np.random.default_rng(0).integers(0, 256, 50_000, np.uint8), 4)
    patterns = save({"a": torch.from_numpy(far_apart)})
    assert not pack(patterns).startswith(PLANES) and unpack(pack(patterns)) == patterns


def planes(header: bytes, data: bytes = b"12345678") -> bytes:
    return PLANES + zlib.compress(len(header).to_bytes(8, "little") + header + data)


def tensor(dtype: str, start: object, end: object) -> bytes:
    return json.dumps({"a": {"dtype": dtype, "shape": [1], "data_offsets": [start, end]}}).encode()


@pytest.mark.parametrize(
    "packed",
    [
        PLANES,
        PLANES + b"x",
        PLANES + zlib.compress(b""),
        PLANES + zlib.compress(bytes(200 * MEGABYTE)),
        PLANES + zlib.compress(b"\xff" * 8),
        PLANES + zlib.compress((2**22).to_bytes(8, "little") + bytes(2**22)),
        planes(b"{"),
        planes(b"[" * 100_000),
        planes(b"[]"),
        planes(b'{"a": 1}'),
        planes(tensor("F32", 0, 12)),
        planes(tensor("F32", -4, 4)),
        planes(tensor("F32", 4, 0)),
        planes(tensor("F32", 0, 3)),
        planes(tensor("F32", "0", [])),
        planes(tensor("F32", 0, 1e400)),
        planes(
            b'{"a": {"dtype": "F32", "data_offsets": [0, 8]}, "b": {"dtype": "F32", "data_offsets": [4, 8]}}'
        ),
        planes(b'{"a": {"dtype": [], "data_offsets": [0, 8]}}'),
        planes(b'{"a": {"dtype": "F32", "data_offsets": [0, 4, 8]}}'),
        pack(noisy_weights())[:-1],
        pack(noisy_weights()) + b"x",
    ],
    ids=range(21),
)
def test_damaged_planes_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match=r"^(it|a tensor)"):
        unpack(packed)
