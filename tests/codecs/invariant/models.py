"""Small models of the invariant codec, untrained but whole, that several tests and the fuzzer share."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

from obverse.codecs.invariant.codec import state_of
from obverse.codecs.invariant.networks import InvariantNetworks
from obverse.codecs.invariant.recipe import InvariantConfig
from obverse.zoo import StoredModel, fingerprint

POINTS = InvariantConfig((3,), codes=2, width=8)
IMAGES = InvariantConfig((9, 12), codes=4, width=4, clusters=1)
TASKS_ONLY = InvariantConfig((3,), codes=2, width=8, decodes=False)
CLUSTERED = InvariantConfig((9, 12), codes=4, width=4, clusters=5)
CONFIGS = (POINTS, IMAGES, TASKS_ONLY, CLUSTERED)


@cache
def stored_model(config: InvariantConfig, seed: int = 0) -> StoredModel:
    """A model with random networks, spread enough that codes take many values."""
    torch.manual_seed(seed)
    networks = InvariantNetworks(config).eval()
    items = torch.from_numpy(items_of(config, 200, seed))
    networks.start(items.unsqueeze(1).float() / 255 if config.images else items, 3.0)
    with torch.no_grad():
        networks.offset.copy_(torch.linspace(-0.4, 0.4, config.codes))
        if networks.clustered is not None:
            networks.clustered.place(networks.encoder(items.unsqueeze(1).float() / 255))
            networks.placed.fill_(True)
    clusters, tables = networks.tables()
    decoder = networks.head if config.decodes else None
    weights = save_safetensors(state_of(networks.encoder, decoder, networks.offset, tables, clusters))
    described = {
        "codec": "invariant",
        "model": config.as_dict(),
        "objective": "vic" if config.decodes else "bince",
    }
    return StoredModel("small", weights, described, fingerprint(weights, repr(described).encode()))


def items_of(config: InvariantConfig, n: int, seed: int = 0) -> np.ndarray:
    """(n, ...) random items of the kind that the model codes."""
    rng = np.random.default_rng(seed)
    if config.images:
        return rng.integers(0, 256, (n, *config.shape), dtype=np.uint8)
    return rng.normal(size=(n, *config.shape)).astype(np.float32)
