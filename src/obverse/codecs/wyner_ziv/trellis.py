"""Wyner-Ziv coding near the limit: a trellis quantises, Slepian-Wolf coding sends what y does not tell.

    sender     x ──► trellis ──► points j = low + modulus * m ──┬─► branches of the trellis, raw ──► file
                                                                └─► labels m mod K ──► Slepian-Wolf code ──► file
    receiver   y ──► p(x|y)
               branches ──► low ;  labels, given p(x|y) ──► m ──► j ──► E[x | j, y] = x̂

The binning of Wyner and Ziv (1976) is done by algebra: labels repeat after K points, and of each label only the
bits of a polar code are sent that y leaves open. Yang, Stankovic, Xiong, Zhao, "On multiterminal source code
design" (2008) build TCQ and LDPC codes for a known Gaussian in this way; here p(x|y) is learned from pairs.
"""

from __future__ import annotations

import zlib
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from obverse.codec import SideInformed
from obverse.codecs.model_codec import ModelCodec, from_model
from obverse.codecs.wyner_ziv import TRELLIS
from obverse.codecs.wyner_ziv.labels import Labels
from obverse.codecs.wyner_ziv.mixture import MixturePrior
from obverse.codecs.wyner_ziv.trained_range import TrainedRange
from obverse.coding.slepian_wolf import BLOCK, SlepianWolfCode
from obverse.container import Container, Limits
from obverse.data.arrays import as_array
from obverse.errors import (
    DamagedError,
    InputError,
    SideInformationError,
    UnrecoverableBlockError,
    UnsupportedInputError,
)
from obverse.fields import Options
from obverse.method import Method
from obverse.quantization.trellis import LARGEST, Trellis

TYPES = ("<f4", "<f8")
SAMPLE_BYTES, COMPONENT_BYTES = (
    250,
    80,
)  # memory that a sample takes while it is decoded, and each Gaussian of it
CHUNK = 8192  # samples that pass through the network at once


class WynerZivTrellisCodec(ModelCodec, SideInformed):
    """Scalars x (n,), given side information y (n,) or (n, inputs) at the decoder; squared error."""

    method: ClassVar[Method] = TRELLIS

    def _number(self, name: str, kind: type, low: float, high: float, group: str | None = None) -> Any:
        """A number of the configuration. Raises InputError: models come from others, too."""
        values = self.model.config if group is None else self.model.config.get(group)
        value = values.get(name) if isinstance(values, dict) else None
        if type(value) is not kind or not low <= value <= high:
            raise InputError(f"the model's configuration is damaged: {name} cannot be {value!r}")
        return value

    @from_model
    def trellis(self) -> Trellis:
        return Trellis.of(self._number("states", int, 4, 8192), self._number("dimensions", int, 1, 2))

    @from_model
    def step(self) -> float:
        return self._number("step", float, 1e-300, 1e300)

    @from_model
    def noise(self) -> float:
        return self._number("noise", float, 0.0, 1e300)

    @from_model
    def code(self) -> SlepianWolfCode:
        return SlepianWolfCode.from_state(self.model.config.get("slepian_wolf") or {})

    @from_model
    def prior(self) -> MixturePrior:
        sizes = (("inputs", 0, 2**12), ("components", 1, 64), ("hidden", 0, 1024))
        numbers = [self._number(name, int, low, high, "prior") for name, low, high in sizes]
        return self.network(lambda: MixturePrior(*numbers)).double()

    @from_model
    def trained_range(self) -> TrainedRange | None:
        """Of x in training; None for a model that does not say it, and is not Gaussian."""
        if "x" in self.model.config:
            return TrainedRange.from_dict(self.model.config["x"])
        return TrainedRange.of_gaussian(self.prior)

    def encode(self, data: Any, options: Options | None = None) -> Container:
        """(n,) float32 or float64. Raises InputError; never sees side information."""
        x = scalars_of(data)
        kind = "<f4" if x.dtype == np.float32 else "<f8"
        step, furthest = self.step, float(np.abs(x).max())
        if furthest >= LARGEST * step:
            raise InputError(
                f"the array holds numbers as large as {furthest:.3g}, the model's steps are {step:.3g}: other "
                "units, or another model's data?"
            )
        if self.trained_range is not None:
            self.trained_range.check(x, self.code.alphabet * self.trellis.modulus * step)
        values = x.astype(np.float64) / step
        labels = np.empty(x.size, np.int64)
        states, branches, checks = [], [], []
        for first in range(0, x.size, BLOCK):
            state, path, points = self.trellis.quantise(values[first : first + BLOCK])
            labels[first : first + points.size] = points // self.trellis.modulus % self.code.alphabet
            states.append(state)
            branches.append(np.packbits(path).tobytes())
            checks.append(check_of(points))
        sections = {
            "states": np.array(states, "<u2").tobytes(),
            "branches": b"".join(branches),
            "labels": self.code.encode(labels),
            "checks": np.array(checks, "<u4").tobytes(),
        }
        return Container(
            self.id,
            {0: TYPES.index(kind)},
            (x.size,),
            sections,
            self.fingerprint,
            (options or Options()).kept,
        )

    def decode(
        self, container: Container, limits: Limits | None = None, *, side_info: Any = None
    ) -> np.ndarray:
        """(n,) of the type that was encoded: E[x | j, y], the best guess in squared error.

        side_info: (n,) or (n, inputs) numbers. Raises SideInformationError if it does not fit the file,
        UnrecoverableBlockError if it is not what the model expects.
        """
        limits = Limits.of(limits)
        kind, shape, sections = container.config.get(0), container.shape, container.sections
        if (
            container.items is not None or set(container.config) != {0} or type(kind) is not int
            or not 0 <= kind < len(TYPES) or len(shape) != 1 or shape[0] < 1
            or set(sections) != {"states", "branches", "labels", "checks"}
        ):  # fmt: skip
            raise DamagedError("not the header of a file of this codec")
        n = shape[0]
        limits.check_memory(n * (SAMPLE_BYTES + COMPONENT_BYTES * self.prior.components))
        blocks = -(-n // BLOCK)
        if len(sections["states"]) != 2 * blocks or len(sections["checks"]) != 4 * blocks:
            raise DamagedError("a Wyner-Ziv file with other blocks than its length")
        if len(sections["branches"]) != -(-self.trellis.steps(n) // 8):
            raise DamagedError("a Wyner-Ziv file with other branches than its length")
        y = side_information_of(side_info, n, self.prior.inputs)
        low = self._low_bits(sections, n)
        points, x = self._recover(sections["labels"], y, low)
        checks = np.frombuffer(sections["checks"], "<u4").tolist()
        for block, check in enumerate(checks):
            if check_of(points[block * BLOCK : (block + 1) * BLOCK]) != check:
                raise UnrecoverableBlockError(
                    f"block {block} cannot be recovered: x lies further from what the side information says than "
                    "in the pairs that the model was trained with; give the right side information",
                    block,
                )
        return x.astype(TYPES[kind])

    def rate_bits(self, data: Any, options: Options | None = None) -> npt.NDArray[np.float64]:
        """(n,) bits of each sample, the same each: the rates of trellis and code are fixed, whatever x is."""
        n = scalars_of(data).size
        blocks = -(-n // BLOCK)
        bits = 8 * self.code.total_bytes(n) + self.trellis.steps(n) + 48 * blocks
        return np.full(n, bits / n)

    def _low_bits(self, sections: dict[str, bytes], n: int) -> np.ndarray:
        """(n,) j modulo the trellis' modulus, block after block."""
        low = np.empty(n, np.int64)
        for block, state in enumerate(np.frombuffer(sections["states"], "<u2").tolist()):
            first = block * BLOCK
            size = min(BLOCK, n - first)
            if state >= self.trellis.states:
                raise DamagedError("a Wyner-Ziv file with a state that its trellis does not have")
            steps, place = self.trellis.steps(size), self.trellis.steps(first) // 8
            packed = np.frombuffer(sections["branches"], np.uint8, -(-steps // 8), place)
            path = np.unpackbits(packed, count=steps)
            low[first : first + size] = self.trellis.low(state, path, size)
        return low

    @torch.inference_mode()
    def _recover(self, coded: bytes, y: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) points j and (n,) E[x | j, y]."""
        parts = [self.prior(part) for part in torch.from_numpy(y).split(CHUNK)]
        weights, means, scales = (
            torch.cat([getattr(part, name) for part in parts]).numpy()
            for name in ("weights", "means", "scales")
        )
        labels = Labels(
            weights, means, scales, low, self.trellis.modulus, self.step, self.noise,
            self.code.alphabet,
        )  # fmt: skip
        found = self.code.decode(coded, len(low), labels.log_q)
        points = labels.points(found)
        return points, labels.expectation(points)


def check_of(points: np.ndarray) -> int:
    """A checksum of whole points: labels alone repeat."""
    return zlib.crc32(points.astype("<i8").tobytes())


def scalars_of(data: Any) -> np.ndarray:
    """(n,) float32 or float64, finite. Raises InputError."""
    x = as_array(data)
    if x.dtype.kind not in "fiu":
        raise UnsupportedInputError(
            f"this codec codes real numbers, not {x.dtype}; convert x to float32 or float64"
        )
    if x.ndim != 1:
        raise UnsupportedInputError(
            f"this codec codes lists of numbers (n,), not an array of shape {x.shape}; reshape x, and y with it"
        )
    if x.size == 0:
        raise InputError("there is nothing to code: the array is empty")
    if not np.isfinite(x).all():
        raise InputError("the array holds NaN or infinite values; replace them first")
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)


def side_information_of(side_info: Any, n: int, inputs: int) -> np.ndarray:
    """(n, inputs) float64. Raises SideInformationError."""
    if side_info is None:
        raise SideInformationError("this codec decodes with side information only: pass side_info")
    try:
        y = as_array(side_info)
    except InputError as error:
        raise SideInformationError(f"the side information cannot be used: {error}") from None
    if y.dtype.kind not in "fiub":
        raise SideInformationError(f"side information must be numbers, not {y.dtype}")
    y = y.reshape(-1, 1) if y.ndim == 1 else y
    if y.shape != (n, inputs):
        raise SideInformationError(
            f"the side information has shape {np.shape(side_info)}; this file and its model need ({n}, {inputs})"
        )
    if not np.isfinite(y).all():
        raise SideInformationError("the side information holds NaN or infinite values")
    return y.astype(np.float64)
