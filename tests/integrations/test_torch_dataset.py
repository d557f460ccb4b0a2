"""Training straight from a compressed file."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from obverse.codecs.features import items
from obverse.codecs.features.codec import FeatureCodec
from obverse.codecs.features.view import FeatureView
from obverse.container import write
from obverse.errors import InputError
from obverse.integrations.torch_dataset import ChunkSampler, FeatureDataset

N = 700
RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=N)
X = (RNG.normal(size=(3, 8))[Y] * 4 + RNG.normal(size=(N, 8))).astype(np.float32)


@pytest.fixture
def path(tmp_path):
    (tmp_path / "x.obv").write_bytes(write(FeatureCodec().encode(X, FeatureCodec.options(chunk=50))))
    return tmp_path / "x.obv"


def test_items(path):
    dataset = FeatureDataset(path, Y, transform=lambda x: x * 2)
    assert len(dataset) == N
    row, label = dataset[13]
    assert row.shape == (8,) and row.dtype == torch.float32 and label == Y[13]
    np.testing.assert_allclose(row, 2 * dataset.view[13])
    assert FeatureDataset(dataset.view)[3].shape == (8,)
    many = dataset.__getitems__([5, 600, 5])
    assert [int(label) for _, label in many] == [Y[5], Y[600], Y[5]]
    with pytest.raises(InputError, match="700 feature vectors, but 3 targets"):
        FeatureDataset(path, [1, 2, 3])
    with pytest.raises(IndexError):
        dataset[N]


def test_each_chunk_is_decoded_once_an_epoch(path, monkeypatch):
    decoded = []
    real = items.decode_chunk
    monkeypatch.setattr(
        items, "decode_chunk", lambda model, payload, n: decoded.append(n) or real(model, payload, n)
    )
    dataset = FeatureDataset(FeatureView(path, cache=50 * 8 * 4 * 6), Y)
    sampler = ChunkSampler(dataset, 32, group=3)
    loader = DataLoader(dataset, batch_sampler=sampler)
    assert len(loader) == 22
    orders = []
    for _ in range(2):
        decoded.clear()
        batches = list(loader)
        assert sum(decoded) <= N  # less what an epoch before left in the cache
        assert [len(x) for x, _ in batches] == [32] * 21 + [28]
        orders.append(torch.cat([y for _, y in batches]))
    assert not torch.equal(*orders)
    assert sorted(i for batch in ChunkSampler(dataset, 64, 2, seed=5) for i in batch) == list(range(N))
    for wrong in ({"batch": 0}, {"batch": 1, "group": 0}):
        with pytest.raises(InputError):
            ChunkSampler(dataset, **wrong)


def test_worker_processes_open_their_own(path):
    loader = DataLoader(
        FeatureDataset(path, Y), batch_size=100, num_workers=1, multiprocessing_context="spawn"
    )
    labels = torch.cat([y for _, y in loader])
    np.testing.assert_array_equal(labels, Y)


def test_a_probe_learns_from_the_file(path):
    dataset = FeatureDataset(path, Y)
    torch.manual_seed(0)
    probe = torch.nn.Linear(8, 3)
    optimiser = torch.optim.Adam(probe.parameters(), 0.05)
    for _ in range(3):
        for x, y in DataLoader(dataset, batch_sampler=ChunkSampler(dataset, 50)):
            loss = torch.nn.functional.cross_entropy(probe(x), y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    with torch.no_grad():
        assert (probe(torch.from_numpy(X)).argmax(1).numpy() == Y).mean() > 0.95
