"""The two halves of a split model, each from its own file: they agree, and refuse what is not theirs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors

from obverse.codecs.split.codec import SplitCodec
from obverse.codecs.split.halves import ServerHalf, load_device, load_server
from obverse.container import Limits, write
from obverse.errors import (
    DamagedError,
    LimitError,
    ModelError,
    OutputExistsError,
    WrongModelError,
)
from tests.codecs.split.models import CONFIGS, RECONSTRUCTS, SMALL, images_of, stored_model


@pytest.fixture
def halves(tmp_path):
    """Paths of the device's and the server's file of the small model."""
    codec = SplitCodec(stored_model(SMALL))
    paths = tmp_path / "device.safetensors", tmp_path / "server.safetensors"
    for half, path in zip((codec.device, codec.server), paths, strict=True):
        assert half.store(path) == path.stat().st_size
    return paths


@pytest.mark.parametrize("config", CONFIGS)
def test_halves_do_what_the_codec_does(config, tmp_path):
    codec, images = SplitCodec(stored_model(config)), images_of(config, 6)
    codec.device.store(tmp_path / "d")
    codec.server.store(tmp_path / "s")
    device, server = load_device(tmp_path / "d"), load_server(tmp_path / "s")
    device.check_partner(server.fingerprint)
    assert device.config == server.config == config and device.fingerprint == codec.fingerprint
    container = codec.encode(images)
    payload = device.encode(images)
    assert payload == container.sections["codes"]
    np.testing.assert_array_equal(server.latents(payload, 6), codec.decode(container))
    np.testing.assert_array_equal(server.predict(payload, 6), codec.predict(container))
    one = device.encode(images[2])
    np.testing.assert_array_equal(server.latents(one)[0], codec.decode(container)[2])
    assert len(one) < len(write(codec.encode(images[2])))
    if config.reconstructs:
        np.testing.assert_array_equal(server.images(server.latents(payload, 6)), codec.reconstruct(container))


def test_each_half_holds_what_it_needs_and_no_more(halves):
    device, server = (set(load_safetensors(path.read_bytes())) for path in halves)
    assert {name.partition(".")[0] for name in device} == {"encoder", "offset", "tables"}
    assert {name.partition(".")[0] for name in server} == {"server", "offset", "tables"}
    assert halves[0].stat().st_size < halves[1].stat().st_size * 2


def test_halves_of_different_models_refuse_one_another(halves, tmp_path):
    other = SplitCodec(stored_model(SMALL, seed=1))
    device = load_device(halves[0])
    with pytest.raises(WrongModelError, match=other.fingerprint.hex()):
        device.check_partner(other.server.fingerprint)
    with pytest.raises(WrongModelError, match="export both"):
        other.server.check_partner(device.fingerprint)


def test_a_half_in_the_others_place(halves):
    with pytest.raises(ModelError, match=r"'split-server'.*'split-device' is needed"):
        load_device(halves[1])
    with pytest.raises(ModelError, match=r"'split-device'.*'split-server' is needed"):
        load_server(halves[0])


def test_files_are_not_overwritten_unless_asked(halves):
    device = load_device(halves[0])
    with pytest.raises(OutputExistsError):
        device.store(halves[0])
    before = halves[0].read_bytes()
    device.store(halves[0], overwrite=True)
    assert halves[0].read_bytes() == before


def rewritten(data: bytes, **changes: object) -> bytes:
    """The file with other facts in its header."""
    length = int.from_bytes(data[:8], "little")
    facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["obverse"])
    return save_safetensors(load_safetensors(data), {"obverse": json.dumps(facts | changes)})


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"", lambda data: data[:4], lambda data: data[:100], lambda data: data[:-10],
        lambda data: b"\xff" * 8 + data[8:], lambda data: b"\0" * len(data), lambda data: b"[" * 20000,
        lambda data: save_safetensors(load_safetensors(data)), lambda data: save_safetensors({}, {"obverse": "3"}),
        lambda data: save_safetensors({}, {"obverse": "{"}), lambda data: rewritten(data, fingerprint="ab"),
        lambda data: rewritten(data, fingerprint=5), lambda data: rewritten(data, model={"codes": 3}),
        lambda data: rewritten(data, half=None),
    ],
)  # fmt: skip
def test_damaged_halves(halves, damage):
    halves[0].write_bytes(damage(halves[0].read_bytes()))
    with pytest.raises(ModelError):
        load_device(halves[0])


def test_halves_without_their_parts(halves):
    whole = load_server(halves[1])
    tensors = load_safetensors(halves[1].read_bytes())
    for part in ("tables", "offset", "server"):
        kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(part)}
        ServerHalf(whole.config, kept, whole.fingerprint, "half").store(halves[1], overwrite=True)
        with pytest.raises(ModelError, match=r"no whole|no offset"):
            load_server(halves[1]).check()


def test_a_flipped_bit_of_a_weight_is_noticed(halves):
    for path, load in zip(halves, (load_device, load_server), strict=True):
        data = bytearray(path.read_bytes())
        data[-1000] ^= 1
        path.write_bytes(data)
        with pytest.raises(ModelError, match="checksum"):
            load(path)


def test_no_file(tmp_path):
    with pytest.raises(ModelError, match="there is no file"):
        load_device(tmp_path / "none")
    with pytest.raises(ModelError, match="cannot be read"):
        load_server(tmp_path)


def test_payloads_that_no_device_wrote():
    codec = SplitCodec(stored_model(RECONSTRUCTS))
    payload = codec.device.encode(images_of(RECONSTRUCTS, 1)[0])
    for bad in (b"", payload[:-4], payload + b"\0", b"\xff" * 20, payload * 2):
        with pytest.raises(DamagedError):
            codec.server.predict(bad)
    for n in (0, -1, 2):
        with pytest.raises(DamagedError):
            codec.server.predict(payload, n)
    with pytest.raises(LimitError):
        codec.server.predict(payload, 1, Limits(memory=10))
