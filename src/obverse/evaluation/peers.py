"""The classical codecs that Obverse is compared with, each as a value: JPEG, WebP, AVIF, JPEG XL.

All go through Pillow, with the settings of a careful user: the slowest WebP method, AVIF without chroma
subsampling (which gains PSNR in RGB), optimised Huffman tables for JPEG. The default qualities cover
about 0.1 to 2 bits per pixel on the Kodak photos.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from PIL import Image, features

from obverse.errors import InputError, MissingExtraError


@dataclass(frozen=True)
class Peer:
    """A codec to measure.

    encode: (RGB image, quality) -> the bytes of a file; decode: those bytes -> RGB image, loaded.
    suffix: of its files, with the dot. qualities: measured by default, from small files to large.
    """

    name: str
    suffix: str
    qualities: tuple[float, ...]
    encode: Callable[[Image.Image, float], bytes]
    decode: Callable[[bytes], Image.Image]


def get_peer(name: str) -> Peer:
    """The peer of that name.

    Raises InputError for an unknown name, MissingExtraError where its library is not installed.
    """
    if name not in _PEERS:
        raise InputError(f"unknown peer codec {name!r}; known are {', '.join(_PEERS)}")
    check_library(name)
    return _PEERS[name]


def check_library(name: str) -> None:
    """Raises MissingExtraError where the library that codes the format `name` is not installed."""
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


def list_peers() -> tuple[str, ...]:
    """Names for `get_peer`, installed or not."""
    return tuple(_PEERS)


def _encode(image: Image.Image, quality: float, *, format: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, quality=quality, **settings)
    return buffer.getvalue()


def _decode(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def _peer(name: str, suffix: str, qualities: tuple[int, ...], format: str, **settings: object) -> Peer:
    return Peer(name, suffix, qualities, partial(_encode, format=format, **settings), _decode)


_PEERS = {
    peer.name: peer
    for peer in (
        # Pillow's default chroma subsampling, 4:2:0
        _peer("jpeg", ".jpg", (5, 8, 13, 20, 30, 45, 60, 75, 85, 92), "JPEG", optimize=True),
        _peer("webp", ".webp", (0, 1, 4, 10, 20, 35, 55, 75, 85, 92), "WEBP", method=6),
        _peer(
            "avif", ".avif", (12, 20, 30, 40, 50, 60, 70, 78, 84, 90), "AVIF", speed=6, subsampling="4:4:4"
        ),
        _peer("jxl", ".jxl", (5, 15, 30, 45, 60, 70, 80, 86, 90, 94), "JXL", effort=7),
    )
}
