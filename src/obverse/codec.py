"""What a codec is. Start here.

A codec turns data into a container (what an .obv file holds) and back:

    data ──► encode ──► Container ──► bytes ──► Container ──► decode ──► data

Inside, it pushes symbols onto an ANS message and pops them in the mirrored order; see
`obverse.coding.message`. `compress` and `decompress` are the two sentences that everybody uses.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from obverse.container import Container, Header, ItemReader, Items, Limits, read, read_header, write
from obverse.data.kinds import Kind
from obverse.data.loading import limits_in, loading_within
from obverse.data.source import as_source
from obverse.errors import (
    CodecNameError,
    InputError,
    LimitError,
    ModelError,
    OptionError,
    SideInformationError,
    UnknownCodecError,
    WrongModelError,
)
from obverse.method import Method
from obverse.torch_settings import known_settings
from obverse.verify import Verify, verify_file, wants_verification

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from obverse.container.source import SourceLike
    from obverse.container.spool import ItemSpool
    from obverse.data.images import Photo
    from obverse.zoo import StoredModel


class Codec(ABC):
    """One method of compression, as a value without state.

    Attributes:
        method: its declaration, which says what it is called, what it codes and what it needs.
    """

    method: ClassVar[Method]

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Every public method of a codec computes under known settings of torch."""
        super().__init_subclass__(**keywords)
        for name, member in list(vars(cls).items()):
            if isinstance(member, FunctionType) and not name.startswith("_"):
                setattr(cls, name, known_settings()(member))

    def __init__(self, model: StoredModel | None = None):
        """
        Args:
            model: the trained model to code with; the shipped one by default.

        Raises:
            ModelError: where the codec has no models.
        """
        if model is not None:
            raise ModelError(f"the codec {self.id!r} has no trained models: {model.name} cannot be used")

    @property
    def id(self) -> str:
        """The name in the file header and on the command line."""
        return self.method.id

    @property
    def kind(self) -> Kind:
        """How files become what `encode` takes, and what `decode` gives becomes a file."""
        return self.method.kind

    @property
    def fingerprint(self) -> bytes | None:
        """8 bytes that name the trained model, None for a codec without one."""
        return None

    def reads(self, model: bytes | None) -> bool:
        """Whether it decodes what the model of this fingerprint wrote."""
        return model == self.fingerprint

    @classmethod
    def options(cls, **given: Any) -> Any:
        """What `encode` takes as options, made of names and values.

        Raises:
            OptionError: for an option that the codec does not have, or a value that it cannot have.
        """
        return cls.method.options_class.of(cls.method.id, given)

    def check_options(self, options: Any) -> None:  # noqa: B027  # most have nothing to add
        """Check what options ask of this codec and its model, before there are data.

        Args:
            options: what `options` makes.

        Raises:
            OptionError: for what it cannot do with any data.
        """

    @property
    def settings(self) -> tuple[dict[str, float], ...]:
        """Options at which it is compared with others: those of the option that declares such values, or one setting
        without any."""
        for option in self.method.options_class.described():
            if option.about.compared:
                return tuple({option.name: value} for value in option.about.compared)
        return ({},)

    @abstractmethod
    def encode(self, data: Any, options: Any = None) -> Container:
        """Data to a container.

        Args:
            data: what `kind.load` returns, or what a user would pass.
            options: what `options` makes; None for the defaults.

        Raises:
            InputError: for data that the codec does not code.
        """

    @abstractmethod
    def decode(self, container: Container, limits: Limits | None = None) -> Any:
        """The data again, as an array. Never trusts the container.

        Args:
            container: of this codec and model.
            limits: what it may ask for.

        Raises:
            DecodeError: for what no encoder wrote.
        """


class SideInformed(Codec):
    """A codec whose receiver has something that belongs to the data, which the sender never sees."""

    @abstractmethod
    def decode(self, container: Container, limits: Limits | None = None, *, side_info: Any = None) -> Any:
        """As `Codec.decode`, with the side information.

        Raises:
            SideInformationError: where it is missing, or does not belong to the file.
        """


# -- what a codec can do beyond the contract -----------------------------------------------------------------


@runtime_checkable
class Rated(Protocol):
    """Tells what its model predicts that data cost."""

    def rate_bits(self, data: Any, options: Any = None) -> npt.NDArray[np.float64]:
        """(n,) bits for each item of the data; one image is one item. A file's payload is their sum."""


@runtime_checkable
class Predicts(Protocol):
    """Answers a task from the codes, without the data."""

    def predict(self, container: Container, limits: Limits | None = None) -> npt.NDArray[np.float32]:
        """(n, classes) scores, the largest at the class that is predicted."""


@runtime_checkable
class Reconstructs(Protocol):
    """Decodes to codes, and makes of them what they stand for."""

    def reconstruct(self, container: Container, limits: Limits | None = None) -> npt.NDArray[Any]:
        """What was coded, as far as the codes tell, in its shape and range.

        Raises:
            InputError: for a model that cannot.
        """


@runtime_checkable
class Recovers(Protocol):
    """Reads what is whole of a file that was cut or damaged."""

    def recover(self, source: SourceLike, limits: Limits | None = None) -> tuple[npt.NDArray[Any], list[str]]:
        """What is whole, in order, and sentences that say what is missing, and why.

        Raises:
            DecodeError: where nothing can be found.
        """


@runtime_checkable
class DecodesPhotos(Protocol):
    """Keeps what belongs to an image beside its pixels."""

    def decode_photo(self, container: Container, limits: Limits | None = None) -> Photo:
        """`decode`, with what belongs to the image beside its pixels."""


@runtime_checkable
class Previews(Protocol):
    """Decodes a small image in less time than the whole one."""

    def decode_preview(self, container: Container, limits: Limits | None = None) -> Photo:
        """A quarter of the image's size a side, rounded up, each pixel the mean of 4x4 decoded ones."""


@runtime_checkable
class Streams(Protocol):
    """Codes files piece by piece, so that they need not fit into memory."""

    def encode_to(self, data: Any, options: Any, spool: ItemSpool) -> Container:
        """`encode`, with the items in a spool; the container comes without them."""

    def decode_parts(
        self,
        container: Container | Header,
        items: Items,
        limits: Limits | None = None,
        *,
        side_info: Any = None,
    ) -> Iterator[Any]:
        """The bytes of the file that `kind.save` would make of what is decoded, part after part.

        Raises:
            DecodeError: for what no encoder wrote; the last part comes before its checksum is compared.
        """


@runtime_checkable
class Opens(Protocol):
    """Has parts under names, each decoded without the rest."""

    def open(
        self, reader: ItemReader, limits: Limits | None = None, *, side_info: Any = None
    ) -> Mapping[str, Any]:
        """The parts, each decoded when it is asked for."""


# -- the two sentences that everybody uses -------------------------------------------------------------------


def compress(data: Any, codec: str | Path = "image", *, verify: Verify = None, **options: Any) -> bytes:
    """The bytes of an .obv file.

    Args:
        data: an array, a tensor, a Pillow image; or a file: its path, its bytes, or open for reading bytes.
        codec: the id of a codec, the name of a trained model, or its folder, with a slash ("./model") or as a Path.
        verify: decode the file before it is returned, and compare: "quick" or True with this machine's kernels,
            "certain" in whole numbers throughout, False not at all. By default quick for codecs without loss.
        **options: those that the codec declares (for images `quality`, `bpp` or `max_bytes`).

    Raises:
        InputError: for data that the codec does not code; OptionError among them names an option that it does not
            have.
        LimitError: for data that are larger than the limits, or than memory.
        VerificationError: where the file does not decode to the data.
    """
    from obverse.registry import open_codec

    chosen = open_codec(codec)
    verified = wants_verification(chosen.method, verify)
    checked = chosen.options(**options)
    source = as_source(data)
    with loading_within(limits_in(checked)):
        if source is not None:
            data = chosen.kind.load(source)
        try:
            file = write(chosen.encode(data, checked))
        except MemoryError as error:
            raise LimitError("coding this takes more memory than there is: give less at once") from error
    if verified:
        verify_file(chosen, file, verify == "certain", getattr(checked, "base", None))
    return file


def decompress(
    source: SourceLike,
    side_info: Any = None,
    limits: Limits | None = None,
    model: str | Path | None = None,
    preview: bool = False,
) -> Any:
    """The data in an .obv file.

    Args:
        source: its bytes, its path, or itself, open for reading bytes.
        side_info: what the codec decodes with, as data or as a file, if it needs that.
        limits: what a file may ask for; pass Limits.unlimited() for files that you trust.
        model: name or folder of the model that wrote the file; by default it is looked for among those that are
            installed.
        preview: of an image a quarter of its size a side instead, rounded up: each pixel is the mean of 4x4. Codec
            `image` takes less time for it.

    Raises:
        DecodeError: for what cannot be decoded.
        OptionError: for a preview of what is no image.
        SideInformationError: when side information is missing or not wanted.
        WrongModelError: when another model wrote the file.
    """
    limits = Limits.of(limits)
    container = read(source, limits)
    codec = codec_of(container, side_info is not None, model)
    if preview:
        return _preview(codec, container, limits, side_info).array()
    return codec.decode(container, limits, **side_of(codec, side_info))


def open_parts(
    source: SourceLike,
    side_info: Any = None,
    limits: Limits | None = None,
    model: str | Path | None = None,
) -> Mapping[str, Any]:
    """The parts of an .obv file under their names, as the tensors of weights; each is decoded when it is asked for.

        tensors = obverse.open("model.obv")
        tensors["layer.0.weight"]              reads and decodes this one

    Args:
        source: the path of the file, its bytes, or itself, open for reading bytes; or an address such as
            "s3://bucket/model.obv", of which fsspec reads only the bytes that are needed.
        side_info: what the file was coded against, if anything.
        limits: what a part may ask for.
        model: name or folder of the model that wrote the file, where it is not found.

    Raises:
        InputError: for a file that has no parts.
        DecodeError: for what cannot be decoded; also when a part is asked for.
        MissingExtraError: for an address, where fsspec is not installed.
    """
    limits = Limits.of(limits)
    if isinstance(source, str) and "://" in source:
        from obverse.integrations.remote import open_remote

        source = open_remote(source)
    header = read_header(source, limits)
    codec = codec_of(header, side_info is not None, model)
    if not isinstance(codec, Opens):
        raise InputError(f"a file of codec {codec.id!r} has no parts under names: decompress it")
    if not isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        source.seek(0)
    reader = ItemReader(source, limits)
    try:
        return codec.open(reader, limits, **side_of(codec, side_info))
    except BaseException:
        reader.close()
        raise


def _preview(codec: Codec, container: Container, limits: Limits | None, side_info: Any) -> Photo:
    """Of an image, by its codec, or else of its decoded pixels. Raises OptionError for other data."""
    if isinstance(codec, Previews) and side_info is None:
        return codec.decode_preview(container, limits)
    if not isinstance(codec, DecodesPhotos):
        raise OptionError(
            f"codec {codec.id!r} codes no single images: they have previews (--preview), its data none"
        )
    from obverse.data.previews import reduced

    decode: Any = codec.decode_photo
    return reduced(decode(container, limits, **side_of(codec, side_info)))


def decoded_file(
    codec: Codec,
    container: Container,
    target: str,
    limits: Limits | None = None,
    side_info: Any = None,
    background: str | None = None,
    preview: bool = False,
) -> bytes:
    """Decode to the bytes of a file, of the kind that the suffix of its name says.

    .csv is what the codec predicts, .zip what it reconstructs, where it does; else what it decodes.

    Args:
        codec: what `codec_of` found.
        container: what is decoded.
        target: the name of the file.
        limits: what the container may ask for.
        side_info: as for `decompress`.
        background: colour that an image with alpha is put on, for files that have none.
        preview: as for `decompress`.

    Raises:
        OutputError: for a name of a file that the codec's kind of data is not written to, or that does not hold it.
        OptionError: for a background that is no colour, or of no use.
        DecodeError: for what cannot be decoded.
        LimitError: where decoding or writing takes more than the limits.
    """
    codec.kind.check(target)
    suffix = Path(target).suffix.lower()
    decoded: Any
    if preview:
        decoded = _preview(codec, container, limits, side_info)
    elif suffix == ".csv" and isinstance(codec, Predicts):
        decoded = codec.predict(container, limits)
    elif suffix == ".zip" and isinstance(codec, Reconstructs):
        decoded = codec.reconstruct(container, limits)
    else:
        decode = codec.decode_photo if isinstance(codec, DecodesPhotos) else codec.decode
        decoded = decode(container, limits, **side_of(codec, side_info))
    if background is not None:
        from obverse.data.image_writing import over_background
        from obverse.data.images import Photo

        if not isinstance(decoded, Photo):
            raise OptionError(
                f"codec {codec.id!r} has no alpha: a background (--background) has no use for it"
            )
        decoded = over_background(decoded, background)
    with loading_within(Limits.of(limits)):
        return codec.kind.save(decoded, target)


def side_of(codec: Codec, side_info: Any) -> dict[str, Any]:
    """Side information, given as data or as a file, as a keyword of `decode`; none where none is given."""
    if side_info is None:
        return {}
    if codec.method.base:  # which may be compressed itself
        return {"side_info": side_info}
    source = as_source(side_info)
    if source is not None:
        side_info = codec.kind.load(source, "side information")
    return {"side_info": side_info}


def codec_of(
    container: Container | Header, has_side_info: bool = False, model: str | Path | None = None
) -> Codec:
    """The codec that can decode this container, checked for its model and its need of side information."""
    from obverse.registry import codec_of_id, open_model

    try:
        codec = codec_of_id(container.codec)
    except CodecNameError as error:
        raise UnknownCodecError(f"the file cannot be read: {error}") from None
    if codec.method.side_info and not has_side_info:
        raise SideInformationError(
            f"codec {codec.id!r} decodes with side information only: pass side_info (--side-info FILE)"
        )
    if has_side_info and not (codec.method.side_info or codec.method.base):
        raise SideInformationError(f"codec {codec.id!r} has no use for side information: do not pass it")
    if model is not None:
        codec = open_model(model)
    elif container.model and not codec.reads(container.model):
        from obverse.zoo import find_model

        stored = find_model(codec.id, container.model)
        codec = type(codec)(stored) if stored else codec
    if codec.id != container.codec or not codec.reads(container.model):
        raise WrongModelError(_wrong_model(container, codec, model))
    return codec


def _wrong_model(container: Container | Header, codec: Codec, model: str | Path | None) -> str:
    """The sentence for a file and a codec that do not go together."""
    here = f"codec {codec.id!r} here has " + (
        f"model {codec.fingerprint.hex()}" if codec.fingerprint else "no model"
    )
    if container.model is None and model is not None:
        return (
            f"the file was written by codec {container.codec!r} without a model, and brings what it is decoded with: "
            "leave the model out (--model)"
        )
    if container.model is None:
        return f"the file names no model, as files of codec {container.codec!r} do: have it written again"
    return (
        f"the file was written with model {container.model.hex()} of codec {container.codec!r}, but {here}: "
        "name the model that wrote it (--model NAME, or its folder), or install the version of "
        "Obverse that did"
    )
