"""Names of outputs that promise another kind of file, and images with alpha for files without."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from obverse.cli import run
from obverse.codecs.image_lossless.codec import ImageLosslessCodec
from obverse.data.image_writing import colour_of
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


@pytest.mark.parametrize(
    ("verb", "suffix", "name"), [("compress", ".png", "x.obv"), ("decompress", ".obv", "x.png")]
)
def test_several_files_do_not_make_a_folder_that_is_named_as_a_file(
    verb: str, suffix: str, name: str, capsys: Capture
) -> None:
    Path("in").mkdir()
    Image.fromarray(COLOUR).save("b.png")
    Image.fromarray(COLOUR).save("in/c.png")
    if verb == "decompress":
        assert run(["compress", "a.png", "b.png", "in"]) == 0
    for inputs in ([f"a{suffix}", f"b{suffix}"], ["in"]):
        assert run([verb, *inputs, "-o", name]) == 2
        assert f"{name} is named as a file" in capsys.readouterr().err and not Path(name).exists()
    assert run([verb, f"a{suffix}", f"b{suffix}", "-o", f"{name}/"]) == 0
    assert len(list(Path(name).iterdir())) == 2
    assert run([verb, "in", "-o", name]) == 0  # it is a folder now
    assert run([verb, "in", "-o", "x.v2"]) == 0  # no kind of file


@pytest.mark.parametrize(
    "words",
    [
        ["compress", "a.png", "-o", ""],
        ["compress", "a.png", "--codec", ""],
        ["compress", "a.png", "--codec="],
        ["compress", ""],  # would be the current folder
        ["decompress", "a.obv", "--model", ""],
        ["decompress", "a.obv", "--background", ""],
        ["info", ""],
        ["limits", "--gaussian", "1", "--out", ""],
        ["compress-features", "v.npy", "-o", ""],
        ["train", "vae", "--data", "", "--out", "x"],
        ["plug-and-play", "fit", "--data", "x.npz", "--out", ""],
    ],
    ids=" ".join,
)
def test_an_empty_text_is_no_value(words: list[str], folder: Path, capsys: Capture) -> None:
    assert run(words) == 2
    said = capsys.readouterr().err
    assert said.endswith(" is empty: give a value, or leave it out\n") and said.count("\n") == 1
    assert [path.name for path in folder.iterdir()] == ["a.png"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder in which nobody makes files")
def test_a_folder_that_takes_no_files_is_not_said_to_be_missing(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("v.npy", COLOUR[:, :, 0].astype(np.float32))
    for words in (["compress", "a.png"], ["compress-features", "v.npy"]):
        assert run([*words, "-o", "/proc/x.obv"]) == 30
        assert "no files can be made in /proc; write elsewhere" in capsys.readouterr().err
    assert run(["limits", "--gaussian", "1", "--out", "/proc/x"]) == 30
    assert "/proc" in capsys.readouterr().err


def test_an_output_that_cannot_be_is_told_before_the_work(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may take minutes."""
    np.save("v.npy", COLOUR[:, :, 0].astype(np.float32))
    np.save("x.npy", COLOUR[:, 0, 0].astype(float))
    assert run(["compress", "a.png", "-o", "a.obv"]) == 0
    capsys.readouterr()
    for place in (
        "obverse.codecs.image.codec.ImageCodec.encode",
        "obverse.codecs.image.codec.ImageCodec.decode_photo",
        "obverse.codecs.features.codec.FeatureCodec.encode_rows",
        "obverse.codecs.plug_and_play.command._module",
        "obverse.cli.limits.of_gaussian",
        "obverse.cli.limits.of_samples",
    ):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("worked"))
    for words in (
        ["compress", "a.png", "-o", "gone/x.obv"],
        ["decompress", "a.obv", "-o", "gone/x.png"],
        ["compress-features", "v.npy", "-o", "gone/x.obv"],
        ["limits", "--gaussian", "1", "--out", "a.png/x"],
        ["limits", "--samples", "x.npy", "--out", "a.png/x"],
        ["plug-and-play", "fit", "m:load", "--data", "v.npy", "--out", "a.png/x"],
        ["plug-and-play", "evaluate", "m:load", "--data", "v.npy", "--fit", "v.npy", "--out", "a.png/x"],
    ):
        assert run(words) == 30
        assert capsys.readouterr().err.startswith("error: ")


def test_alpha_needs_a_background_where_the_format_has_none(capsys: Capture) -> None:
    assert run(["compress", "--lossless", "a.png"]) == 0
    for name in ("b.jpg", "b.bmp", "b.ppm"):
        assert run(["decompress", "a.obv", "-o", name]) == 30
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
    assert run(["decompress", "a.obv", "-o", "b.jpg", "--background", "whit"]) == 2
    assert "'whit' is no colour" in capsys.readouterr().err
    np.save("v.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    assert run(["compress", "v.npy", "--codec", "features", "-o", "v.obv"]) == 0
    assert run(["decompress", "v.obv", "-f", "--background", "white"]) == 7
    assert "'features' has no alpha" in capsys.readouterr().err
    assert run(["decompress", "v.obv", "--recover", "--background", "white"]) == 2


def test_a_name_without_suffix_says_no_kind_of_file(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """As other converters do, it is refused; nothing is written as PNG in silence."""
    Image.fromarray(COLOUR).save("b.png")
    assert run(["compress", "--lossless", "b.png"]) == 0
    capfdbinary.readouterr()
    for more in ([], ["--recover"]):
        assert run(["decompress", "b.obv", "-o", "out", *more]) == 30
        said = capfdbinary.readouterr().err.decode()
        assert (
            "out: a name without suffix does not say what kind of file it is: name it out.png, or out/"
            in said
        )
        assert not Path("out").exists()
    assert run(["decompress", "b.obv", "-o", "-"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"\x89PNG")
    assert run(["decompress", "b.obv", "-o", "out/"]) == 0 and Path("out/b.png").exists()


@pytest.mark.parametrize(
    ("name", "kind", "package", "module"),
    [
        ("x.heic", "HEIC", "pillow-heif", "pillow_heif"),
        ("x.jxl", "JPEG XL", "pillow-jxl-plugin", "pillow_jxl"),
    ],
)
def test_what_a_plugin_writes_names_it(
    name: str, kind: str, package: str, module: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert run(["compress", "a.png"]) == 0
    monkeypatch.setitem(sys.modules, module, None)  # makes the import fail
    assert run(["decompress", "a.obv", "-o", name]) == 30
    assert (
        f"{name}: {kind} is written with the plugin {package} only: pip install {package}"
        in capsys.readouterr().err
    )
    # where it is installed, Pillow knows the format from then on
    used = []
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(register_heif_opener=lambda: used.append(1)))
    monkeypatch.setattr(
        Image,
        "registered_extensions",
        lambda known=Image.registered_extensions: known() | {Path(name).suffix: "PNG"},
    )
    assert run(["decompress", "a.obv", "-o", name]) == 0 and Path(name).read_bytes().startswith(b"\x89PNG")
    assert bool(used) == (module == "pillow_heif")


def test_16_bits_are_bits_a_channel(capsys: Capture) -> None:
    Image.fromarray(COLOUR[:, :, 0].astype(np.uint16) * 257).save("deep.png")
    assert run(["compress", "--lossless", "deep.png"]) == 0
    for name in ("deep.ppm", "deep.bmp"):
        assert run(["decompress", "deep.obv", "-o", name]) == 30
        assert "is not written with 16 bits a channel; use .png or .tif" in capsys.readouterr().err


def test_a_file_that_is_none_of_ours_is_said_to_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    assert run(["decompress", str(tmp_path / "photo.png")]) == 11
    assert "not an .obv file" in capsys.readouterr().err
    assert (tmp_path / "photo.png").read_bytes() == before
    assert not (tmp_path / "photo.png.png").exists()


def test_a_format_that_cannot_be_read_back_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is said before the file is decoded."""
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    assert run(["compress", "--lossless", str(tmp_path / "a.png")]) == 0
    monkeypatch.delattr(ImageLosslessCodec, "decode_photo")
    assert run(["decompress", str(tmp_path / "a.obv"), "-o", str(tmp_path / "a.pdf")]) == 30
    assert "no image format is written to .pdf" in capsys.readouterr().err


def test_names_move_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = tmp_path / "\x1b[31mred\u202e.png"
    Image.new("RGB", (4, 4)).save(name)
    assert run(["compress", str(name)]) == 0
    assert run(["compress", str(name)]) == 31
    said = capsys.readouterr()
    assert not {"\x1b", "\u202e"} & set(said.out + said.err)
    assert "\\x1b[31mred\\u202e.png" in said.out and said.out.endswith("\n")


@pytest.mark.parametrize("colour", ["#12345678", "rgba(1,2,3,0)", "#1238"])
def test_a_background_that_is_transparent_is_none(capsys: Capture, colour: str) -> None:
    assert run(["decompress", "a.obv", "-o", "a.jpg", "--background", colour]) == 2
    assert "give a colour without alpha" in capsys.readouterr().err
    assert colour_of("rgba(1,2,3,255)") == colour_of("#010203") == (1, 2, 3)


def test_a_line_is_one_whatever_a_file_is_called(tmp_path: Path, capsys: Capture) -> None:
    name = str(tmp_path / "a\nerror: b.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(name)
    assert run(["compress", name]) == 0
    assert run(["info", name.replace("png", "obv")]) == 0
    told = capsys.readouterr()
    assert told.out.count("a\\nerror: b") == 3 and "\nerror" not in told.out
    assert (run(["compress", name]), run(["info", name + "x"])) == (31, 3)
    told = capsys.readouterr()
    assert "a\\nerror: b" in told.err and told.err.count("\n") == 2
