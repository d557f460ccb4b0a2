"""The two halves of a split model, each a file of its own: what the device needs, and what the server needs.

    device.safetensors   encoder, offset, tables              image ──► encoder ──► q ──► Message ──► payload
    server.safetensors   offset, tables, decoder, tail, ...   payload ──► Message ──► q ──► ŷ ──► server ──► logits

A payload is one bare message: the integers of an image, or of several, and nothing else. Both files say which model
they were made of, and halves of different models refuse one another. What crosses is parsed with integer tables alone;
the encoder is a float network at the sender, and may round a y between two integers to the other one on another
machine, which is as good a code.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from obverse.codecs.model_codec import loaded
from obverse.codecs.rounded_codes import family_of, offset_of
from obverse.codecs.split.networks import Server, Synthesis, make_encoder, standardised
from obverse.codecs.split.sizes import SplitConfig
from obverse.coding import Message
from obverse.container import Limits, write_atomically
from obverse.data.arrays import as_array
from obverse.data.guard import unreadable
from obverse.data.image_sets import check_image_set
from obverse.errors import (
    CodingError,
    DamagedError,
    InputError,
    ModelError,
    UnsupportedInputError,
    WrongModelError,
)
from obverse.torch_settings import known_settings

CHUNK = 250  # images that pass through the networks at once
WORK_BYTES = 16  # memory that each number of a layer takes while it is computed
FARTHEST = 2**20  # a y beyond belongs to no model that was trained
DEVICE, SERVER = "split-device", "split-server"
PARTS = {DEVICE: ("encoder", "tables"), SERVER: ("server", "synthesis", "tables")}
LARGEST_HEADER = 2**20  # bytes
LARGEST_HALF = 2**30
SYMBOL_BYTES = 12  # more than any integer takes, escapes included

Array = npt.NDArray[Any]
Symbols = npt.NDArray[np.int32]


class SplitCode:
    """q (n, C, h, w) ──► Message with one table a channel ──► payload, and back; q + offset = ŷ.

    tensors: those of a model, "offset" and "tables.*" among them. Raises ModelError when they are damaged.
    """

    def __init__(self, config: SplitConfig, tensors: dict[str, Tensor], name: str):
        self.config = config
        self.offset = offset_of(tensors, config.codes, name)[:, None, None]
        self.tables = family_of(tensors, "tables", config.codes, name)
        places = config.side**2
        tops = [int(self.tables.frequencies(i).max()) for i in range(len(self.tables))]
        # of an image: none of this model is shorter
        self.least_bits = float(sum(places * (self.tables.precision - np.log2(top)) for top in tops))

    @property
    def most_bytes(self) -> int:
        """Of the payload of one image: none is longer."""
        return self.config.symbols * SYMBOL_BYTES + 8

    def pack(self, q: Symbols) -> bytes:
        """The payload."""
        message = Message()
        message.push(q, self.tables, self._index(len(q)))
        return message.to_bytes()

    def unpack(self, payload: bytes, n: int, limits: Limits | None = None) -> Symbols:
        """q (n, C, h, w) int32. Raises DamagedError for what no device wrote, LimitError."""
        limits = Limits.of(limits)
        if n < 1:
            raise DamagedError(f"a payload is of at least one image, not {n}")
        if n * self.least_bits > 8 * len(payload) + 64:
            raise DamagedError(f"{len(payload)} bytes cannot hold the codes of {n} images")
        limits.check_items(n)
        limits.check_memory(n * self.config.symbols * 24)
        message = Message.from_bytes(payload)
        try:
            q = message.pop(self.tables, self._index(n))
        except CodingError:
            raise DamagedError("the payload holds fewer codes than it should") from None
        if not message.empty:
            raise DamagedError("the payload holds more codes than it should")
        return q

    def bits(self, q: Symbols) -> npt.NDArray[np.float64]:
        """(n,) bits that the tables give to each image: a payload holds their sum."""
        return self.tables.bits(q, self._index(len(q))).sum((1, 2, 3))

    def latents(self, q: Symbols) -> npt.NDArray[np.float32]:
        """ŷ (n, C, h, w)."""
        return (q + self.offset).astype(np.float32)

    def _index(self, n: int) -> Array:
        """Which table each integer uses: its channel's."""
        kind = np.uint8 if self.config.codes <= 256 else np.uint32
        channels = np.arange(self.config.codes, dtype=kind)[:, None, None]
        return np.broadcast_to(channels, (n, *self.config.latent_shape))


class Half:
    """What both halves are: a configuration, tensors, and the fingerprint of the model that they are parts of."""

    kind: str

    def __init__(self, config: SplitConfig, tensors: dict[str, Tensor], fingerprint: bytes, name: str):
        self.config, self.fingerprint, self.name = config, fingerprint, name
        self._tensors = tensors

    @cached_property
    def code(self) -> SplitCode:
        """Raises ModelError."""
        return SplitCode(self.config, self._tensors, self.name)

    def network(self, make: Callable[[], nn.Module], part: str) -> nn.Module:
        """What `make` makes, with the weights of this part, for inference. Raises ModelError when they do not fit."""
        return loaded(make, self._tensors, part, self.name).to(memory_format=torch.channels_last)

    def check_partner(self, fingerprint: bytes) -> None:
        """Raises WrongModelError for a half of another model."""
        if fingerprint != self.fingerprint:
            raise WrongModelError(
                f"this half is of the model {self.fingerprint.hex()}, the other one of {fingerprint.hex()}: "
                "export both from one model"
            )

    def check(self) -> None:
        """Raises ModelError when a network or the code is not whole."""
        _ = self.code

    def store(self, path: Path, overwrite: bool = False) -> int:
        """Write the half's file; returns its bytes. Raises OutputError."""
        kept = {
            name: tensor for name, tensor in self._tensors.items()
            if name == "offset" or name.partition(".")[0] in PARTS[self.kind]
        }  # fmt: skip
        facts = {"half": self.kind, "model": self.config.as_dict(), "fingerprint": self.fingerprint.hex()}
        facts["sha256"] = _checksum(facts, kept)
        data = save_safetensors(kept, {"obverse": json.dumps(facts)})
        write_atomically(path, data, overwrite=overwrite)
        return len(data)


class DeviceHalf(Half):
    """images ──► encoder ──► y ──► round(y - offset) = q ──► payload."""

    kind = DEVICE

    @cached_property
    def encoder(self) -> nn.Module:
        return self.network(lambda: make_encoder(self.config), "encoder")

    def check(self) -> None:
        _ = self.code, self.encoder

    def encode(self, images: npt.ArrayLike) -> bytes:
        """The payload of (n, S, S, 3) or one (S, S, 3), uint8. Raises InputError, UnsupportedInputError."""
        return self.code.pack(self.symbols_of(check_images(images, self.config)))

    @known_settings()
    def symbols_of(self, images: Array) -> Symbols:
        """Checked images -> q (n, C, h, w)."""
        q = np.empty((len(images), *self.config.latent_shape), np.int32)
        with torch.no_grad():
            for here in _chunks(len(images)):
                y = self.encoder(standardised(as_tensor(images[here]))).double().numpy()
                if not np.isfinite(y).all() or float(np.abs(y).max()) > FARTHEST:
                    raise ModelError(
                        f"the model {self.name} gives no finite codes: it is damaged, export it again"
                    )
                q[here] = np.rint(y - self.code.offset)
        return q


class ServerHalf(Half):
    """payload ──► q ──► ŷ ──► decoder ──► tail of the teacher ──► logits; ŷ ──► synthesis ──► x̂."""

    kind = SERVER

    @cached_property
    def server(self) -> nn.Module:
        return self.network(lambda: Server(self.config), "server")

    @cached_property
    def synthesis(self) -> nn.Module:
        """Raises InputError for a model that has none."""
        if not self.config.reconstructs:
            raise InputError(
                f"the model {self.name} has no synthesis: its codes are for classes only; train one that reconstructs"
            )
        return self.network(lambda: Synthesis(self.config), "synthesis")

    @known_settings()
    def check(self) -> None:
        _ = self.code, self.server, self.synthesis if self.config.reconstructs else None

    def latents(self, payload: bytes, n: int = 1, limits: Limits | None = None) -> npt.NDArray[np.float32]:
        """ŷ (n, C, h, w), the same on every machine. Raises DamagedError, LimitError."""
        return self.code.latents(self.code.unpack(payload, n, limits))

    def check_logits(self, n: int, limits: Limits | None = None) -> None:
        """Whether the logits of n images may take what they take. Raises LimitError."""
        teacher = self.config.teacher
        sides = range(self.config.after, teacher.layers + 1)
        widest = max(teacher.widths[layer] * teacher.side_after(layer) ** 2 for layer in sides)
        self._check(n, 4 * teacher.classes, widest, limits)

    def check_images(self, n: int, limits: Limits | None = None) -> None:
        """Whether n synthesised images may take what they take. Raises LimitError."""
        numbers = math.prod(self.config.image_shape)
        self._check(n, numbers, numbers, limits)

    def _check(self, n: int, result: int, work: int, limits: Limits | None) -> None:
        """result: bytes of an image's. work: numbers of the widest layer."""
        held = n * (4 * self.config.symbols + result)
        Limits.of(limits).check_memory(held + min(n, CHUNK) * work * WORK_BYTES)

    @known_settings()
    def logits(self, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(n, classes)."""
        out = np.empty((len(latents), self.config.teacher.classes), np.float32)
        for here in _chunks(len(latents)):
            out[here] = self.server(as_channels_last(latents[here])).numpy()
        return out

    @known_settings()
    def images(self, latents: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        """x̂ (n, S, S, 3). Raises InputError for a model that does not reconstruct."""
        synthesis = self.synthesis
        out = np.empty((len(latents), *self.config.image_shape), np.uint8)
        for here in _chunks(len(latents)):
            synthesised = synthesis(as_channels_last(latents[here])).clamp(0, 1) * 255
            out[here] = synthesised.round().byte().permute(0, 2, 3, 1).numpy()
        return out

    def predict(self, payload: bytes, n: int = 1, limits: Limits | None = None) -> npt.NDArray[np.float32]:
        """Logits (n, classes) from a payload. Raises DamagedError, LimitError."""
        latents = self.latents(payload, n, limits)
        self.check_logits(n, limits)
        return self.logits(latents)


def check_images(images: npt.ArrayLike, config: SplitConfig) -> Array:
    """(n, S, S, 3) uint8, one image made a set. Raises InputError, UnsupportedInputError."""
    array = as_array(images, "images of one size, (n, S, S, 3)")
    if array.ndim == 3 and array.shape == config.image_shape:
        array = array[None]
    checked = check_image_set(array)
    if checked.shape[1:] != config.image_shape:
        side = config.teacher.side
        raise UnsupportedInputError(
            f"this model codes colour images of {side} x {side} pixels, (n, {side}, {side}, 3), not {array.shape}: "
            "resize them, or train a model on them"
        )
    return checked


def as_tensor(images: Array) -> Tensor:
    """(n, S, S, 3) uint8 -> (n, 3, S, S) in [0, 1]."""
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
    return x.contiguous(memory_format=torch.channels_last)


def as_channels_last(latents: npt.NDArray[np.float32]) -> Tensor:
    """ŷ, laid out as convolutions like it."""
    return torch.from_numpy(np.ascontiguousarray(latents)).contiguous(memory_format=torch.channels_last)


def load_device(path: str | Path) -> DeviceHalf:
    """The device's half from its file. Raises ModelError."""
    return DeviceHalf(*_read_half(Path(path), DEVICE))


def load_server(path: str | Path) -> ServerHalf:
    """The server's half from its file. Raises ModelError."""
    return ServerHalf(*_read_half(Path(path), SERVER))


def _read_half(path: Path, kind: str) -> tuple[SplitConfig, dict[str, Tensor], bytes, str]:
    """Configuration, tensors, fingerprint and name of a half's file."""
    try:
        if path.stat().st_size > LARGEST_HALF:
            raise ModelError(f"{path} is larger than any half of a split model")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(unreadable(path, error)) from error
    length = int.from_bytes(data[:8], "little")
    try:
        if length > min(LARGEST_HEADER, len(data)):
            raise ValueError("its header is too long")
        facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["obverse"])
        found, fingerprint = facts["half"], bytes.fromhex(facts["fingerprint"])
        config = SplitConfig.from_dict(facts["model"])
        tensors = load_safetensors(data)
        if facts.pop("sha256") != _checksum(facts, tensors):
            raise ValueError("its checksum is another")
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError, InputError) as error:
        raise ModelError(
            f"{path} is not a half of a split model, or damaged ({error}); write it with `obverse split export`"
        ) from None
    if found != kind or len(fingerprint) != 8:
        raise ModelError(f"{path} is the half {found!r} of a split model, where {kind!r} is needed")
    return config, tensors, fingerprint, path.name


def _checksum(facts: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """Of what a half says and holds: a flipped bit of a weight would else only make predictions worse."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _chunks(n: int) -> Iterator[slice]:
    """Slices of at most CHUNK that cover n images."""
    for first in range(0, n, CHUNK):
        yield slice(first, min(n, first + CHUNK))
