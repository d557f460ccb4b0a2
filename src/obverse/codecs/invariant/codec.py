"""Codes for tasks: points or small images to what predictions need, one stream for a whole set.

    sender     x ──► encoder (floats) ──► round(z - offset) = q ──► h, the cluster in which q is cheapest
               h, then q ──► Message with one table for each dimension in each cluster ──► file
    receiver   file ──► Message ──► h, q ──► q + offset = ẑ      what tasks read: `decode`
                                             ẑ ──► decoder ──► x̂  what stands for all views of an item: `reconstruct`

What crosses from encoder to decoder is parsed with integer tables only, so a file reads the same on every machine. The
encoder is a float network: another machine may round a z that lies between two integers to the other one, which is as
good a code and decodes there to what was meant. ẑ is one addition and exact; x̂ is synthesised, in floats.

The items of a set share one message: a set costs its items' code lengths and once a few bytes, where coding each alone
would cost those bytes every time (Dubois et al., NeurIPS 2021, whose code predicts 47 bits an image and writes 1,735).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from obverse.codecs.invariant import METHOD
from obverse.codecs.invariant.networks import make_decoder, make_encoder
from obverse.codecs.invariant.recipe import InvariantConfig
from obverse.codecs.model_codec import ModelCodec, from_model
from obverse.codecs.rounded_codes import family_of, offset_of, tensors_of
from obverse.coding import Message, TableFamily
from obverse.container import Container, Limits
from obverse.data.arrays import as_array
from obverse.data.image_sets import check_image_set
from obverse.data.kinds import KINDS, Kind
from obverse.errors import (
    CodingError,
    DamagedError,
    InputError,
    UnsupportedInputError,
)
from obverse.fields import Options
from obverse.method import Method

CHUNK = 1000  # items that pass through the networks at once
CHOSEN = 4096  # items whose clusters are chosen at once
WORK_BYTES = 16  # memory that a number takes while it is synthesised
FARTHEST = 2**20  # a z beyond belongs to no data like the training's

Array = npt.NDArray[Any]


def state_of(
    encoder: nn.Module,
    decoder: nn.Module | None,
    offset: Tensor,
    tables: TableFamily,
    clusters: TableFamily | None = None,
) -> dict[str, Tensor]:
    """The tensors of a model: what `InvariantCodec` reads.

    tables: of dimension j in cluster h at h * k + j. clusters: the table of h; none for a model of one.
    """
    state = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    if decoder is not None:
        state |= {f"decoder.{name}": tensor for name, tensor in decoder.state_dict().items()}
    for part, family in {"tables": tables, "clusters": clusters}.items():
        if family is not None:
            state |= tensors_of(part, family)
    return {name: tensor.contiguous() for name, tensor in (state | {"offset": offset.float()}).items()}


class InvariantCodec(ModelCodec):
    """Sets of points (n, d), or of gray images (n, H, W) uint8: of the one kind that the model was trained for."""

    method: ClassVar[Method] = METHOD

    parts = frozenset({"encoder.", "decoder.", "offset", "tables.", "clusters."})

    @from_model
    def config(self) -> InvariantConfig:
        return InvariantConfig.from_dict(self.model.config.get("model"))

    @property
    def kind(self) -> Kind:
        """Of the model's items: images or points."""
        return KINDS["image set" if self.config.images else "points"]

    @from_model
    def encoder(self) -> nn.Module:
        return self.network(lambda: make_encoder(self.config), "encoder")

    @cached_property
    def decoder(self) -> nn.Module:
        """Raises InputError for a model that has none."""
        if not self.config.decodes:
            raise InputError(
                f"the model {self.model.name} has no decoder: its codes ({self.model.config.get('objective')}) are for "
                "tasks only; decode them to .npy, or train with the objective vic"
            )
        return self.network(lambda: make_decoder(self.config), "decoder")

    @from_model
    def offset(self) -> npt.NDArray[np.float64]:
        """(k,) what is added to the integers."""
        return offset_of(self.weights, self.config.codes, self.model.name)

    @from_model
    def tables(self) -> TableFamily:
        """One for each of the k codes in each cluster."""
        count = self.config.clusters * self.config.codes
        return family_of(self.weights, "tables", count, self.model.name)

    @from_model
    def clusters(self) -> TableFamily:
        """The one table of clusters."""
        family = family_of(self.weights, "clusters", 1, self.model.name)
        if family.escape or int(family.lows[0]) != 0 or int(family.sizes[0]) != self.config.clusters:
            raise InputError(
                f"the model {self.model.name} is damaged: it has no table of {self.config.clusters} clusters"
            )
        return family

    @from_model
    def least_bits(self) -> float:
        """Of an item: no item of this model is shorter."""
        tops = [int(self.tables.frequencies(i).max()) for i in range(len(self.tables))]
        bits = (self.tables.precision - np.log2(tops)).reshape(self.config.clusters, -1).sum(1)
        if self.config.clusters > 1:
            frequencies = np.maximum(self.clusters.frequencies(0), 1)
            bits += self.clusters.precision - np.log2(frequencies)
        return float(bits.min())

    # -- the contract --------------------------------------------------------------------------------

    def encode(self, data: Any, options: Options | None = None) -> Container:
        """(n, d) numbers or (n, H, W) uint8, as the model has it. Raises InputError, UnsupportedInputError."""
        items = self._items(data)
        message = Message()
        q = self.symbols_of(items)
        h = self.clusters_of(q)
        message.push(q, self.tables, self._index(h))
        if self.config.clusters > 1:
            message.push(h, self.clusters)
        return Container(
            self.id,
            {},
            items.shape,
            {"codes": message.to_bytes()},
            self.fingerprint,
            (options or Options()).kept,
        )

    def decode(self, container: Container, limits: Limits | None = None) -> Array:
        """ẑ, (n, k) float32: what tasks read. Raises DamagedError, LimitError."""
        return (self._symbols(container, Limits.of(limits)) + self.offset).astype(np.float32)

    def reconstruct(self, container: Container, limits: Limits | None = None) -> Array:
        """What stands for each item: (n, d) float32, or (n, H, W) uint8.

        For VIC the item without its change, for VC what was put in. Raises InputError for a model without decoder,
        DamagedError, LimitError.
        """
        decoder, limits = self.decoder, Limits.of(limits)
        codes = self.decode(container, limits)
        kind = np.dtype(np.uint8 if self.config.images else np.float32)
        each = math.prod(self.config.shape)
        limits.check_memory(
            codes.nbytes + len(codes) * each * kind.itemsize + min(len(codes), CHUNK) * each * WORK_BYTES
        )
        out = np.empty((len(codes), *self.config.shape), kind)
        for here in _chunks(len(codes)):
            decoded = decoder(torch.from_numpy(codes[here]))
            if self.config.images:
                out[here] = (torch.sigmoid(decoded[:, 0]) * 255).round().byte().numpy()
            else:
                out[here] = decoded.numpy()
        return out

    def rate_bits(self, data: Any, options: Options | None = None) -> npt.NDArray[np.float64]:
        """(n,) bits that the model gives to each item: the file holds their sum."""
        q = self.symbols_of(self._items(data))
        h = self.clusters_of(q)
        bits = self.tables.bits(q, self._index(h)).sum(1)
        return bits + self.clusters.bits(h, np.zeros_like(h)) if self.config.clusters > 1 else bits

    def symbols_of(self, items: Array) -> npt.NDArray[np.int32]:
        """Checked items -> q, (n, k) integers."""
        q = np.empty((len(items), self.config.codes), np.int32)
        with torch.no_grad():
            for here in _chunks(len(items)):
                z = self.encoder(self._tensor(items[here])).double().numpy()
                if not np.isfinite(z).all() or float(np.abs(z).max()) > FARTHEST:
                    raise InputError(
                        "the data lies far outside of what the model was trained with: other units, or another "
                        "model's data?"
                    )
                q[here] = np.rint(z - self.offset)
        return q

    def clusters_of(self, q: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """(n, k) -> (n,): in which cluster each item is cheapest. Any choice could be decoded."""
        k, count = self.config.codes, self.config.clusters
        h = np.zeros(len(q), np.int32)
        if count == 1:
            return h
        every = np.arange(count)
        start = self.clusters.bits(every, np.zeros_like(every))
        for here in _chunks(len(q), CHOSEN):
            bits = np.tile(start, (here.stop - here.start, 1))
            for j in range(k):
                values, which = np.unique(q[here, j], return_inverse=True)
                pairs = np.broadcast_to(values[:, None], (len(values), count))
                bits += self.tables.bits(pairs, np.broadcast_to(every * k + j, pairs.shape))[which]
            h[here] = bits.argmin(1)
        return h

    # -- parts ---------------------------------------------------------------------------------------

    def _items(self, data: Any) -> Array:
        """The data, checked: uint8 images or float32 points."""
        shape = self.config.shape
        wanted = f"(n, {', '.join(map(str, shape))})"
        if self.config.images:
            items = check_image_set(data)
        else:
            items = as_array(data, f"this model codes numbers {wanted}")
            if items.dtype.kind not in "fiu":
                raise UnsupportedInputError(f"this model codes numbers {wanted}, not {items.dtype}")
        if items.ndim != 1 + len(shape) or items.shape[1:] != shape:
            raise UnsupportedInputError(
                f"this model codes items of shape {wanted}, not {items.shape}: reshape them, or train a model on them"
            )
        if not len(items):
            raise InputError("there is nothing to code: the set is empty")
        if not self.config.images:
            with np.errstate(over="ignore"):
                items = items.astype(np.float32)
            if not np.isfinite(items).all():
                raise InputError("the points hold NaN or infinite values; replace them first")
        return items

    def _tensor(self, items: Array) -> Tensor:
        x = torch.from_numpy(np.ascontiguousarray(items))
        return x.unsqueeze(1).float() / 255 if self.config.images else x

    def _index(self, h: npt.NDArray[np.int32]) -> Array:
        """(n,) clusters -> (n, k): which table each code uses."""
        k = self.config.codes
        kind = np.uint8 if self.config.clusters * k <= 256 else np.uint32
        if self.config.clusters == 1:
            return np.broadcast_to(np.arange(k, dtype=kind), (len(h), k))
        return h[:, None].astype(kind) * kind(k) + np.arange(k, dtype=kind)

    def _symbols(self, container: Container, limits: Limits) -> npt.NDArray[np.int32]:
        """q (n, k). Raises DamagedError for what no encoder wrote, LimitError."""
        shape, sections = container.shape, container.sections
        if (
            container.items is not None or container.config or set(sections) != {"codes"}
            or shape[1:] != self.config.shape or not shape or shape[0] < 1
        ):  # fmt: skip
            raise DamagedError("not the header of a set of items of this model")
        n = shape[0]
        if n * self.least_bits > 8 * len(sections["codes"]) + 64:
            raise DamagedError(f"{len(sections['codes'])} bytes cannot hold the codes of {n} items")
        limits.check_items(n)
        limits.check_memory(n * self.config.codes * 24)
        message = Message.from_bytes(sections["codes"])
        try:
            h = np.zeros(n, np.int32)
            if self.config.clusters > 1:
                h = message.pop(self.clusters, np.zeros(n, np.uint8))
            q = message.pop(self.tables, self._index(h))
        except CodingError:
            raise DamagedError("the file holds fewer codes than its header says") from None
        if not message.empty:
            raise DamagedError("the file holds more codes than its header says")
        return q


def _chunks(n: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices of at most `size` that cover n items."""
    for first in range(0, n, size):
        yield slice(first, min(n, first + size))
