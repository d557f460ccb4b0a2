"""Reading feature vectors from files."""

import io
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from obverse.data.features import feature_bytes, read_features, read_named
from obverse.errors import InputError, MissingExtraError, OutputError, UnsupportedInputError

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def test_npy_and_safetensors(tmp_path):
    np.save(tmp_path / "a.npy", X)
    np.testing.assert_array_equal(read_features(tmp_path / "a.npy"), X)
    with pytest.raises(InputError, match="key"):
        read_features(tmp_path / "a.npy", "b")
    save_file({"one": X}, tmp_path / "one.safetensors")
    np.testing.assert_array_equal(read_features(tmp_path / "one.safetensors"), X)
    save_file({"one": X, "two": X.astype(np.float64)}, tmp_path / "two.safetensors")
    with pytest.raises(InputError, match=r"holds 2 tensors.*one, two"):
        read_features(tmp_path / "two.safetensors")
    with pytest.raises(InputError, match="no tensor 'three'"):
        read_features(tmp_path / "two.safetensors", "three")
    assert read_features(tmp_path / "two.safetensors", "two").dtype == np.float64
    assert read_features(io.BytesIO((tmp_path / "one.safetensors").read_bytes())).shape == (6, 4)
    assert set(read_named(tmp_path / "two.safetensors")) == {"one", "two"}


def test_bfloat16_is_exact(tmp_path):
    import torch
    from safetensors.torch import save_file as save_torch

    tensor = torch.from_numpy(X).bfloat16()
    save_torch({"x": tensor}, tmp_path / "b.safetensors")
    np.testing.assert_array_equal(read_features(tmp_path / "b.safetensors"), tensor.float().numpy())
    save_torch({"x": tensor.int()}, tmp_path / "i.safetensors")
    with pytest.raises(UnsupportedInputError, match="I32"):
        read_features(tmp_path / "i.safetensors")


@pytest.mark.parametrize("name", ["a.npy", "A.SAFETENSORS"])
def test_what_is_written_is_read(name, tmp_path):
    (tmp_path / name).write_bytes(feature_bytes(X, name))
    np.testing.assert_array_equal(read_features(tmp_path / name), X)


def test_files_that_hold_none(tmp_path):
    for content in (b"", b"hello", b"\x93NUMPY damaged", (8).to_bytes(8, "little") + b"{damaged"):
        (tmp_path / "x.npy").write_bytes(content)
        with pytest.raises(InputError):
            read_features(tmp_path / "x.npy")
    for missing in (read_features, read_named):
        with pytest.raises(InputError, match="there is no file"):
            missing(tmp_path / "missing.npy")
        with pytest.raises(InputError, match="cannot be read"):
            missing(tmp_path)
    with pytest.raises(OutputError, match="written as"):
        feature_bytes(X, "x.csv")


def test_parquet_without_pyarrow_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "x.parquet").write_bytes(b"PAR1....PAR1")
    with pytest.raises(MissingExtraError, match=r"pip install 'obverse\[parquet\]'"):
        read_features(tmp_path / "x.parquet")


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: reading Parquet is not tested")
    import pyarrow.parquet as pq

    def write(**columns):
        pq.write_table(pa.table(columns), tmp_path / "x.parquet")
        return tmp_path / "x.parquet"

    lists = pa.array(X.tolist(), pa.list_(pa.float32()))
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4)
    names = pa.array(list("abcdef"))
    np.testing.assert_array_equal(read_features(write(id=names, vector=lists)), X)
    np.testing.assert_array_equal(read_features(write(vector=fixed)), X)
    np.testing.assert_array_equal(read_features(write(a=X[:, 0], b=X[:, 1])), X[:, :2])
    np.testing.assert_array_equal(read_features(write(v=lists, w=fixed), "w"), X)
    for columns, key, text in (
        ({"v": lists, "w": fixed}, None, "holds 2 columns"), ({"v": lists}, "x", "no column 'x'"),
        ({"id": names, "v": lists}, "id", "not a list"), ({"id": names}, None, "holds 0 columns"),
        ({"v": pa.array([[1.0], [1.0, 2.0]])}, None, "differ in length"),
        ({"v": pa.array([[1.0], None])}, None, "missing"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=text):
            read_features(write(**columns), key)
    (tmp_path / "x.parquet").write_bytes(b"PAR1 damaged PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        read_features(tmp_path / "x.parquet")
