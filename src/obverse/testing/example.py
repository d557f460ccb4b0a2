"""An example of what a codec codes, and what is found out about it once for all checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codec import Codec, SideInformed
from obverse.container import Container, read, write
from obverse.registry import open_codec
from obverse.zoo import StoredModel


class ConformanceError(AssertionError):
    """A codec does not keep a promise of `docs/how-to/add-a-codec.md`."""


@dataclass(frozen=True)
class Example:
    """Data for one codec.

    Attributes:
        codec: its id.
        name: of the example; its golden file is called so.
        data: makes what `encode` takes; the same at each call, on each machine.
        options: names and values for `encode`.
        side_info: makes the side information, for a codec that decodes with it.
        model: makes the trained model, where it is not the shipped one; or the name of a shipped one.
        tolerance: by how much decoded values may differ between machines, where floats make them; 0: not at all.
        share: of the values, how many may differ by more (of what hangs on a comparison).
        error: by how much what a codec without loss decodes may differ from the data, where its options allow that.
        golden: whether a file of it is kept.
        rate_noise: bits by which an item's `rate_bits` may differ, standard deviation, where rates are drawn.
    """

    codec: str
    name: str
    data: Callable[[], Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    side_info: Callable[[], Any] | None = None
    model: Callable[[], StoredModel] | str | None = None
    tolerance: float = 0.0
    share: float = 0.0
    error: float = 0.0
    golden: bool = True
    rate_noise: float = 0.0

    def __str__(self) -> str:
        return f"{self.codec}: {self.name}"

    def open(self) -> Codec:
        """The codec, with the example's model."""
        if isinstance(self.model, str):
            return open_codec(self.model)
        codec = open_codec(self.codec)
        return codec if self.model is None else type(codec)(self.model())

    def same(self, a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
        """Whether two decodings agree as far as machines must."""
        if a.shape != b.shape or a.dtype != b.dtype:
            return False
        if not self.tolerance:
            return bool(np.array_equal(a, b))
        wanted = b.astype(np.float64)
        apart = np.abs(a.astype(np.float64) - wanted)
        near = self.tolerance * (np.maximum(1, np.abs(wanted)) if b.dtype.kind == "f" else 1)
        return float((apart > near).mean()) <= self.share


class Opened:
    """An example with its codec, file and decoding, made at first use."""

    def __init__(self, example: Example):
        self.example = example

    def require(self, holds: object, promise: str) -> None:
        """Check a promise.

        Raises:
            ConformanceError: naming the example, unless it holds.
        """
        if not holds:
            raise ConformanceError(f"{self.example}: {promise}")

    @cached_property
    def codec(self) -> Codec:
        return self.example.open()

    @cached_property
    def data(self) -> Any:
        return self.example.data()

    @cached_property
    def options(self) -> Any:
        return self.codec.options(**self.example.options)

    @cached_property
    def side(self) -> dict[str, Any]:
        """What `decode` takes beside container and limits."""
        return {} if self.example.side_info is None else {"side_info": self.example.side_info()}

    @cached_property
    def container(self) -> Container:
        return self.codec.encode(self.data, self.options)

    @cached_property
    def file(self) -> bytes:
        return write(self.container)

    @cached_property
    def decoded(self) -> npt.NDArray[Any]:
        return self.decode(read(self.file))

    def decode(self, container: Container, limits: Any = None) -> npt.NDArray[Any]:
        """The array that the codec decodes."""
        decoded = self.codec.decode(container, limits, **self.side)
        self.require(hasattr(decoded, "__array__"), "decode returns an array, or what NumPy makes one of")
        return np.asarray(decoded)

    @property
    def installed(self) -> bool:
        """Whether `decompress` finds the model by itself."""
        return self.example.model is None or isinstance(self.example.model, str)

    @property
    def payload(self) -> int:
        """Bytes of sections and items, without what is around them."""
        return sum(map(len, self.container.sections.values())) + sum(map(len, self.container.items or ()))

    @property
    def side_informed(self) -> bool:
        return isinstance(self.codec, SideInformed)
