"""A file of features as an array: what is read, what it costs, and what is refused."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from obverse.codecs.features import items
from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.export import fit_model
from obverse.codecs.features.fit import Target
from obverse.codecs.features.view import FeatureView
from obverse.container import Container, Limits, write
from obverse.errors import DamagedError, InputError, ItemIndexError, LimitError, WrongModelError

N, D = 530, 10
X = (np.random.default_rng(0).normal(size=(N, D)) * np.exp(-np.arange(D) / 3)).astype(np.float32)
BLOB = write(FeatureCodec().encode(X, FeatureCodec.options(loss=0.05, chunk=64, encoder=bytes(range(32)))))
WHOLE = FeatureCodec().decode(FeatureCodec().encode(X, FeatureCodec.options(loss=0.05, chunk=64)))


@pytest.fixture
def view(tmp_path):
    (tmp_path / "x.obv").write_bytes(BLOB)
    with FeatureView(tmp_path / "x.obv") as opened:
        yield opened


def test_like_an_array(view):
    assert view.shape == (N, D) and len(view) == N and view.dtype == np.float32 and view.ndim == 2
    assert repr(view) == "FeatureView(530 vectors of 10 float32)"
    for key in (0, -1, 529, np.int64(77), slice(None), slice(60, 70), slice(500, 10, -37), slice(5, 5), [3, 500, 3, -2],
                np.array([64, 63, 65]), np.array([], int), [], np.arange(N) % 7 == 0):  # fmt: skip
        np.testing.assert_array_equal(view[key], WHOLE[key])
        assert view[key].shape == WHOLE[key].shape and view[key].dtype == np.float32
    np.testing.assert_array_equal(np.asarray(view), WHOLE)
    assert np.asarray(view, np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.stack(list(view)), WHOLE)
    with pytest.raises(ValueError, match="copy"):
        np.array(view, copy=False)


@given(st.lists(st.integers(-N, N - 1), max_size=30))
@settings(deadline=None)
def test_any_rows(rows):
    with FeatureView(BLOB, cache=0) as view:
        np.testing.assert_array_equal(view[rows], WHOLE[np.array(rows, int)])


SAME_BITS = """
import sys, hashlib
import numpy as np
from obverse.codecs.features.view import FeatureView
from obverse.integrations.torch_dataset import FeatureDataset
digests = set()
for path in sys.argv[1:]:
    whole = __import__("obverse").decompress(path)
    n = len(whole)
    with FeatureView(path) as view:
        for one in (view[:], np.stack([view[i] for i in range(n)]), np.asarray(view), np.stack(list(view)),
                    np.concatenate([view[i : i + 37] for i in range(0, n, 37)]), view[np.arange(n)[::-1]][::-1]):
            assert np.array_equal(one, whole), path
        assert np.array_equal(view[[5, 3, 5]], whole[[5, 3, 5]])
        data = FeatureDataset(view)
        assert np.array_equal(data[7].numpy(), whole[7])
        assert np.array_equal(np.stack([x.numpy() for x in data.__getitems__(list(range(n)))]), whole)
    print(hashlib.sha256(whole.tobytes()).hexdigest())
"""


def test_a_vector_is_the_same_to_the_last_bit_whatever_is_asked_for(tmp_path):
    """One, some, all, in any order; in several shapes, types and numbers of threads of the matrix product."""
    rng = np.random.default_rng(5)
    paths = []
    for n, d, dtype, options in (
        (300, 3, np.float32, {"loss": 0.01}), (700, 64, np.float32, {"loss": 1e-5, "transform": "klt"}),
        (301, 130, np.float32, {"loss": 0.1, "standardise": True}), (400, 33, np.float64, {"loss": 1e-4}),
        (300, 40, np.float16, {"loss": 0.02}), (300, 9, np.float32, {"distortion": "l1", "loss": 0.05}),
    ):  # fmt: skip
        x = (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 3).astype(dtype)
        paths.append(str(tmp_path / f"{len(paths)}.obv"))
        Path(paths[-1]).write_bytes(
            write(FeatureCodec().encode(x, FeatureCodec.options(chunk=100, **options)))
        )
    said = {
        subprocess.run(
            [sys.executable, "-c", SAME_BITS, *paths], capture_output=True, text=True, check=True,
            env=os.environ | dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads),
        ).stdout
        for threads in ("1", "2", "3")
    }  # fmt: skip
    assert len(said) == 1 and len(said.pop().splitlines()) == len(paths)


@pytest.mark.parametrize(
    "key",
    [
        N, -N - 1, 2**70, 0.5, np.float32(3), "a", None, [0, N], [-N - 1], [2**70], (1, 2), np.zeros((2, 2), int),
        [0.5], [None], ["a"], [[1], [2, 3]], np.ones(N - 1, bool), slice("a", 3), slice(0, 9, 0),
    ],
)  # fmt: skip
def test_rows_that_are_not_there(view, key):
    with pytest.raises(ItemIndexError, match="vector") as raised:
        view[key]
    assert isinstance(raised.value, IndexError) and raised.value.exit_code == 6


def test_one_item_is_read_for_one_vector(view, monkeypatch):
    decoded = []
    real = items.decode_chunk
    monkeypatch.setattr(
        items, "decode_chunk", lambda model, payload, n: decoded.append(n) or real(model, payload, n)
    )
    view[70], view[100], view[64:128]
    assert decoded == [64]
    view[[0, 529, 1, 528]]
    assert decoded == [64, 64, 18]
    with FeatureView(BLOB, cache=0) as small:
        small[0], small[100], small[0]
    assert decoded[3:] == [64, 64, 64]


def test_one_damaged_item_leaves_the_others(tmp_path):
    damaged = bytearray(BLOB)
    damaged[-20] ^= 1
    with FeatureView(bytes(damaged)) as view:
        np.testing.assert_array_equal(view[:500], WHOLE[:500])
        with pytest.raises(DamagedError):
            view[529]


def test_what_is_refused(tmp_path):
    with pytest.raises(WrongModelError, match="not of 0000"):
        FeatureView(BLOB, encoder=bytes(32))
    FeatureView(BLOB, encoder=bytes(range(32))).close()
    with pytest.raises(InputError, match="no features"):
        FeatureView(write(Container("image", {}, (1,), items=())))
    with pytest.raises(InputError, match="not a stream"):
        FeatureView(write(Container("features", {}, (1,), {"a": b""})))
    with pytest.raises(DamagedError):
        FeatureView(write(Container("features", {}, (1, 1), items=())))
    with pytest.raises(LimitError):
        FeatureView(BLOB, limits=Limits(memory=3000))
    with FeatureView(BLOB, limits=Limits(memory=200_000)) as view:
        assert view[3].shape == (D,)  # one vector fits where all of them need not
    with pytest.raises(WrongModelError, match="own model"):
        FeatureView(BLOB, model="mine")


def test_stored_models(tmp_path):
    stored, _ = fit_model(X, tmp_path / "mine", Target(loss=0.1))
    blob = write(FeatureCodec(stored).encode(X))
    with FeatureView(blob, model=tmp_path / "mine") as view:
        np.testing.assert_array_equal(view[:], FeatureCodec(stored).decode(FeatureCodec(stored).encode(X)))
    with pytest.raises(WrongModelError, match="not installed"):
        FeatureView(blob)


def test_labels():
    prototypes = {"first": np.eye(D)[0], "other way": -np.eye(D)[0], "second": np.eye(D)[1]}
    with FeatureView(
        write(FeatureCodec().encode(X, FeatureCodec.options(loss=0.01, prototypes=prototypes)))
    ) as view:
        expected = np.argmax(np.stack([X[:, 0], -X[:, 0], X[:, 1]], 1), 1)
        assert view.prototypes.names == tuple(prototypes)
        assert (view.labels() == expected).mean() > 0.95
    with FeatureView(BLOB) as view:
        assert view.prototypes is None
        with pytest.raises(InputError, match="no prototypes"):
            view.labels()
        from obverse.codecs.features.items import Prototypes

        given = Prototypes.of(prototypes, D)
        assert (view.labels(given) == expected).mean() > 0.9
        with pytest.raises(InputError, match="have 3 numbers"):
            view.labels(Prototypes.of({"a": np.ones(3)}, 3))


def test_views_are_pickled_by_what_they_opened(view):
    again = pickle.loads(pickle.dumps(view))
    np.testing.assert_array_equal(again[10:20], view[10:20])
    again.close()
    with FeatureView(open(view._arguments[0], "rb")) as opened, pytest.raises(TypeError, match="by its path"):
        pickle.dumps(opened)
    opened._arguments[0].close()
