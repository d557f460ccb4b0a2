"""Codecs as they are measured: items to the bytes of a file, at some settings, and back.

    item ──► encode(item, setting) ──► bytes ──► decode(bytes, item) ──► item, or what a codec makes of it

`ours` makes such a coder of a codec of Obverse, `classical` of JPEG, PNG, WebP, AVIF and JPEG XL. These go through
Pillow, with the settings of a careful user: the slowest WebP method, AVIF without chroma subsampling (which gains PSNR
in RGB), optimised Huffman tables for JPEG. Their qualities cover about 0.1 to 2 bits per pixel on the Kodak photos.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from obverse.codec import Codec, Predicts
from obverse.container import read, write
from obverse.data.deep_images import finished, savable
from obverse.data.images import read_photo
from obverse.errors import CodecNameError, InputError, MissingExtraError, OptionError
from obverse.fields import check_names
from obverse.registry import open_codec

Array = npt.NDArray[Any]
Setting = Mapping[str, float]

EACH, ONE = "each", "one"


@dataclass(frozen=True)
class Coder:
    """A codec to measure.

    Args:
        name: as tables have it.
        suffix: of its files, with the dot.
        settings: those that are measured, as options of `encode`; ({},) for a single one.
        encode: (item, setting) -> the bytes of a file. An item is an image (H, W[, C]), or a set of items (n, ...).
        decode: (bytes, item) -> what came back. The item is what was encoded, for its shape and type alone.
        files: how the items of a set are coded: EACH in a file of its own, or ONE file for all, or both.
        whole: whether an item is a set; then `decode` may return `Scores`.
    """

    name: str
    suffix: str
    settings: tuple[Setting, ...]
    encode: Callable[[Any, Setting], bytes]
    decode: Callable[[bytes, Any], Any]
    files: tuple[str, ...] = (EACH,)
    whole: bool = False

    @property
    def option(self) -> str | None:
        """What its settings vary."""
        return next(iter(self.settings[0]), None)


def setting_label(setting: Setting) -> str:
    """Of a setting, as rows and errors name it: "quality 30"."""
    return " ".join(f"{name} {value:g}" for name, value in setting.items())


def ours(codec: str | Codec, values: Sequence[float] | None = None, name: str | None = None) -> Coder:
    """A codec of Obverse.

    Args:
        codec: itself, its id, the name of a trained model, or its folder, with a slash; options that are the same for
            all may follow, as "image:effort=9:tune=eye".
        values: of the option that it is compared at (`Codec.settings`), in place of the usual ones.
        name: as tables have it, that of the codec by default.

    Raises:
        CodecNameError: there is none of this name.
        InputError: values for a codec without such an option.
        OptionError: an option that the codec lacks, or a value that it cannot have; the one that it is compared at, or
            one that goes in its place.
    """
    fixed: dict[str, Any] = {}
    if isinstance(codec, str):
        text, given = split_options(codec)
        made = open_codec(text)
        fixed = _option_values(made, given)
    else:
        made = codec
    settings = made.settings
    if values is not None:
        option = next(iter(settings[0]), None)
        if option is None:
            raise InputError(f"the codec {made.id} has no quality that could be chosen")
        settings = tuple({option: value} for value in values)
    sets = isinstance(made, Predicts) or made.kind.folder
    vectors = made.kind.vectors
    return Coder(
        name or (codec if isinstance(codec, str) else codec.id),
        ".obv",
        settings,
        lambda item, setting: write(made.encode(item, made.options(**fixed | dict(setting)))),
        lambda data, item: np.asarray(made.decode(read(data))),
        files=(ONE,) if vectors else (ONE, EACH) if sets else (EACH,),
        whole=sets or vectors,
    )


def _option_values(codec: Codec, given: Mapping[str, str]) -> dict[str, Any]:
    """Options of a codec, given as texts. Raises OptionError for one that it lacks, or a value that it cannot have."""
    options = codec.method.options_class
    compared = next(iter(codec.settings[0]), None)
    varied = options.one_of if compared in options.one_of else (compared,)
    for name in given:
        if name in varied:
            raise OptionError(
                f"{name} is no option of the codec {codec.id!r} where it is compared, at several values of {compared}: "
                "leave it out"
            )
    known = {
        about.name: about for about in options.described() if about.about.flag and about.name not in varied
    }
    check_names(given, known, f"the codec {codec.id!r}")
    values = {name: known[name].of_text(text) for name, text in given.items()}
    codec.check_options(codec.options(**values))
    return values


def classical(name: str, lossless: bool = False) -> Coder:
    """JPEG, WebP, AVIF or JPEG XL at their qualities; or the lossless ones, PNG among them.

    Args:
        name: of the format; options of its encoder may follow, as "avif:tune=psnr:speed=4" (see PEER_OPTIONS).
        lossless: whether every pixel comes back.

    Raises:
        CodecNameError: an unknown name.
        OptionError: an option that the peer lacks, or a value that it cannot have.
        MissingExtraError: the library of a format is not installed.
    """
    known = LOSSLESS if lossless else LOSSY
    base, given = split_options(name)
    if base not in known:
        kind = "lossless peer" if lossless else "peer codec"
        raise CodecNameError(f"unknown {kind} {base!r}; known are {', '.join(known)}")
    check_library(base)
    suffix, form, qualities, options = known[base]
    options = options | peer_options(base, given)
    settings: tuple[Setting, ...] = tuple({"quality": quality} for quality in qualities) or ({},)

    def encode(item: Array, setting: Setting) -> bytes:
        if item.dtype == np.uint16 and form != "PNG":
            # Pillow would cut it to 8 bits without a word
            raise ValueError("of 16 bits a channel only PNG is compared")
        buffer = io.BytesIO()
        savable(item, form, base).save(buffer, form, **options, **setting)
        return finished(buffer.getvalue(), item, form, level=9)

    return Coder(name, suffix, settings, encode, _decode)


def _decode(data: bytes, item: Array) -> Array:
    """Samples in the mode that was coded; WebP has no gray and returns it as RGB."""
    if item.dtype == np.uint16:
        return read_photo(io.BytesIO(data), exact=True).array()
    mode = Image.fromarray(item).mode
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image if image.mode == mode else image.convert(mode))


# name: suffix, Pillow's format, qualities, options
LOSSY: dict[str, tuple[str, str, tuple[int, ...], dict[str, Any]]] = {
    # Pillow's default chroma subsampling, 4:2:0
    "jpeg": (".jpg", "JPEG", (5, 8, 13, 20, 30, 45, 60, 75, 85, 92), {"optimize": True}),
    "webp": (".webp", "WEBP", (0, 1, 4, 10, 20, 35, 55, 75, 85, 92), {"method": 6}),
    "avif": (
        ".avif", "AVIF", (12, 20, 30, 40, 50, 60, 70, 78, 84, 90), {"speed": 6, "subsampling": "4:4:4"}
    ),
    "jxl": (".jxl", "JXL", (5, 15, 30, 45, 60, 70, 80, 86, 90, 94), {"effort": 7}),
}  # fmt: skip
# AVIF's best quality is not always its lossless one, depending on how Pillow was built: it is measured
LOSSLESS: dict[str, tuple[str, str, tuple[int, ...], dict[str, Any]]] = {
    "png": (".png", "PNG", (), {"optimize": True}),
    "webp": (".webp", "WEBP", (), {"lossless": True, "quality": 100, "method": 6, "exact": True}),
    "jxl": (".jxl", "JXL", (), {"lossless": True, "effort": 7}),
    "avif": (".avif", "AVIF", (), {"quality": 100, "subsampling": "4:4:4"}),
}


# what a peer's encoder may be told beside its quality: the values, as Pillow takes them
PEER_OPTIONS: dict[str, dict[str, tuple[Any, ...]]] = {
    "jpeg": {"subsampling": ("4:4:4", "4:2:2", "4:2:0"), "progressive": (True, False)},
    "webp": {"method": tuple(range(7))},
    "avif": {
        "speed": tuple(range(11)),
        "subsampling": ("4:4:4", "4:2:2", "4:2:0"),
        "tune": ("psnr", "ssim", "iq"),
    },
    "jxl": {"effort": tuple(range(1, 11))},
    "png": {"optimize": (True, False)},
}


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """ "name:option=value:option=value" as the name and the options; a name with a slash is a folder.

    Raises:
        OptionError: a part that is no option.
    """
    name, *parts = re.split(r":(?=[\w-]+=)", text)
    if "/" not in name:  # of the names of folders a colon may be part
        name, *wrong = name.split(":")
        parts = [*wrong, *parts]
    options = {}
    for part in parts:
        option, equals, value = part.partition("=")
        if not (option and equals and value):
            raise OptionError(f"{part!r} is no option in {text!r}: write name:option=value")
        options[option] = value
    return name, options


def peer_options(name: str, given: Mapping[str, str]) -> dict[str, Any]:
    """Options of a peer as Pillow takes them; the dots of 4:4:4 are left out in texts: 444.

    Raises:
        OptionError: for one that it lacks, or a value that it cannot have.
    """
    options: dict[str, Any] = {}
    for option, text in given.items():
        known = PEER_OPTIONS[name]
        if option not in known:
            raise OptionError(f"the peer {name} has no option {option!r}; it has {', '.join(known)}")
        values = {str(value).lower().replace(":", ""): value for value in known[option]}
        if text not in values:
            raise OptionError(f"{option} of the peer {name} is one of {', '.join(values)}, not {text!r}")
        if option == "tune":
            options["advanced"] = {"tune": values[text]}
        else:
            options[option] = values[text]
    return options


def check_library(name: str) -> None:
    """Check that a format can be coded here.

    Raises:
        MissingExtraError: where the library that codes the format `name` is not installed.
    """
    if name == "jxl":
        try:
            import pillow_jxl  # noqa: F401  registers JPEG XL with Pillow
        except ImportError as error:
            raise MissingExtraError(
                "JPEG XL needs the package pillow-jxl-plugin: pip install 'obverse[jxl]'"
            ) from error
    elif name not in ("jpeg", "png") and not features.check(name):
        raise MissingExtraError(
            f"this Pillow was built without {name}: pip install --force-reinstall 'pillow>=11.3'"
        )


Codecs = str | Coder | Iterable[str | Coder] | None
"""Ours that are compared: one, several, or none."""


def all_ours(codecs: Codecs, values: Sequence[float] | None = None) -> list[Coder]:
    """Each of them as `ours` makes it, at the same values."""
    if codecs is None:
        return []
    several = [codecs] if isinstance(codecs, str | Coder) else codecs
    return [ours(codec, values) if isinstance(codec, str) else codec for codec in several]


def distinct(coders: Sequence[Coder]) -> list[Coder]:
    """The coders, in a list.

    Raises:
        InputError: where there is none, or two have one name.
    """
    names = [coder.name for coder in coders]
    if not names or len(set(names)) < len(names):
        raise InputError(f"codecs of different names are compared, not {', '.join(names) or 'none'}")
    return list(coders)
