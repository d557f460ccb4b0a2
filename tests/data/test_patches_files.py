"""Photos to train on that are none: each is named, and what to do."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from obverse.data.patches import image_files, open_rgb
from obverse.errors import InputError
from tests.conftest import smooth_photo


def png(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    good = png(smooth_photo(40, 50))
    for name, data in (("text", b"no image"), ("empty", b""), ("cut", good[: len(good) // 2])):
        (tmp_path / f"{name}.png").write_bytes(data)
        with pytest.raises(InputError, match=rf"{name}\.png cannot be read as an image: .*; remove it"):
            open_rgb(tmp_path / f"{name}.png")
    (tmp_path / "large.png").write_bytes(good)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"large\.png cannot be read as an image"):
        open_rgb(tmp_path / "large.png")


def test_hidden_files_are_no_photos(tmp_path):
    (tmp_path / "a.png").write_bytes(png(smooth_photo(40, 50)))
    (tmp_path / "._a.png").write_bytes(b"what another system leaves behind")
    assert [path.name for path in image_files([tmp_path])] == ["a.png"]
