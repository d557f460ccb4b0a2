"""Posteriors in .npz files."""

import io

import numpy as np
import pytest

from obverse.codecs.plug_and_play.posterior import Posterior
from obverse.data.posteriors import read_posterior
from obverse.errors import InputError


def archive(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_read_from_file_and_path(tmp_path):
    raw = archive(mean=np.zeros((2, 3)), std=np.ones((2, 3)))
    (tmp_path / "p.npz").write_bytes(raw)
    for source in (io.BytesIO(raw), tmp_path / "p.npz"):
        assert Posterior.of(**read_posterior(source)).shape == (2, 3)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not a .npz file"),
        (b"\x93NUMPY....", "not a .npz file"),
        (b"PK\x03\x04 and no more", "numpy.savez"),
        (archive(mean=np.zeros(3)), "mean and std"),
        (archive(mean=np.zeros(3), std=np.zeros(3)), "zero or negative"),
        (archive(mean=np.array([{}, {}], object), std=np.ones(2)), "numpy.savez"),  # a pickle: never loaded
    ],
)
def test_refused(raw, words):
    with pytest.raises(InputError, match=words):
        Posterior.of(**read_posterior(io.BytesIO(raw)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no file .*nothing\.npz"):
        read_posterior(tmp_path / "nothing.npz")
