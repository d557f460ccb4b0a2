"""What a codec is. Start here.

A codec turns data into a container (what an .obv file holds) and back:

    data ──► encode ──► Container ──► bytes ──► Container ──► decode ──► data

Inside, it pushes symbols onto an ANS message and pops them in the mirrored order; see
`obverse.coding.message`. `compress` and `decompress` are the two sentences that everybody uses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar

from obverse.container import Container, Limits, read, write
from obverse.errors import (
    CodecNameError,
    ModelError,
    SideInformationError,
    UnknownCodecError,
    WrongModelError,
)
from obverse.method import Method

if TYPE_CHECKING:
    from obverse.zoo import StoredModel


class Codec(ABC):
    """One method of compression, as a value without state.

    method: its declaration, which says what it is called, what it codes and what it needs.
    """

    method: ClassVar[Method]

    def __init__(self, model: StoredModel | None = None):
        """model: the trained model to code with; the shipped one by default. Raises ModelError."""
        if model is not None:
            raise ModelError(f"the codec {self.id!r} has no trained models: {model.name} cannot be used")

    @property
    def id(self) -> str:
        """The name in the file header and on the command line."""
        return self.method.id

    @property
    def fingerprint(self) -> bytes | None:
        """8 bytes that name the trained model, None for a codec without one."""
        return None

    @classmethod
    def options(cls, **given: Any) -> Any:
        """What `encode` takes as options, made of names and values. Raises OptionError."""
        return cls.method.options_class.of(cls.method.id, given)

    @abstractmethod
    def encode(self, data: Any, options: Any = None) -> Container:
        """Data as `load` returns it, or as a user would pass it, to a container.

        options: what `options` makes; None for the defaults. Raises InputError.
        """

    @abstractmethod
    def decode(self, container: Container, side_info: Any = None, limits: Limits | None = None) -> Any:
        """The data again, as an array. Raises DecodeError; never trusts the container."""

    @abstractmethod
    def load(self, source: Path | BinaryIO) -> Any:
        """Read a file of the kind that this codec codes. Raises InputError."""

    def load_side_info(self, source: Path | BinaryIO) -> Any:
        """Read a file of side information; the kind that `load` reads unless a codec says otherwise."""
        return self.load(source)

    @abstractmethod
    def save(self, container: Container, target: str, limits: Limits | None = None, **side: Any) -> bytes:
        """Decode to the bytes of a file whose name ends in `target`'s suffix.

        A codec that needs side information is given it as the keyword `side_info`, others are not.
        """


def compress(data: Any, codec: str = "image", **options: Any) -> bytes:
    """The bytes of an .obv file.

    data: an array, a Pillow image, or the path of a file to read. codec: the id of a codec, or the name or
    the folder of a trained model. options: those that the codec declares (for images `quality`, `bpp` or
    `max_bytes`). Raises InputError, of which OptionError names an option that the codec does not have.
    """
    from obverse.registry import open_codec

    chosen = open_codec(codec)
    if isinstance(data, str | Path):
        data = chosen.load(Path(data))
    return write(chosen.encode(data, chosen.options(**options)))


def decompress(
    source: bytes | str | Path,
    side_info: Any = None,
    limits: Limits | None = None,
    model: str | Path | None = None,
) -> Any:
    """The data in an .obv file, given as its bytes or its path.

    side_info: what the codec decodes with, as an array or the path of a file, if it needs that. limits: what
    a file may ask for; pass Limits.unlimited() for files that you trust. model: name or folder of the model
    that wrote the file; by default it is looked for among those that are installed.
    Raises DecodeError for what cannot be decoded, SideInformationError when side information is missing or
    not wanted, WrongModelError when another model wrote the file.
    """
    limits = limits or Limits()
    container = read(Path(source) if isinstance(source, str) else source, limits)
    codec = codec_of(container, side_info is not None, model)
    if isinstance(side_info, str | Path):
        side_info = codec.load_side_info(Path(side_info))
    return codec.decode(container, side_info, limits)


def codec_of(container: Container, has_side_info: bool = False, model: str | Path | None = None) -> Codec:
    """The codec that can decode this container, checked for its model and its need of side information."""
    from obverse.registry import open_codec

    try:
        codec = open_codec(container.codec)
    except CodecNameError as error:
        raise UnknownCodecError(f"the file cannot be read: {error}") from None
    if codec.method.side_info and not has_side_info:
        raise SideInformationError(
            f"codec {codec.id!r} decodes with side information only: pass side_info (--side-info FILE)"
        )
    if has_side_info and not codec.method.side_info:
        raise SideInformationError(f"codec {codec.id!r} has no use for side information: do not pass it")
    if model is not None:
        codec = open_codec(str(model))
    elif container.model != codec.fingerprint and container.model:
        from obverse.zoo import find_model

        stored = find_model(codec.id, container.model)
        codec = type(codec)(stored) if stored else codec
    if codec.id != container.codec or container.model != codec.fingerprint:
        written = container.model.hex() if container.model else "none"
        here = codec.fingerprint.hex() if codec.fingerprint else "none"
        raise WrongModelError(
            f"the file was written with model {written} of codec {container.codec!r}, here is model {here} of "
            f"{codec.id!r}: name the model that wrote it (--model FOLDER), or install the version of Obverse "
            "that did"
        )
    return codec
