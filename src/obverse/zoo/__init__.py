"""Trained models, shipped as data: one folder a model, with `model.safetensors.xz`, `config.json` and `card.md`.

`OBVERSE_ZOO`, when set, names a folder that is looked at first: that is how a model exported by
`obverse export` is tried before it ships.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obverse.errors import InputError

WEIGHTS, CONFIG, CARD = "model.safetensors.xz", "config.json", "card.md"


@dataclass(frozen=True)
class StoredModel:
    """Weights as the bytes of a safetensors file, the configuration, and the fingerprint of both."""

    name: str
    weights: bytes
    config: dict[str, Any]
    fingerprint: bytes


def model_folder(name: str) -> Path:
    """Where model `name` is stored."""
    override = os.environ.get("OBVERSE_ZOO")
    if override and (Path(override) / name / WEIGHTS).exists():
        return Path(override) / name
    return Path(__file__).parent / name


def load_model(name: str) -> StoredModel:
    """Read a stored model. Raises InputError when it is not there."""
    folder = model_folder(name)
    try:
        weights = (folder / WEIGHTS).read_bytes()
        config_bytes = (folder / CONFIG).read_bytes()
    except OSError as error:
        raise InputError(f"model {name!r} is not in {folder}: {error.strerror}; reinstall obverse") from error
    try:
        raw = lzma.decompress(weights)
    except lzma.LZMAError as error:
        raise InputError(
            f"the weights of model {name!r} in {folder} are damaged; reinstall obverse"
        ) from error
    return StoredModel(name, raw, json.loads(config_bytes), fingerprint(raw, config_bytes))


def pack(weights: bytes) -> bytes:
    """What is stored: the safetensors bytes behind LZMA, since small integers leave room in their bytes."""
    return lzma.compress(weights, preset=9)


def fingerprint(weights: bytes, config: bytes) -> bytes:
    """8 bytes that change with any change of a model: the start of a SHA-256."""
    return hashlib.sha256(hashlib.sha256(weights).digest() + config).digest()[:8]
