"""The example of split computing as a user runs it: two processes, a local socket, the shipped model."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from obverse.codecs.split.codec import SplitCodec
from tests.codecs.split.models import SMALL, stored_model
from tests.conftest import REPOSITORY, smooth_photo

FOLDER = REPOSITORY / "examples" / "split_computing"
CODEC = SplitCodec()
HELLO = b"OBSP\x01" + CODEC.fingerprint


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("halves")
    CODEC.device.store(folder / "device.safetensors")
    CODEC.server.store(folder / "server.safetensors")
    return folder


@pytest.fixture(scope="module")
def port(halves: Path) -> Iterator[int]:
    """Of a running server."""
    command = [sys.executable, FOLDER / "server.py", halves / "server.safetensors", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.fullmatch(r"listening on 127\.0\.0\.1 port (\d+)\n", process.stdout.readline())
        try:
            assert found
            yield int(found[1])
        finally:
            process.terminate()


def device(half: Path, images: Path, port: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FOLDER / "device.py", half, images, "--port", str(port)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def some_images(n: int) -> np.ndarray:
    side = CODEC.config.teacher.side
    return np.stack([smooth_photo(side, side, seed) for seed in range(n)])


def test_the_server_tells_what_the_codec_does(halves, port, tmp_path):
    images = some_images(5)
    np.save(tmp_path / "images.npy", images)
    done = device(halves / "device.safetensors", tmp_path / "images.npy", port)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for number, image in enumerate(images):
        wanted = CODEC.predict(CODEC.encode(image)).argmax()
        assert lines[number] == f"image {number}: class {wanted}, {len(CODEC.device.encode(image))} bytes"
    mean = np.mean([len(CODEC.device.encode(image)) for image in images])
    assert lines[5] == f"bytes an image: {mean:.1f}, and 4 of the frame; its pixels are {images[0].size}"
    times = re.fullmatch(r"median ms: encode ([\d.]+), transfer ([\d.]+), predict ([\d.]+)", lines[6])
    assert times and all(float(ms) > 0 for ms in times.groups())


def test_a_device_of_another_model_is_refused(port, tmp_path):
    SplitCodec(stored_model(SMALL)).device.store(tmp_path / "other.safetensors")
    np.save(tmp_path / "images.npy", np.zeros((1, 16, 16, 3), np.uint8))
    done = device(tmp_path / "other.safetensors", tmp_path / "images.npy", port)
    assert done.returncode == 1 and "export both from one model" in done.stderr


def test_a_device_says_what_it_cannot_encode(halves, port, tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((1, 16, 16, 3), np.uint8))
    done = device(halves / "device.safetensors", tmp_path / "images.npy", port)
    assert done.returncode == 1 and "resize them" in done.stderr


def answer(port: int, *sent: bytes) -> bytes:
    """All that the server says to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for part in sent:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        heard = b""
        while part := connection.recv(4096):
            heard += part
    return heard


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ([b"GET / HTTP/1.1\r\n\r\n"], b"no greeting"),
        ([b"OBSP\x01" + bytes(8)], b"export both from one model"),
        ([b"OBSP"], b"hung up"),
        ([HELLO, b"\xff\xff\xff\x7f"], b"at most"),
        ([HELLO, b"\xc8\0\0\0" + bytes(200)], b"not an ANS message"),
        ([HELLO, b"\xc8\0\0\0" + bytes(100)], b"hung up"),
        ([HELLO, b"\0\0\0\0"], b"cannot hold"),
    ],
)
def test_whatever_is_sent_is_answered_with_a_sentence(port, sent, sentence):
    heard = answer(port, *sent)
    if sent[0] == HELLO:
        assert heard[:4] == bytes(4)  # the greeting was accepted
        heard = heard[4:]
    length = int.from_bytes(heard[:4], "little")
    assert length >> 31 and len(heard) == 4 + (length & 0x7FFFFFFF) and sentence in heard


def test_the_server_serves_on_after_all_that(port):
    payload = CODEC.device.encode(some_images(1)[0])
    heard = answer(port, HELLO, len(payload).to_bytes(4, "little") + payload)
    logits = np.frombuffer(heard[12:], "<f4")
    np.testing.assert_allclose(logits, CODEC.server.predict(payload)[0], rtol=1e-3, atol=1e-4)
