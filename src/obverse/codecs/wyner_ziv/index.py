"""Files of Wyner-Ziv codecs that send one index u of K for each sample: what the learned and the grid codec share.

    sender     x ──► u ──┬► marginal model:     ANS message with q(u)            ──► file
                         └► conditional model:  Slepian-Wolf code, near H(U|Y)   ──► file
    receiver   file (and q(u|y)) ──► u ;  u, y ──► x̂

A conditional file notices by its checksums that the side information is not good enough. A marginal file is read
without y, so there the receiver compares: if the indices are much less likely under q(u|y) than they were in
training, half way to what an unrelated y would give, then y is not the one that belongs to the file.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codec import SideInformed
from obverse.codecs.model_codec import ModelCodec, from_model
from obverse.codecs.wyner_ziv.recipe import CONDITIONAL, MARGINAL
from obverse.codecs.wyner_ziv.side_information import FAR, SideInformation
from obverse.coding import Message, TableFamily
from obverse.coding.slepian_wolf import SlepianWolfCode
from obverse.container import Container, Limits
from obverse.data.arrays import as_array
from obverse.errors import (
    DamagedError,
    InputError,
    MessageEmptyError,
    SideInformationError,
    UnsupportedInputError,
)
from obverse.fields import Options

CHUNK = 8192  # samples that pass through the networks at once
TYPES = ("<f4", "<f8")
PRECISION = 16  # of the table of q(u)
SURE = 6.0  # standard errors by which a mean must be off before it is called so


@dataclass(frozen=True)
class Match:
    """How likely the indices are, given y: mean and standard deviation of log q(u|y) in nats over held-out pairs,
    and its mean where y belongs to other samples."""

    mean: float
    deviation: float
    unrelated: float

    def refuses(self, mean: float, n: int) -> bool:
        """Whether a mean over n samples shows another y than in training: below half the way to an unrelated
        one, and by more than chance explains."""
        off = self.mean - mean
        return off > max(0.5 * (self.mean - self.unrelated), SURE * self.deviation / math.sqrt(n))


@dataclass(frozen=True)
class IndexModel:
    """What the configuration of such a model holds beside its networks or tables.

    low, high: of each component of x in training. frequencies: the integer table of q(u). code: the Slepian-Wolf
    code's state, None for a marginal model.
    """

    objective: str
    dimensions: int
    indices: int
    side: SideInformation
    low: tuple[float, ...]
    high: tuple[float, ...]
    frequencies: tuple[int, ...]
    match: Match
    code: dict[str, Any] | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"side": self.side.as_dict()}

    @classmethod
    def from_dict(cls, values: Any) -> IndexModel:
        """What `as_dict` gave. Raises InputError for anything else."""
        try:
            if set(values) != {field.name for field in fields(cls)}:
                raise InputError("its fields are not those of a Wyner-Ziv model")
            match = Match(**{key: float(value) for key, value in values["match"].items()})
            model = cls(
                str(values["objective"]), int(values["dimensions"]), int(values["indices"]),
                SideInformation.from_dict(values["side"]), tuple(map(float, values["low"])),
                tuple(map(float, values["high"])), tuple(map(int, values["frequencies"])), match, values["code"],
            )  # fmt: skip
        except (TypeError, KeyError, ValueError, AttributeError, InputError) as error:
            raise InputError(f"the model's configuration is damaged: {error}") from None
        sizes = {len(model.low), len(model.high), model.dimensions}
        if (
            len(sizes) != 1
            or len(model.frequencies) != model.indices
            or min(model.frequencies) < 1
            or sum(model.frequencies) != 1 << PRECISION
            or ((model.code is None) != (model.objective == MARGINAL))
        ):
            raise InputError("the model's configuration is damaged: its sizes do not agree")
        return model


class IndexCodec(ModelCodec, SideInformed):
    """A Wyner-Ziv codec of one index a sample. A subclass says how x becomes u, and what y says."""

    @from_model
    def index_model(self) -> IndexModel:
        return IndexModel.from_dict(self.model.config.get("index_model"))

    @from_model
    def code(self) -> SlepianWolfCode:
        code = SlepianWolfCode.from_state(self.index_model.code or {})
        if code.alphabet != self.index_model.indices:
            raise InputError(
                "the model's configuration is damaged: its code has other indices than its model"
            )
        return code

    @from_model
    def table(self) -> TableFamily:
        """q(u): one table of integers."""
        return TableFamily.from_frequencies([self.index_model.frequencies], [0], PRECISION, escape=False)

    # -- what a subclass is --------------------------------------------------------------------------

    @abstractmethod
    def quantise(self, x: np.ndarray) -> np.ndarray:
        """x (n, d) float64 -> u (n,) int64."""

    @abstractmethod
    def log_conditional(self, y: np.ndarray) -> np.ndarray:
        """Checked y (m, c) -> log q(u|y) in nats, (m, K) float32."""

    @abstractmethod
    def estimate(self, u: np.ndarray, y: np.ndarray) -> np.ndarray:
        """u (m,), checked y (m, c) -> x̂ (m, d)."""

    # -- the contract --------------------------------------------------------------------------------

    def encode(self, data: Any, options: Options | None = None) -> Container:
        """(n,) or (n, d) float32 or float64, d as in training. Raises InputError; never sees y."""
        x = self._samples(data)
        u = self.indices_of(x)
        if self.index_model.objective == CONDITIONAL:
            coded = self.code.encode(u)
        else:
            message = Message()
            message.push(u.astype(np.int32), self.table)
            coded = message.to_bytes()
        kind = 0 if x.dtype == np.float32 else 1
        return Container(
            self.id, {0: kind}, x.shape, {"u": coded}, self.fingerprint, (options or Options()).kept
        )

    def decode(
        self, container: Container, limits: Limits | None = None, *, side_info: Any = None
    ) -> np.ndarray:
        """x̂ in the shape and type that were encoded.

        side_info: y of the same samples, (n,) or (n, c). Raises SideInformationError if it does not fit the file,
        or (marginal models) the indices do not fit it; UnrecoverableBlockError, naming the block, if a
        Slepian-Wolf coded block cannot be recovered with it.
        """
        limits = Limits.of(limits)
        model = self.index_model
        kind, shape, sections = container.config.get(0), container.shape, container.sections
        if (
            container.items is not None or set(container.config) != {0} or type(kind) is not int
            or not 0 <= kind < len(TYPES) or set(sections) != {"u"}
            or len(shape) not in (1, 2) or min(shape) < 1
            or (shape[1] if len(shape) == 2 else 1) != model.dimensions
        ):  # fmt: skip
            raise DamagedError("not the header of a Wyner-Ziv file of this model")
        n = shape[0]
        limits.check_memory(n * (32 + 16 * model.dimensions))
        if side_info is None:
            raise SideInformationError("this codec decodes with side information only: pass side_info")
        y = model.side.check(side_info, n)
        u = self._indices(sections["u"], y)
        x = np.empty((n, model.dimensions), TYPES[kind])
        likely = 0.0
        for here in chunks(n):
            x[here] = self.estimate(u[here], y[here])
            if model.objective == MARGINAL:
                likely += float(np.take_along_axis(self.log_conditional(y[here]), u[here, None], 1).sum())
        if model.objective == MARGINAL and model.match.refuses(likely / n, n):
            raise SideInformationError(
                f"the side information does not belong to this file: its indices have log q(u|y) = {likely / n:.2f} "
                f"nats on average, in training it was {model.match.mean:.2f}"
            )
        return x.reshape(shape)

    def rate_bits(self, data: Any, options: Options | None = None) -> npt.NDArray[np.float64]:
        """(n,) bits of each sample: what q(u) gives it; of a Slepian-Wolf code, whose rate is fixed, the same each."""
        x = self._samples(data)
        if self.index_model.objective == CONDITIONAL:
            return np.full(len(x), 8 * self.code.total_bytes(len(x)) / len(x))
        return self.table.bits(self.indices_of(x), np.zeros(len(x), np.uint8))

    def indices_of(self, x: np.ndarray) -> np.ndarray:
        """x (n,) or (n, d) -> u (n,) int64, in pieces that fit the memory."""
        columns = x.reshape(len(x), -1)
        u = np.empty(len(x), np.int64)
        for here in chunks(len(x)):
            u[here] = self.quantise(columns[here].astype(np.float64))
        return u

    def _indices(self, coded: bytes, y: np.ndarray) -> np.ndarray:
        if self.index_model.objective == CONDITIONAL:
            return self.code.decode(coded, len(y), lambda first, last: self.log_conditional(y[first:last]))
        message = Message.from_bytes(coded)
        try:
            u = message.pop(self.table, np.zeros(len(y), np.uint8))
        except MessageEmptyError:
            raise DamagedError("the file holds fewer indices than its header says") from None
        if not message.empty:
            raise DamagedError("the file holds more indices than its header says")
        return u.astype(np.int64)

    def _samples(self, data: Any) -> np.ndarray:
        """The data, float32 or float64, checked against what the model was trained with."""
        model = self.index_model
        x = as_array(data)
        wanted = "(n,)" if model.dimensions == 1 else f"(n, {model.dimensions})"
        if x.dtype.kind not in "fiu" or x.ndim not in (1, 2) or (x.shape[1:] or (1,)) != (model.dimensions,):
            raise UnsupportedInputError(
                f"this model codes numbers of shape {wanted}, not {x.dtype} of shape {x.shape}; reshape them, or train "
                "a model on pairs of this shape"
            )
        if x.size == 0:
            raise InputError("there is nothing to code: the array is empty")
        if not np.isfinite(x).all():
            raise InputError("the array holds NaN or infinite values; replace them first")
        low, high = np.array(model.low), np.array(model.high)
        columns = x.reshape(len(x), -1)
        reach = FAR * (high - low)
        if (columns < low - reach).any() or (columns > high + reach).any():
            raise InputError(
                "the data lies far outside of what the model was trained with: other units, or another model's data?"
            )
        return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)


def chunks(n: int) -> Iterator[slice]:
    """Slices of at most CHUNK that cover n samples."""
    for first in range(0, n, CHUNK):
        yield slice(first, min(n, first + CHUNK))
