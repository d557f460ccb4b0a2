"""Codec ids -> codec classes. Nothing is imported before it is opened.

A third party registers a codec through an entry point of its own package:

    [project.entry-points."obverse.codecs"]
    my-codec = "my_package:MyCodec"
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from obverse.codec import Codec
from obverse.errors import UnknownCodecError

GROUP = "obverse.codecs"

BUILT_IN = {
    "image": ("obverse.codecs.image:ImageCodec", "photos, lossy, any rate from one learned model"),
}


@dataclass(frozen=True)
class CodecEntry:
    """A codec that can be opened: its id, what it is for, and the package that brings it."""

    id: str
    summary: str
    package: str


def _third_party() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in BUILT_IN}


def list_codecs() -> list[CodecEntry]:
    """All codecs that can be opened here, by id; built-in ones cannot be replaced."""
    entries = [CodecEntry(name, summary, "obverse") for name, (_, summary) in BUILT_IN.items()]
    for name, entry in _third_party().items():
        package = entry.dist.name if entry.dist else entry.module
        summary = (entry.dist.metadata["Summary"] if entry.dist else "") or ""
        entries.append(CodecEntry(name, summary, package))
    return sorted(entries, key=lambda entry: entry.id)


@cache
def open_codec(codec_id: str) -> Codec:
    """The codec of this id, ready to use. Raises UnknownCodecError, listing those there are."""
    if codec_id in BUILT_IN:
        module, _, name = BUILT_IN[codec_id][0].partition(":")
        codec = getattr(importlib.import_module(module), name)()
    elif codec_id in (others := _third_party()):
        codec = others[codec_id].load()()
    else:
        known = ", ".join(entry.id for entry in list_codecs())
        raise UnknownCodecError(
            f"there is no codec {codec_id!r} here (there are: {known}); install the package that brings it"
        )
    if not isinstance(codec, Codec) or codec.id != codec_id:
        raise UnknownCodecError(f"the entry point {codec_id!r} does not lead to a Codec of that id")
    return codec
