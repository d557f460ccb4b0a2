"""A file written under one setting is read under another, in another process, for every registered codec."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

import obverse
from tests.codecs_side_information import EXAMPLES, same
from tests.conftest import smooth_photo, torch_setting


def tiles(count, side):
    """(count, side, side, 3) uint8, of one made photo."""
    photo = smooth_photo(side, side * count, seed=5)
    return np.ascontiguousarray(photo.reshape(side, count, side, 3).swapaxes(0, 1))


LOSSLESS = {
    "image-lossless": lambda: smooth_photo(150, 210, seed=5),
    "vae": lambda: np.where(tiles(12, 28)[..., 0] > 150, tiles(12, 28)[..., 0], 0).astype(np.uint8),
    "flow": lambda: tiles(12, 32),
}


FLOATS = {
    "features": lambda: np.random.default_rng(5).normal(size=(400, 16)).astype(np.float32),
    "invariant": LOSSLESS["vae"],
    "split": LOSSLESS["flow"],
    "plug-and-play": lambda: (
        np.random.default_rng(5).normal(size=(400, 16)).astype(np.float32),
        np.full((400, 16), 0.1, np.float32),
    ),
}


def example(codec):
    """Data and side information, or None."""
    if codec in FLOATS:
        return FLOATS[codec](), None
    if codec in LOSSLESS:
        return LOSSLESS[codec](), None
    return EXAMPLES[codec](5) if codec in EXAMPLES else (smooth_photo(150, 210, seed=5), None)


DECODE = """
import sys, numpy as np, torch
torch.set_num_threads(int(sys.argv[2]))
torch._C._set_mkldnn_enabled(sys.argv[3] == "True")
import obverse
side = np.load(sys.argv[5]) if len(sys.argv) > 5 else None
np.save(sys.argv[4], obverse.decompress(sys.argv[1], side_info=side))
"""


@pytest.mark.parametrize("codec", [entry.id for entry in obverse.list_codecs() if entry.package == "obverse"])
def test_written_here_read_there(codec, tmp_path):
    data, side = example(codec)
    path = tmp_path / "a.obv"
    with torch_setting(threads=2, onednn=True):
        path.write_bytes(obverse.compress(data, codec=codec))
        here = obverse.decompress(path, side_info=side)
    command = [sys.executable, "-c", DECODE, str(path), "1", "False", str(tmp_path / "there.npy")]
    if side is not None:
        np.save(tmp_path / "side.npy", side)
        command.append(str(tmp_path / "side.npy"))
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    there = np.load(tmp_path / "there.npy")
    # what is parsed is identical, or the picture would be noise; what is painted may differ in the last bit
    if codec in LOSSLESS:
        np.testing.assert_array_equal(here, data)
        np.testing.assert_array_equal(there, data)
    elif codec in FLOATS:
        np.testing.assert_allclose(there, here, rtol=1e-6, atol=1e-6)  # the symbols are the same
    elif side is None:
        assert there.shape == here.shape
        assert np.abs(there.astype(int) - here.astype(int)).max() <= 1
    else:
        assert same(codec, there, here)


def test_symbols_are_identical_in_every_setting():
    """The parsed symbols, not only the picture: hashed under four settings."""
    import torch

    from obverse.codecs.image.codec import ALIGN, encode_pixels
    from obverse.coding import Message

    codec = obverse.open_codec("image")
    pixels = smooth_photo(200, 140, seed=6)
    data = encode_pixels(codec.networks, pixels, 1200).to_bytes()
    hashes = set()
    for threads in (1, 2):
        for onednn in (True, False):
            with torch_setting(threads, onednn), torch.inference_mode():
                message = Message.from_bytes(data)
                shape = (codec.networks.prior.hyper, -(-200 // ALIGN), -(-140 // ALIGN))
                index = np.broadcast_to(codec.networks.prior.z_tables(1200).numpy()[:, None, None], shape)
                z = message.pop(codec.networks.tables, index)

                def coder(k, mean, index, message=message):
                    return torch.from_numpy(message.pop(codec.networks.tables, index.numpy()))

                slices = codec.networks.prior.run(torch.from_numpy(z)[None].float(), 1200, coder)
                assert message.empty
                hashes.add(hashlib.sha256(torch.cat(slices).numpy().tobytes()).hexdigest())
    assert len(hashes) == 1
