"""Arrays and pairs from files, and what is refused."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch

import obverse
from obverse.container import Limits
from obverse.data.arrays import as_array, check_npy_name, npy_bytes, read_array, read_pairs
from obverse.data.loading import loading_within
from obverse.errors import InputError, LimitError, OutputError


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
        with pytest.raises(OutputError, match=r"\.npy"):
            check_npy_name(name)


@pytest.mark.parametrize("more", [b"\n", npy_bytes(np.zeros(3))])
def test_what_follows_an_array_is_not_lost_in_silence(tmp_path, more):
    path = tmp_path / "a.npy"
    path.write_bytes(npy_bytes(np.zeros(9)) + more)
    with pytest.raises(InputError, match=rf"goes on for {len(more)} bytes behind its array"):
        read_array(path)


# -- what users pass in Python ----------------------------------------------------------------------------


def test_tensors_are_arrays():
    values = np.array([[1.5, -2.0]], np.float32)
    tensor = torch.from_numpy(values)
    for same in (
        tensor,
        tensor.clone().requires_grad_(),
        tensor.clone().requires_grad_() * 1,
        tensor.bfloat16(),
        tensor.to(torch.float8_e4m3fn),
        torch.nn.Parameter(tensor),
        tensor.T.contiguous().T,
        torch.complex(tensor, -tensor).conj().imag,
    ):
        made = as_array(same)
        assert made.dtype == np.float32 and made.tolist() == values.tolist()
    assert as_array(tensor.half()).dtype == np.float16


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (torch.eye(3).to_sparse(), r"sparse tensor.*to_dense"),
        (torch.zeros(3, device="meta"), "meta device"),
        (scipy.sparse.eye_array(3), r"sparse array.*toarray"),
        (np.ma.masked_array([1, 2], [False, True]), r"masked.*filled"),
        ([np.ma.masked_array([1, 2], [False, True])], r"masked.*filled"),
        ([[1, 2], [3]], "no array of one shape"),
        ([torch.zeros(2, requires_grad=True), torch.zeros(3)], "no array of one shape"),
        ({"a": 1}, "made of dict"),
        (None, "made of NoneType"),
        (np.array([{}, 1], object), "dtype object"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_plain_array(data, words):
    with pytest.raises(InputError, match=words):
        as_array(data)


def test_whatever_an_object_raises_becomes_a_sentence():
    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise NotImplementedError("not on this device\nTraceback")

    with pytest.raises(InputError, match=r"the data: .*: not on this device$"):
        as_array(Broken())


def test_byte_order_and_layout_make_no_difference():
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    for same in (values.astype(">f4"), np.asfortranarray(values), values[::-1][::-1], values.tolist()):
        assert as_array(same).tolist() == values.tolist() and as_array(same).dtype.isnative
    assert as_array(np.arange(3, dtype=np.longlong)).dtype == np.int64
    assert as_array([True, False]).dtype == bool


@pytest.mark.parametrize("codec", ["image", "image-lossless", "features", "wyner-ziv-trellis"])
def test_a_broadcast_array_is_refused_before_it_is_copied(codec):
    kind = np.uint8 if codec.startswith("image") else np.float32
    shape = {"features": (2**30, 2**18), "wyner-ziv-trellis": (2**48,)}.get(codec, (2**24, 2**24, 3))
    with pytest.raises(LimitError, match="memory"):
        obverse.compress(np.broadcast_to(kind(3), shape), codec=codec)
    with loading_within(Limits(memory=10**6)), pytest.raises(LimitError, match="16,000,000 bytes of memory"):
        as_array(np.broadcast_to(np.dtype(">f8").type(3), (2, 10**6)).astype(">f8"))
