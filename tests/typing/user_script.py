"""A program as a user writes it: `mypy --strict` accepts it, and it runs (test_user_script.py)."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import obverse
from obverse.coding import Message, TableFamily
from obverse.container import Header, ItemReader, read_header
from obverse.errors import DecodeError, InputError, OptionError
from obverse.theory import gaussian_rate_bits


def smallest(photo: npt.NDArray[np.uint8], most: int) -> bytes | None:
    """The photo in at most so many bytes, or None."""
    try:
        packed: bytes = obverse.compress(photo, codec="image", max_bytes=most)
    except (OptionError, InputError):
        return None
    except obverse.ObverseError as error:
        code: int = error.exit_code
        sys.stderr.write(f"{error} ({code})\n")
        return None
    return packed


def each_its_options(images: npt.NDArray[np.uint8]) -> list[bytes]:
    """Options are those of the codec; codecs of other packages take any."""
    return [
        obverse.compress(images, codec="vae-mnist", segment=100),
        obverse.compress(images.astype(np.float32), codec="features", loss=0.1, distortion="l1"),
        obverse.compress(images, codec="somebody-elses", strength=3),
        obverse.compress(images[0], quality=40, metadata={"author": "me"}),
    ]


def whole(path: Path) -> bool:
    """Whether a file of a stranger can be decoded."""
    limits = obverse.Limits(pixels=2**24, memory=2**30)
    try:
        obverse.decompress(path, limits=limits)
    except DecodeError:
        return False
    return True


def entropy_coded(symbols: npt.NDArray[np.int64]) -> int:
    """Bytes of the symbols 0 to 3 on a message with one table."""
    counts = np.bincount(symbols, minlength=4).astype(float)
    table = TableFamily.categorical(counts + 0.5)
    message = Message()
    message.push(symbols, table)
    return len(message.to_bytes())


def main(folder: Path) -> str:
    photo = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    packed = smallest(photo, 4000)
    if packed is None:
        return "nothing"
    path = folder / "photo.obv"
    path.write_bytes(packed)
    header: Header = read_header(path)
    codec: obverse.Codec = obverse.open_codec(header.codec)
    method: obverse.Method = codec.method
    container: obverse.Container = codec.encode(photo, codec.options())
    ids: list[str] = [entry.id for entry in obverse.list_codecs()]
    limit: float = gaussian_rate_bits(1.0, 0.25)
    bytes_ = entropy_coded(np.zeros(100, np.int64))
    assert ItemReader is not None and container.codec in ids and bytes_ > 0
    return f"{method.id} {whole(path)} {limit:.1f}"
