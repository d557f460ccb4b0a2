"""What codecs with one trained model share: the model, its fingerprint, and its tensors by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from obverse.codec import Codec
from obverse.container.header import Header
from obverse.errors import (
    CodingError,
    DecodeError,
    ExportError,
    InputError,
    LimitError,
    ModelError,
    WrongModelError,
)
from obverse.torch_settings import known_settings
from obverse.zoo import StoredModel, load_model

if TYPE_CHECKING:
    from torch import Tensor, nn

    Network = TypeVar("Network", bound=nn.Module)

Read = TypeVar("Read")


@contextmanager
def reading_model(name: str) -> Iterator[None]:
    """Around reading a stored model: whatever is wrong there becomes a ModelError that names it."""
    from safetensors import SafetensorError

    try:
        yield
    except (ModelError, WrongModelError):
        raise
    except (
        ExportError, InputError, DecodeError, LimitError, CodingError, SafetensorError, LookupError, ValueError,
        TypeError, AttributeError, ArithmeticError, RuntimeError,
    ) as error:  # fmt: skip
        raise ModelError(
            f"the model {name} is damaged or of another codec: {error}; make or install it again"
        ) from error


def from_model(read: Callable[[Any], Read]) -> cached_property[Read]:
    """A cached property of a codec that reads its model. Raises ModelError for whatever is wrong there."""

    @wraps(read)
    def checked(codec: Any) -> Read:
        with known_settings(), reading_model(codec.model.name if codec.model else "none"):
            return read(codec)

    return cached_property(checked)


def part_of(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """Those whose names begin with `part` and a dot, by the rest of their names."""
    return {
        name.removeprefix(f"{part}."): tensor
        for name, tensor in tensors.items()
        if name.startswith(f"{part}.")
    }


def loaded(make: Callable[[], Network], tensors: dict[str, Tensor], part: str | None, name: str) -> Network:
    """The module for inference, with the tensors of this part, or all.

    A configuration may ask for more than memory holds. So sizes are compared with those of the tensors, which are
    there, before the module is made.

    Args:
        make: makes the module. It makes tensors with `empty`, `zeros`, `ones` and `full` and layers of torch, and does
            not compute: of a sum or a product on its "meta" device torch imports its compilers, for a second.
        tensors: of the model, by name.
        part: the first part of their names; None for all.
        name: of the model, as errors say it.

    Raises:
        ModelError: when they do not fit.
    """
    import torch

    wanted = tensors if part is None else part_of(tensors, part)
    try:
        with torch.device("meta"):
            outline = {key: value.shape for key, value in make().state_dict().items()}
        apart = {
            key
            for key in outline.keys() | wanted.keys()
            if outline.get(key) != getattr(wanted.get(key), "shape", None)
        }
        if apart:
            raise RuntimeError(f"missing, unknown, or of another size: {', '.join(sorted(apart)[:9])}")
        module = make()
        module.load_state_dict(wanted)
    except RuntimeError as error:
        raise ModelError(
            f"the model {name} has no whole {part or 'network'} ({error}); make or install it again"
        ) from None
    return module.eval().requires_grad_(False)


class ModelCodec(Codec):
    """A codec that codes with one trained model: the shipped one, or the one that it was made with.

        StoredModel ──► weights ──► tensors "part.name" ──► tensors(part) ──► network(make, part)

    With none given, the first that the declaration names. The weights are read at first use.

    Attributes:
        parts: names of tensors, or what they begin with, up to the first dot and with it; None where whoever reads
            them checks the names.
    """

    parts: ClassVar[frozenset[str] | None] = None

    def __init__(self, model: StoredModel | None = None):
        self._given = model

    @cached_property
    def model(self) -> StoredModel:
        """Raises ModelError when it is not installed."""
        return self._given or load_model(self.method.models[0])

    @property
    def fingerprint(self) -> bytes:
        return self.model.fingerprint

    @from_model
    def weights(self) -> dict[str, Tensor]:
        """All tensors of the model by their whole names."""
        from safetensors.torch import load

        tensors: dict[str, Tensor] = load(self.model.weights)
        if self.parts is not None:
            unknown = sorted(n for n in tensors if not {n, n.partition(".")[0] + "."} & self.parts)
            if unknown:
                raise InputError(f"it has tensors that it should not have: {', '.join(unknown[:9])}")
        return tensors

    def tensors(self, part: str) -> dict[str, Tensor]:
        """Those whose names begin with `part` and a dot, by the rest of their names."""
        return part_of(self.weights, part)

    def network(self, make: Callable[[], Network], part: str | None = None) -> Network:
        """What `make` makes, with the weights of this part, or all. Raises ModelError when they do not fit."""
        return loaded(make, self.weights, part, self.model.name)

    def check_written_here(self, header: Header) -> None:
        """For files that are read without `codec_of`. Raises WrongModelError for another codec's or model's."""
        if header.codec != self.id or header.model != self.fingerprint:
            written = f"with model {header.model.hex()}" if header.model else "without a model"
            raise WrongModelError(
                f"the file was written by codec {header.codec!r} {written}, but this is model "
                f"{self.fingerprint.hex()} of codec {self.id!r}: name the model that wrote it (--model FOLDER)"
            )


class OptionalModelCodec(Codec):
    """A codec that codes with a stored model where it is made with one, and does without where it is not."""

    def __init__(self, model: StoredModel | None = None):
        self.model = model

    @property
    def fingerprint(self) -> bytes | None:
        return self.model.fingerprint if self.model else None

    def reads(self, model: bytes | None) -> bool:
        """Whether it decodes what the model of this fingerprint wrote: this one, or one that it was converted of."""
        return model == self.fingerprint or (self.model is not None and model in self.model.replaces)
