"""What `obverse decompress --recover` does with one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from obverse.cli.plan import STDIN
from obverse.container import Container, Limits, read, read_header
from obverse.data.loading import loading_within
from obverse.errors import DamagedError, DecodeError, OptionError, TruncatedError


def recovered(
    source: Path | bytes, target: Path, model: str | None, limits: Limits
) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the output file, and what was lost: nothing, or `missing` (sentences) and `exit_code`.

    Raises OptionError for codecs that recover nothing, DecodeError where nothing can be found.
    """
    from obverse.codec import Recovers, codec_of, decoded_file

    header = read_header(source, limits)
    codec = codec_of(Container(header.codec, header.config, header.shape, {}, header.model), False, model)
    if not isinstance(codec, Recovers):
        raise OptionError(f"files of codec {codec.id!r} are whole or nothing: --recover has no use for them")
    name = f"x{codec.method.suffix}" if target == STDIN else str(target)
    codec.kind.check(name)
    try:
        return decoded_file(codec, read(source, limits), name, limits), {}
    except (TruncatedError, DamagedError) as error:
        damage: DecodeError = error
    if header.items is None:
        raise type(damage)(f"{damage}; it is of one piece, so that nothing of it can be recovered")
    found, missing = codec.recover(source, limits)
    if found.size == 0:
        raise type(damage)(f"nothing of it is whole: {damage}") from None
    lost = {"missing": list(missing) or [str(damage)], "exit_code": damage.exit_code}
    with loading_within(limits):
        return codec.kind.save(found, name), lost
