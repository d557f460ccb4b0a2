"""Arrays and pairs from files, and what is refused."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from obverse.data.arrays import check_npy_name, npy_bytes, read_array, read_pairs
from obverse.errors import InputError


def test_what_is_written_is_read(tmp_path):
    array = np.arange(6.0, dtype="<f4").reshape(2, 3)
    path = tmp_path / "a.npy"
    path.write_bytes(npy_bytes(array))
    again = read_array(path)
    assert again.dtype == array.dtype
    assert np.array_equal(again, array)
    assert np.array_equal(read_array(io.BytesIO(path.read_bytes())), array)


def test_nothing_is_unpickled(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"not a \.npy array"):
        read_array(path)
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(InputError):
        read_array(path)


@pytest.mark.parametrize("content", [b"", b"text", npy_bytes(np.zeros(9))[:-1], npy_bytes(np.zeros(9))[:20]])
def test_what_is_no_array(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy"):
        read_array(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no file"):
        read_array(tmp_path / "a.npy")
    with pytest.raises(InputError, match="no file"):
        read_pairs(tmp_path / "a.npz")


def test_pairs(tmp_path):
    path = tmp_path / "pairs.npz"
    np.savez(path, x=np.arange(3), y=np.ones(3))
    x, y = read_pairs(path)
    assert x.tolist() == [0, 1, 2]
    assert y.tolist() == [1, 1, 1]


def test_several_arrays_are_not_one(tmp_path):
    np.savez(tmp_path / "pairs.npz", x=np.arange(3), y=np.ones(3))
    with pytest.raises(InputError, match="several"):
        read_array(tmp_path / "pairs.npz")


def test_pairs_without_one(tmp_path):
    np.savez(tmp_path / "pairs.npz", x=np.arange(3))
    with pytest.raises(InputError, match="x and y"):
        read_pairs(tmp_path / "pairs.npz")
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(InputError):
        read_pairs(tmp_path / "x.npy")
    (tmp_path / "bad.npz").write_bytes((tmp_path / "pairs.npz").read_bytes()[:-30])
    with pytest.raises(InputError, match=r"not a \.npz"):
        read_pairs(tmp_path / "bad.npz")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], object), y=np.ones(1))
    with pytest.raises(InputError):
        read_pairs(tmp_path / "objects.npz")


@pytest.mark.parametrize(
    ("found", "put"),
    [(b"'<f8'", b"'<,8'"), (b"'descr'", b"'des(r'"), (b"': False", b")': Fals"), (b"(9,)", b"(9,>")],
)
def test_damaged_headers(tmp_path, found, put):
    """NumPy parses them as Python, and then not only ValueError comes of it."""
    path = tmp_path / "a.npy"
    path.write_bytes(npy_bytes(np.zeros(9)).replace(found, put))
    with pytest.raises(InputError, match=r"not a \.npy"):
        read_array(path)


def test_damaged_archives(tmp_path):
    np.savez_compressed(tmp_path / "pairs.npz", x=np.arange(300), y=np.ones(300))
    good = (tmp_path / "pairs.npz").read_bytes()
    directory = good.index(b"PK\x01\x02")
    for place, value in (
        (directory + 6, 77),
        (directory + 8, 32),
        (directory + 10, 99),
        (60, good[60] ^ 255),
    ):
        (tmp_path / "bad.npz").write_bytes(good[:place] + bytes([value]) + good[place + 1 :])
        with pytest.raises(InputError, match=r"not a \.npz"):
            read_pairs(tmp_path / "bad.npz")
    (tmp_path / "a.npy").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError):
        read_array(tmp_path / "a.npy")


def test_arrays_go_into_npy_files_only():
    check_npy_name("a.NPY")
    for name in ("a.png", "a.csv", "a"):
        with pytest.raises(InputError, match=r"\.npy"):
            check_npy_name(name)
