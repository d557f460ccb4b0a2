"""A file of features as a data set of torch, decoded while it is trained on.

    FeatureDataset ──► DataLoader(dataset, batch_sampler=ChunkSampler(dataset, 256)) ──► (features, target)

Vectors are decoded 256 at a time. Drawn one by one from all over a large file, most of that work would be thrown away;
ChunkSampler shuffles chunks, and the vectors within groups of chunks, so that each chunk is decoded once an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from obverse.codecs.features.view import FeatureView
from obverse.errors import InputError


class FeatureDataset(Dataset[Any]):
    """features i, or the pair (features i, target i).

    float16 and float64 stay what they are. Opening and reading give the errors of FeatureView.

    Args:
        view: an open FeatureView, or what it opens.
        targets: anything with an entry a vector.
        transform: of a tensor (d,) float.

    Raises:
        InputError: for targets of another number than the features.
    """

    def __init__(
        self,
        view: FeatureView | Any,
        targets: Sequence[Any] | np.ndarray | torch.Tensor | None = None,
        transform: Callable[[torch.Tensor], Any] | None = None,
    ):
        self.view = view if isinstance(view, FeatureView) else FeatureView(view)
        if targets is not None and len(targets) != len(self.view):
            raise InputError(f"there are {len(self.view)} feature vectors, but {len(targets)} targets")
        self.targets = targets
        self.transform = transform

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, i: int) -> Any:
        return self._item(torch.from_numpy(self.view[i]), i)

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """A batch at once: what a DataLoader asks for. Each chunk is decoded once."""
        rows = torch.from_numpy(self.view[list(numbers)])
        return [self._item(row, i) for row, i in zip(rows, numbers, strict=True)]

    def _item(self, row: torch.Tensor, i: int) -> Any:
        made = self.transform(row) if self.transform else row
        return made if self.targets is None else (made, self.targets[i])


class ChunkSampler(Sampler[list[int]]):
    """Batches of numbers, shuffled so that no chunk is decoded twice.

    Args:
        dataset: whose vectors are numbered.
        batch: vectors a batch; the last may have fewer.
        group: chunks whose vectors are mixed; the cache of the view should hold twice as many, as a batch may lie in
            two groups.
        seed: of the first epoch; each epoch has its own order.
    """

    def __init__(self, dataset: FeatureDataset, batch: int, group: int = 16, seed: int = 0):
        if batch < 1 or group < 1:
            raise InputError("batches and groups have at least one member")
        self._count, self._chunk = len(dataset), dataset.view.chunk
        self._batch, self._group = batch, group
        self._seed, self._epoch = seed, 0

    def __len__(self) -> int:
        return -(-self._count // self._batch)

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self._seed, self._epoch])
        self._epoch += 1
        chunks = rng.permutation(-(-self._count // self._chunk))
        left: list[int] = []
        for first in range(0, len(chunks), self._group):
            rows = np.concatenate(
                [
                    np.arange(c * self._chunk, min((c + 1) * self._chunk, self._count))
                    for c in chunks[first : first + self._group]
                ]
            )
            left += rng.permutation(rows).tolist()
            while len(left) >= self._batch:
                yield left[: self._batch]
                left = left[self._batch :]
        if left:
            yield left
