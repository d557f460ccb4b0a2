"""The learned Wyner-Ziv codec: networks that found binning from pairs (x, y).

    sender     x ──► encoder network ──► u = argmax of K logits ──► file
    receiver   file ──► u ;  u, y ──► decoder network ──► x̂

One index for each sample, a number or a vector; the encoder is a free function of x on which no structure is
imposed. Trained on pairs, several separate intervals of x come to share an index, which y tells apart: the random
binning of Wyner and Ziv (1976), found by gradient descent (Ozyilkan, Ballé, Erkip, ISIT 2023). How the indices
become files: `wyner_ziv_index.py`. How the networks are trained: `codecs/wyner_ziv/train_learned.py`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from obverse.codecs.model_codec import from_model
from obverse.codecs.wyner_ziv import LEARNED
from obverse.codecs.wyner_ziv.index import IndexCodec
from obverse.codecs.wyner_ziv.networks import WynerZivNetworks, WynerZivSizes
from obverse.errors import InputError
from obverse.method import Method


class WynerZivCodec(IndexCodec):
    """x (n,) or (n, d), one index for each sample; any distortion that it was trained for."""

    method: ClassVar[Method] = LEARNED

    @from_model
    def networks(self) -> WynerZivNetworks:
        sizes = WynerZivSizes.from_dict(self.model.config.get("sizes") or {})
        model = self.index_model
        if (sizes.dimensions, sizes.side_width, sizes.indices) != (
            model.dimensions, model.side.width, model.indices
        ):  # fmt: skip
            raise InputError(
                "the model's configuration is damaged: its networks have other sizes than its indices"
            )
        return self.network(lambda: WynerZivNetworks(sizes))

    def _side(self, y: np.ndarray) -> Tensor:
        return torch.from_numpy(self.index_model.side.features(y))

    @torch.inference_mode()
    def quantise(self, x: np.ndarray) -> np.ndarray:
        return self.networks.logits(torch.from_numpy(x.astype(np.float32))).argmax(dim=1).numpy()

    @torch.inference_mode()
    def log_conditional(self, y: np.ndarray) -> np.ndarray:
        return self.networks.log_conditional(self._side(y)).numpy()

    @torch.inference_mode()
    def estimate(self, u: np.ndarray, y: np.ndarray) -> np.ndarray:
        every = self.networks.reconstructions(self._side(y)).numpy()
        return every[np.arange(len(u)), u]
