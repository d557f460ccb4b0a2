"""Sets of images from arrays, IDX files and folders, and what is none."""

from __future__ import annotations

import gzip
import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from obverse.data.arrays import npy_bytes
from obverse.data.image_sets import check_image_set, png_archive, read_image_set
from obverse.errors import InputError, UnsupportedInputError

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (12, 5, 7), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)


def idx(images: np.ndarray) -> bytes:
    shape = b"".join(size.to_bytes(4, "big") for size in images.shape)
    return b"\0\0\x08" + bytes([images.ndim]) + shape + images.tobytes()


@pytest.mark.parametrize("images", [GRAY, COLOUR])
def test_arrays_and_folders(images, tmp_path):
    path = tmp_path / "set.npy"
    np.save(path, images)
    np.testing.assert_array_equal(read_image_set(path), images)
    np.testing.assert_array_equal(read_image_set(io.BytesIO(path.read_bytes())), images)
    folder = tmp_path / "pngs"
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    (folder / "notes.txt").write_text("not an image")
    np.testing.assert_array_equal(read_image_set(folder), images)


@pytest.mark.parametrize("pack", [gzip.compress, bytes])
def test_idx_files(pack, tmp_path):
    path = tmp_path / "images-idx3-ubyte.gz"
    path.write_bytes(pack(idx(GRAY)))
    np.testing.assert_array_equal(read_image_set(path), GRAY)


def test_a_folder_of_jpegs_is_what_they_decode_to(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (16, 16), np.uint8)
    Image.fromarray(image).save(tmp_path / "0.jpg", quality=95)
    (decoded,) = read_image_set(tmp_path)
    np.testing.assert_array_equal(decoded, np.asarray(Image.open(tmp_path / "0.jpg")))


def test_an_archive_of_pngs_is_the_folder_again(tmp_path):
    data = png_archive(GRAY)
    assert data == png_archive(GRAY)
    zipfile.ZipFile(io.BytesIO(data)).extractall(tmp_path / "out")
    np.testing.assert_array_equal(read_image_set(tmp_path / "out"), GRAY)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (GRAY.astype(np.float32), "float32"),
        (GRAY.astype(np.uint16), "uint16"),
        (GRAY[0], "shape"),
        (COLOUR[..., :2], "shape"),
        (GRAY[:0], "empty"),
        (GRAY[:, :0], "without pixels"),
    ],
)
def test_what_is_no_set_of_images(images, sentence, tmp_path):
    with pytest.raises(InputError, match=sentence):
        check_image_set(images)
    path = tmp_path / "set.npy"
    np.save(path, images)
    with pytest.raises(InputError, match=sentence):
        read_image_set(path)


def test_float_images_and_wrong_shapes_are_of_an_unsupported_kind():
    for images in (GRAY / 255, GRAY[0]):
        with pytest.raises(UnsupportedInputError):
            check_image_set(images)


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="empty"):
        read_image_set(tmp_path)
    Image.fromarray(GRAY[0]).save(tmp_path / "a.png")
    Image.fromarray(GRAY[0, :3]).save(tmp_path / "b.png")
    with pytest.raises(UnsupportedInputError, match=r"b\.png.*one size"):
        read_image_set(tmp_path)
    Image.fromarray(GRAY[0]).convert("LA").save(tmp_path / "b.png")
    with pytest.raises(UnsupportedInputError, match="alpha"):
        read_image_set(tmp_path)


def test_damaged_files(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(InputError, match="there is no file"):
        read_image_set(path)
    whole = idx(GRAY)
    for data in (b"", b"hello", whole[:3], whole[:10], whole[:-1], whole + b"1", gzip.compress(whole)[:-9],
                 gzip.compress(whole)[:40], b"\x1f\x8b", npy_bytes(GRAY)[:60]):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(InputError):
            read_image_set(path)
