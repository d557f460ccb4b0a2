"""Names of outputs that promise another kind of file, and images with alpha for files without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obverse.cli import run
from tests.conftest import smooth_photo

Capture = pytest.CaptureFixture[str]
COLOUR = smooth_photo(24, 32)
ALPHA = smooth_photo(24, 32, channels=1)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with an image with alpha in it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.dstack([COLOUR, ALPHA])).save("a.png")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["x.webp", "x.JPG", "x.jxl", "x.heic", "x.npy", "x.npz", "x.safetensors", "x.zip"]
)
def test_compress_does_not_write_what_the_name_is_not(name: str, capsys: Capture) -> None:
    assert run(["compress", "a.png", "-o", name]) == 2
    said = capsys.readouterr().err
    assert f"{name}: what compress writes is an .obv file" in said and "x.obv, or use --force-suffix" in said
    assert not Path(name).exists()
    assert run(["compress", "a.png", "-o", name, "--force-suffix"]) == 0
    assert run(["decompress", name, "-o", "back.png"]) == 0


@pytest.mark.parametrize("name", ["x.obv", "x", "x.OBV", "x.v2", "x.png.obv", "-"])
def test_other_names_are_taken(name: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert run(["compress", "a.png", "-o", name]) == 0


def test_a_folder_may_have_any_name(folder: Path) -> None:
    Path("pictures.png").mkdir()
    assert run(["compress", "a.png", "-o", "pictures.png"]) == 0
    assert run(["compress", "a.png", "-o", "pictures.jpg/"]) == 0
    assert Path("pictures.png/a.obv").exists() and Path("pictures.jpg/a.obv").exists()


def test_alpha_needs_a_background_where_the_format_has_none(capsys: Capture) -> None:
    assert run(["compress", "--lossless", "a.png"]) == 0
    for name in ("b.jpg", "b.bmp", "b.ppm"):
        assert run(["decompress", "a.obv", "-o", name]) == 3
        assert "name what to put it on with --background" in capsys.readouterr().err
        assert run(["decompress", "a.obv", "-o", name, "--background", "#ff8000"]) == 0
    share = ALPHA[:, :, None] / 255
    on = np.round(COLOUR * share + np.array([255, 128, 0]) * (1 - share))
    with Image.open("b.bmp") as image:
        assert np.abs(np.asarray(image) - on).max() <= 1
    assert run(["decompress", "a.obv", "-o", "c.png", "--background", "white"]) == 0
    with Image.open("c.png") as image:
        assert image.mode == "RGB"


def test_backgrounds_that_are_none(capsys: Capture) -> None:
    assert run(["compress", "a.png"]) == 0
    assert run(["decompress", "a.obv", "-o", "b.jpg", "--background", "whit"]) == 3
    assert "'whit' is no colour" in capsys.readouterr().err
    np.save("v.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    assert run(["compress", "v.npy", "--codec", "features", "-o", "v.obv"]) == 0
    assert run(["decompress", "v.obv", "-f", "--background", "white"]) == 3
    assert "'features' has no alpha" in capsys.readouterr().err
    assert run(["decompress", "v.obv", "--recover", "--background", "white"]) == 2
