"""Lossless codecs side by side: real files, and a verdict that is measured."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obverse.errors import InputError, MissingExtraError, OutputError
from obverse.evaluation import (
    Coder,
    LosslessRow,
    classical,
    evaluate_lossless,
    lossless_table,
    summarise_lossless,
    write_lossless_report,
)
from tests.conftest import smooth_photo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    Image.fromarray(smooth_photo(40, 60)).save(path / "a.png")
    Image.fromarray(smooth_photo(30, 20, channels=1)).save(path / "b.png")
    return path


def off_by_one() -> Coder:
    """Stores raw samples and returns some of them one too large."""

    def encode(image: np.ndarray, setting: object) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, image)
        return buffer.getvalue()

    def decode(data: bytes, image: np.ndarray) -> np.ndarray:
        samples = np.load(io.BytesIO(data))
        if samples.ndim == 3:
            samples[:10] += 1  # 255 becomes 0
        return samples

    return Coder("off", ".raw", ({},), encode, decode)


@pytest.mark.parametrize("name", ["png", "webp", "jxl"])
@pytest.mark.parametrize("kind", ["gray", "colour", "alpha"])
def test_peers_are_lossless(name: str, kind: str) -> None:
    if name == "jxl":
        pytest.importorskip("pillow_jxl")
    array = smooth_photo(33, 47, channels=1 if kind == "gray" else 3)
    if kind == "alpha":
        array = np.dstack([array, np.where(array[:, :, 0] > 100, 255, 0).astype(np.uint8)])
    peer = classical(name, lossless=True)
    data = peer.encode(array, {})
    assert np.array_equal(peer.decode(data, array), array)
    starts = {"png": (0, b"\x89PNG"), "webp": (8, b"WEBPVP8"), "jxl": (0, b"")}
    at, magic = starts[name]
    assert data[at : at + len(magic)] == magic


def test_peers_that_there_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"'jpeg'.*png, webp, jxl, avif"):
        classical("jpeg", lossless=True)
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)  # makes the import fail
    with pytest.raises(MissingExtraError, match=r"pip install 'obverse\[jxl\]'"):
        classical("jxl", lossless=True)
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    with pytest.raises(MissingExtraError, match="without webp"):
        classical("webp", lossless=True)
    assert classical("png", lossless=True).name == "png"


def test_rows_measure_the_real_files(folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    rows = evaluate_lossless(folder, against=["png"], progress=lambda *a: calls.append(a))
    assert [(row.image, row.codec) for row in rows] == [
        ("a.png", "image-lossless"),
        ("a.png", "png"),
        ("b.png", "image-lossless"),
        ("b.png", "png"),
    ]
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for row in rows:
        assert (row.height, row.width, row.channels) == ((40, 60, 3) if row.image == "a.png" else (30, 20, 1))
        assert row.max_error == 0 and row.wrong == 0 and row.encode_seconds >= 0 <= row.decode_seconds
        assert row.bits_per_pixel == 8 * row.bytes / (row.height * row.width)
        assert row.bits_per_subpixel == pytest.approx(row.bits_per_pixel / row.channels)
    with Image.open(folder / "a.png") as image:
        assert rows[1].bytes == len(classical("png", lossless=True).encode(np.asarray(image), {}))


def test_a_codec_that_loses_something_is_told(folder: Path) -> None:
    rows = evaluate_lossless(folder, codec="image-lossless", against=[off_by_one()])
    ours, off = summarise_lossless(rows)
    assert (ours.exact, ours.max_error, ours.wrong) == (2, 0, 0)
    original = smooth_photo(40, 60)[:10]
    assert off.exact == 1 and off.max_error == (255 if (original == 255).any() else 1)
    assert off.wrong == pytest.approx(10 * 60 * 3 / (40 * 60 * 3 + 30 * 20))
    table = lossless_table(rows)
    assert "| yes |" in table and f"| no: 23.1% of samples changed, by up to {off.max_error} |" in table


def test_the_summary_is_of_all_files_together() -> None:
    def row(image: str, codec: str, size: int, channels: int, wrong: float = 0.0) -> LosslessRow:
        return LosslessRow(image, codec, 10, 20, channels, size, 0.0, 0.0, int(wrong > 0), wrong, 1.0, 0.5)

    rows = [
        row("a", "ours", 300, 3), row("b", "ours", 100, 1), row("a", "other", 500, 3, 0.5), row("b", "other", 100, 1),
    ]  # fmt: skip
    ours, other = summarise_lossless(iter(rows))
    assert (ours.bytes, ours.images, ours.ratio, ours.exact) == (400, 2, 1.0, 2)
    assert ours.bits_per_pixel == 8 * 400 / 400 and ours.bits_per_subpixel == 8 * 400 / 800
    assert (other.bytes, other.ratio, other.exact) == (600, 1.5, 1)
    assert other.wrong == 0.5 * 600 / 800
    assert (ours.encode_seconds, ours.decode_seconds) == (1.0, 0.5)


def test_report_files(folder: Path, tmp_path: Path) -> None:
    rows = evaluate_lossless(folder, None, ["png", "webp", off_by_one()])
    paths = write_lossless_report(rows, tmp_path / "report")
    assert list(paths) == ["images.csv", "summary.csv", "lossless.png"]
    with open(paths["summary.csv"], newline="") as file:
        summary = list(csv.DictReader(file))
    assert [row["codec"] for row in summary] == ["png", "webp", "off"]
    assert [row["exact"] for row in summary] == ["2", "2", "1"]
    with Image.open(paths["lossless.png"]) as plot:
        assert plot.format == "PNG"
    with pytest.raises(InputError, match="nothing was measured"):
        write_lossless_report([], tmp_path)
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError):
        write_lossless_report(rows, tmp_path / "file")


def test_images_that_one_codec_refuses_are_left_out_for_all(folder: Path) -> None:
    deep = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    Image.fromarray(deep).save(folder / "deep.png")
    (folder / "text.png").write_text("not a picture")
    Image.new("CMYK", (5, 5)).save(folder / "inks.tif")
    failures: list = []
    rows = evaluate_lossless(folder, None, ["png", "webp"], failures=failures)
    assert {row.image for row in rows} == {"a.png", "b.png"}
    assert {failure.path.name for failure in failures} == {"deep.png", "text.png", "inks.tif"}
    for row in evaluate_lossless(folder / "deep.png", "image-lossless", ["png"]):
        assert row.max_error == 0 and row.channels == 1
    with pytest.raises(InputError, match=r"inks\.tif is CMYK"):
        evaluate_lossless(folder, None, ["png"])


def test_wrong_calls(folder: Path) -> None:
    with pytest.raises(InputError, match="different names"):
        evaluate_lossless(folder, None, ["png", "png"])
    with pytest.raises(InputError, match="different names"):
        evaluate_lossless(folder, None, [])
    with pytest.raises(InputError, match="no image"):
        evaluate_lossless([], None, ["png"])


def test_importing_needs_neither_torch_nor_numba() -> None:
    code = "import sys, obverse.evaluation; print({'torch', 'numba', 'matplotlib'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"
