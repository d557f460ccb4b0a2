"""--lossless, whole folders, --recover, and evaluate --lossless on the command line."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

import obverse
from obverse import registry
from obverse.cli import run
from obverse.codec import Codec
from obverse.codecs.image_lossless import codec as image_lossless
from obverse.codecs.image_lossless import facts
from obverse.container import Container, Limits, read
from obverse.container.recover import recover_items
from obverse.data.kinds import KINDS, Kind
from obverse.method import Method
from tests.conftest import smooth_photo

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path: str, array: np.ndarray) -> Path:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return Path(path)


def pixels(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# -- lossless ---------------------------------------------------------------------------------------------


def test_there_and_back(folder: Path, capsys: Capture) -> None:
    photo = smooth_photo(40, 48)
    save("photo.png", photo)
    assert run(["compress", "--lossless", "photo.png"]) == 0
    assert read("photo.obv").codec == "image-lossless"
    assert re.fullmatch(r"photo\.png -> photo\.obv: .*, \d+\.\d{3} bpp\n", capsys.readouterr().out)
    Path("photo.png").unlink()
    assert run(["decompress", "photo.obv"]) == 0
    assert np.array_equal(pixels("photo.png"), photo)


def test_folders_keep_every_pixel(folder: Path) -> None:
    arrays = {"a": smooth_photo(30, 40), "deep/b": smooth_photo(20, 20, channels=1)}
    for name, array in arrays.items():
        save(f"in/{name}.png", array)
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    save("in/deep/c.tif", deep)
    assert run(["compress", "--lossless", "in", "-o", "packed"]) == 0
    assert run(["decompress", "packed", "-o", "out"]) == 0
    for name, array in arrays.items():
        assert np.array_equal(pixels(f"out/{name}.png"), array)
    assert np.array_equal(pixels("out/deep/c.png"), deep)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--codec", "image"], "one of --lossless and --codec"),
        (["--codec", "image-lossless"], "one of --lossless and --codec"),
        (["--quality", "50"], "no use for --quality"),
        (["--bpp", "1"], "no use for --bpp"),
        (["--max-bytes", "9k"], "no use for --max-bytes"),
    ],
)
def test_what_does_not_go_with_lossless(folder: Path, capsys: Capture, words: list[str], says: str) -> None:
    save("photo.png", smooth_photo(20, 20))
    assert run(["compress", "--lossless", "photo.png", *words]) == 2
    assert says in capsys.readouterr().err
    assert not Path("photo.obv").exists()


def test_threads_of_training_are_a_number_above_zero(folder: Path, capsys: Capture) -> None:
    words = ["train", "image-lossless", "--data", ".", "--out", "run", "--threads"]
    for threads in ("0", "-2"):
        assert run([*words, threads]) == 2
        assert "--threads must be at least 1" in capsys.readouterr().err
    assert not Path("run").exists()


def test_input_that_cannot_be_kept(folder: Path, capsys: Capture) -> None:
    Image.fromarray(smooth_photo(20, 20)).convert("CMYK").save("inks.jpg")
    assert run(["compress", "--lossless", "inks.jpg"]) == 4
    assert "CMYK" in capsys.readouterr().err


def test_a_lossy_output_is_told(folder: Path, capsys: Capture) -> None:
    save("photo.png", smooth_photo(20, 20))
    assert run(["compress", "--lossless", "photo.png"]) == 0
    assert run(["decompress", "photo.obv", "-o", "a.jpg"]) == 0
    assert "warning: a.jpg: JPEG does not keep pixels exactly" in capsys.readouterr().err


def test_info(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_lossless, "STRIPE_PIXELS", 600)
    Path("a.obv").write_bytes(obverse.compress(smooth_photo(40, 48), codec="image-lossless"))
    assert run(["info", "a.obv"]) == 0
    text = capsys.readouterr().out
    size = Path("a.obv").stat().st_size
    for part in (
        "codec     image-lossless, model",
        "shape     40 x 48",
        "pixels    RGB, lossless",
        f"rate      {size * 8 / 1920:.4f} bits per pixel, {size / 5760:.2%} of raw",
        "stripes   4 of 10 rows",
        "items     4, ",
    ):
        assert part in text


def test_kinds_are_those_of_the_codec() -> None:
    """`info` says them without importing the codec."""
    assert [size for _, size in facts.KINDS] == [c * b // 8 for c, b in image_lossless.KINDS]


def test_help_and_info_stay_light(folder: Path) -> None:
    Path("a.obv").write_bytes(obverse.compress(smooth_photo(8, 8), codec="image-lossless"))
    script = (
        "import sys; from obverse.cli import run\n"
        "for words in (['--help'], ['train', '--help'], ['evaluate', '--help'], ['list'], ['info', 'a.obv']):\n"
        "    assert run(words) == 0\n"
        "assert not {'torch', 'numba', 'numpy', 'PIL', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=60)


def test_no_torch_is_imported_for_lossless_images(folder: Path) -> None:
    save("photo.png", smooth_photo(20, 20))
    script = (
        "import sys; from obverse.cli import run\n"
        "assert run(['compress', '--lossless', 'photo.png']) == 0\n"
        "assert run(['decompress', 'photo.obv', '-o', 'b.png']) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


# -- a folder that is one set, and recovery ---------------------------------------------------------------


def load_rows(source: Any, what: str = "data") -> np.ndarray:
    files = sorted(source.glob("*.npy")) if isinstance(source, Path) and source.is_dir() else [source]
    return np.concatenate([np.load(file) for file in files])


ROWS = Kind(
    load=load_rows,
    save=KINDS["image set"].save,
    read=frozenset({".npy"}),
    written=frozenset({".npy", ".zip"}),
    how="rows are written as .npy, or as .zip of PNG files",
    folder=True,
)


class BlocksCodec(Codec):
    """Byte arrays (n, m) as they are, an item for each row; a folder of .npy files is one array."""

    method: ClassVar[Method] = Method(
        id="blocks", package=__name__, summary="rows", data=":ROWS", codec=":BlocksCodec"
    )

    def encode(self, data: Any, options: Any = None) -> Container:
        return Container(self.id, {}, data.shape, items=tuple(row.tobytes() for row in data))

    def decode(self, container: Container, limits: Limits | None = None) -> np.ndarray:
        rows = [np.frombuffer(item, np.uint8) for item in container.items or ()]
        return np.stack(rows).reshape(container.shape)

    def recover(self, source: Any, limits: Limits | None = None) -> tuple[np.ndarray, list[str]]:
        header, items, missing = recover_items(source, limits)
        rows = [np.frombuffer(item, np.uint8) for item in items if item is not None]
        return np.array(rows, np.uint8).reshape(-1, *header.shape[1:]), missing


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codec above, registered."""
    monkeypatch.setitem(registry.built_in_methods(), "blocks", BlocksCodec.method)


@pytest.fixture
def a_set(folder: Path, blocks: None) -> np.ndarray:
    """The folder `in` with two arrays in it, as the array that they are together."""
    array = np.arange(60, dtype=np.uint8).reshape(6, 10)
    Path("in").mkdir()
    np.save("in/0.npy", array[:2])
    np.save("in/1.npy", array[2:])
    return array


def test_a_folder_is_one_set(a_set: np.ndarray, folder: Path, capsys: Capture) -> None:
    assert run(["compress", "--codec", "blocks", "in", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["input"], row["output"]) == ("in", "in.obv")
    assert row["bytes_in"] == sum(path.stat().st_size for path in Path("in").iterdir())
    assert run(["decompress", "in.obv"]) == 0
    assert np.array_equal(np.load("in.npy"), a_set)
    assert run(["compress", "--codec", "blocks", "in/", "-o", "other.obv"]) == 0
    assert run(["compress", "--codec", "blocks", "in/1.npy"]) == 0  # a file is one too
    assert read("other.obv").shape == (6, 10) and read("in/1.obv").shape == (4, 10)
    assert run(["compress", "--codec", "blocks", "in", "in/0.npy", "-o", "packed"]) == 0
    assert sorted(path.name for path in Path("packed").iterdir()) == ["0.obv", "in.obv"]


def test_the_current_folder_is_named_by_its_name(a_set: np.ndarray, folder: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir("in")
    assert run(["compress", "--codec", "blocks", ".", "-o", "../here/"]) == 0
    assert Path("../here/in.obv").exists()


def test_recovery(a_set: np.ndarray, folder: Path, capsys: Capture) -> None:
    assert run(["compress", "--codec", "blocks", "in"]) == 0
    whole = Path("in.obv").read_bytes()
    assert run(["decompress", "in.obv", "--recover", "-o", "whole.npy"]) == 0
    assert np.array_equal(np.load("whole.npy"), a_set)
    capsys.readouterr()

    Path("cut.obv").write_bytes(whole[:-20])
    assert run(["decompress", "cut.obv", "-o", "no.npy"]) == 13 and not Path("no.npy").exists()
    capsys.readouterr()
    assert run(["decompress", "cut.obv", "--recover", "--json"]) == 13
    captured = capsys.readouterr()
    assert np.array_equal(np.load("cut.npy"), a_set[:4])
    assert captured.err == "warning: cut.obv: item 4 is cut off\nwarning: cut.obv: item 5 is cut off\n"
    (row,) = json.loads(captured.out)
    assert row["exit_code"] == 13 and row["output"] == "cut.npy" and len(row["missing"]) == 2

    damaged = bytearray(whole)
    damaged[-20] ^= 1
    Path("bad.obv").write_bytes(damaged)
    assert run(["decompress", "bad.obv", "in.obv", "--recover", "-o", "out"]) == 14
    assert np.array_equal(np.load("out/bad.npy"), a_set[[0, 1, 2, 3, 5]])
    assert np.array_equal(np.load("out/in.npy"), a_set)


def test_a_recovered_set_of_images_is_a_zip_or_an_array(folder: Path, blocks: None, capsys: Capture) -> None:
    images = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
    np.save("set.npy", images)
    assert run(["compress", "--codec", "blocks", "set.npy"]) == 0
    Path("set.obv").write_bytes(Path("set.obv").read_bytes()[:-9])
    assert run(["decompress", "set.obv", "--recover", "-o", "set.zip"]) == 13
    with zipfile.ZipFile("set.zip") as archive:
        again = [np.asarray(Image.open(archive.open(name))) for name in archive.namelist()]
    assert np.array_equal(again, images[:4])
    capsys.readouterr()
    assert run(["decompress", "set.obv", "--recover", "-o", "set.png"]) == 30
    assert "written as .npy, or as .zip" in capsys.readouterr().err and not Path("set.png").exists()


def test_what_cannot_be_recovered(a_set: np.ndarray, folder: Path, capsys: Capture) -> None:
    assert run(["compress", "--codec", "blocks", "in"]) == 0
    whole = Path("in.obv").read_bytes()
    Path("front.obv").write_bytes(whole[:10])
    assert run(["decompress", "front.obv", "--recover"]) == 13
    Path("nothing.obv").write_bytes(whole[: len(whole) - 6 * 15])
    assert run(["decompress", "nothing.obv", "--recover"]) == 13
    assert "nothing of it is whole" in capsys.readouterr().err
    assert not list(Path().glob("*.npy"))
    save("photo.png", smooth_photo(20, 20))
    assert run(["compress", "photo.png"]) == 0
    assert run(["decompress", "photo.obv", "--recover", "-o", "b.png"]) == 7
    assert "'image' are whole or nothing" in capsys.readouterr().err
    assert run(["decompress", "in.obv", "--recover", "--side-info", "y.npy"]) == 2


def test_a_cut_image_is_recovered(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_lossless, "STRIPE_PIXELS", 600)
    photo = smooth_photo(40, 48)
    save("photo.png", photo)
    assert run(["compress", "--lossless", "photo.png"]) == 0
    Path("photo.obv").write_bytes(Path("photo.obv").read_bytes()[:-9])
    assert run(["decompress", "photo.obv", "--recover", "-o", "b.png"]) == 13
    assert "rows 30 to 39 are missing" in capsys.readouterr().err
    again = pixels("b.png")
    assert np.array_equal(again[:30], photo[:30]) and not again[30:].any()


# -- evaluate ---------------------------------------------------------------------------------------------


def test_evaluate_lossless(folder: Path, capsys: Capture) -> None:
    save("in/a.png", smooth_photo(48, 64))
    save("in/b.png", smooth_photo(30, 30, seed=1))
    words = ["evaluate", "in", "--lossless", "--against", "png,webp", "--out", "report"]
    assert run(words) == 0
    text = capsys.readouterr().out
    assert re.search(r"^\| image-lossless \| [\d,]+ \| .* \| 1\.000 \| yes \|", text, re.MULTILINE)
    assert run([*words, "--force", "--json"]) == 0
    (ours, png, webp) = json.loads(capsys.readouterr().out)["summary"]
    assert [ours["codec"], png["codec"], webp["codec"]] == ["image-lossless", "png", "webp"]
    assert ours["exact"] == png["exact"] == webp["exact"] == 2
    assert sorted(path.name for path in Path("report").iterdir()) == [
        "images.csv",
        "lossless.png",
        "summary.csv",
    ]
    with open("report/images.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert sum(int(row["bytes"]) for row in rows if row["codec"] == "png") == png["bytes"]


def test_evaluate_lossless_leaves_out_what_one_cannot_code(folder: Path, capsys: Capture) -> None:
    save("in/a.png", smooth_photo(30, 30))
    Path("in/b.png").write_text("not a picture")
    Path("in/folder.png").mkdir()  # no picture either, but nothing that was meant as one
    words = ["evaluate", "in", "--lossless", "--against", "png", "--out", "report", "--json"]
    assert run(words) == 3
    captured = capsys.readouterr()
    assert json.loads(captured.out)["summary"][0]["images"] == 1
    assert "b.png is not an image" in captured.err and "folder.png" not in captured.err


def test_evaluate_lossless_says_what_is_wrong(folder: Path, capsys: Capture) -> None:
    save("in/a.png", smooth_photo(30, 30))
    assert run(["evaluate", "in", "--lossless", "--against", "jpeg"]) == 8
    assert "unknown lossless peer 'jpeg'" in capsys.readouterr().err


def test_a_damaged_image_of_one_stripe_says_what_is_damaged(folder: Path, capsys: Capture) -> None:
    """Nothing of it can be recovered; while it is whole it can be."""
    save("photo.png", smooth_photo(40, 48))
    assert run(["compress", "--lossless", "photo.png"]) == 0
    whole = bytearray(Path("photo.obv").read_bytes())
    assert run(["decompress", "photo.obv", "--recover", "-o", "whole.png"]) == 0
    capsys.readouterr()
    damaged = whole.copy()
    damaged[-100] ^= 1
    for name, data, code, what in (("cut", whole[:-9], 13, "ends early"), ("bad", damaged, 14, "checksum")):
        Path(f"{name}.obv").write_bytes(data)
        assert run(["decompress", f"{name}.obv", "--recover"]) == code
        said = capsys.readouterr().err
        assert f"{name}.obv" in said and what in said and "nothing of it can be recovered" in said
        assert not Path(f"{name}.png").exists()
