"""Codec ids -> codec classes. Nothing is imported before it is opened.

A third party registers a codec through an entry point of its own package (docs/how-to/add-a-codec.md):

    [project.entry-points."obverse.codecs"]
    my-codec = "my_package:MyCodec"
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from obverse.codec import Codec
from obverse.errors import UnknownCodecError

GROUP = "obverse.codecs"

BUILT_IN = {
    "image": ("obverse.codecs.image.codec:ImageCodec", "photos, lossy, any rate from one learned model"),
    "image-lossless": (
        "obverse.codecs.image_lossless.codec:ImageLosslessCodec",
        "any 8-bit image or 16-bit grayscale one, lossless",
    ),
    "vae": (
        "obverse.codecs.vae.codec:VaeCodec",
        "sets of small images, lossless, bits back from a latent variable",
    ),
    "features": ("obverse.codecs.features.codec:FeatureCodec", "feature vectors of a frozen encoder, lossy"),
    "flow": ("obverse.codecs.flow.codec:FlowCodec", "sets of 32x32 colour images, lossless, an integer flow"),
    "invariant": (
        "obverse.codecs.invariant.codec:InvariantCodec",
        "sets of points or small gray images, what tasks need and no more",
    ),
    "plug-and-play": (
        "obverse.codecs.plug_and_play.codec:PlugAndPlayCodec",
        "what a generative model of yours encodes, or posteriors, lossy, any rate",
    ),
    "split": (
        "obverse.codecs.split.codec:SplitCodec",
        "small colour images to what a classifier needs, for split computing",
    ),
    "stereo": (
        "obverse.codecs.stereo.codec:StereoCodec",
        "the right view of a pair, lossy, decoded with the left view",
    ),
    "wyner-ziv": (
        "obverse.codecs.wyner_ziv.learned:WynerZivCodec",
        "numbers or vectors with side information at the decoder, one learned index each",
    ),
    "wyner-ziv-grid": (
        "obverse.codecs.wyner_ziv.grid:WynerZivGridCodec",
        "numbers with side information at the decoder, the best scalar design without networks",
    ),
    "wyner-ziv-trellis": (
        "obverse.codecs.wyner_ziv.trellis:WynerZivTrellisCodec",
        "numbers with side information at the decoder, near the Wyner-Ziv limit",
    ),
}


@dataclass(frozen=True)
class CodecEntry:
    """A codec that can be opened: its id, what it is for, and the package that brings it."""

    id: str
    summary: str
    package: str


def _third_party() -> list[EntryPoint]:
    return [entry for entry in entry_points(group=GROUP) if entry.name not in BUILT_IN]


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module


def _summary(entry: EntryPoint) -> str:
    if entry.dist is None or "Summary" not in entry.dist.metadata:
        return ""
    return entry.dist.metadata["Summary"]


def list_codecs() -> list[CodecEntry]:
    """All codecs that can be opened here, by id; built-in ones cannot be replaced."""
    entries = [CodecEntry(name, summary, "obverse") for name, (_, summary) in BUILT_IN.items()]
    for entry in _third_party():
        entries.append(CodecEntry(entry.name, _summary(entry), _package(entry)))
    return sorted(entries, key=lambda entry: (entry.id, entry.package))


def open_codec(name: str) -> Codec:
    """The codec of this id, or that of a trained model given by its name or folder, ready to use.

    Raises UnknownCodecError, listing the codecs that there are, and InputError for a damaged model.
    """
    from obverse.zoo import CONFIG, load_model, load_model_from, model_names

    if name not in BUILT_IN and (Path(name) / CONFIG).is_file():
        model = load_model_from(Path(name))
    elif name not in BUILT_IN and name in model_names():
        model = load_model(name)
    elif name not in BUILT_IN and Path(name).is_dir():
        raise UnknownCodecError(
            f"the folder {name} holds no model (there is no {CONFIG} in it): name another one"
        )
    else:
        return _open(name)
    codec = _open(model.codec)
    if not codec.takes_model:
        raise UnknownCodecError(f"the codec {codec.id!r} takes no model but its own; {name} cannot be used")
    return type(codec)(model)  # type: ignore[call-arg]


@cache
def _open(codec_id: str) -> Codec:
    if codec_id in BUILT_IN:
        module, _, name = BUILT_IN[codec_id][0].partition(":")
        codec = getattr(importlib.import_module(module), name)()
    else:
        codec = _open_third_party(codec_id)
    if not isinstance(codec, Codec) or getattr(codec, "id", None) != codec_id:
        raise UnknownCodecError(f"the entry point {codec_id!r} does not lead to a Codec of that id")
    return codec


def _open_third_party(codec_id: str) -> object:
    found = [entry for entry in _third_party() if entry.name == codec_id]
    if not found:
        known = ", ".join(dict.fromkeys(entry.id for entry in list_codecs()))
        raise UnknownCodecError(
            f"there is no codec {codec_id!r} here (there are: {known}); install the package that brings it"
        )
    if len(found) > 1:
        packages = " and ".join(sorted(map(_package, found)))
        raise UnknownCodecError(f"{packages} both bring a codec {codec_id!r}; uninstall one of them")
    try:
        return found[0].load()()
    except (ImportError, AttributeError, TypeError) as error:  # not there, or not a whole Codec
        raise UnknownCodecError(
            f"the codec {codec_id!r} of the package {_package(found[0])} cannot be loaded: {error}"
        ) from error
