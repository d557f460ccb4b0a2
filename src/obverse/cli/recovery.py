"""What `obverse decompress --recover` does with one file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from obverse.cli.console import UsageError
from obverse.container import Container, Limits, read, read_header
from obverse.errors import DamagedError, DecodeError, InputError, TruncatedError


def recovered(
    source: Path | bytes, target: Path, model: str | None, limits: Limits
) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the output file, and what was lost: nothing, or `missing` (sentences) and `exit_code`.

    Raises UsageError for codecs that recover nothing, DecodeError where nothing can be found.
    """
    from obverse.codec import codec_of

    header = read_header(source, limits)
    codec = codec_of(Container(header.codec, header.config, header.shape, {}, header.model), False, model)
    recover = getattr(codec, "recover", None)
    if recover is None:
        raise UsageError(f"files of codec {codec.id!r} are whole or nothing: --recover has no use for them")
    name = str(target) if target.suffix else f"x{codec.method.suffix}"
    try:
        return codec.save(read(source, limits), name, limits), {}
    except (TruncatedError, DamagedError) as error:
        damage: DecodeError = error
    array, missing = recover(source, limits)
    if array.size == 0:
        raise type(damage)(f"nothing of it is whole: {damage}") from None
    lost = {"missing": list(missing) or [str(damage)], "exit_code": damage.exit_code}
    kind = Path(name).suffix.lower()
    if kind == ".npy":
        from obverse.data.arrays import npy_bytes

        return npy_bytes(array), lost
    if kind == ".zip":
        from obverse.data.image_sets import check_image_set, png_archive

        return png_archive(check_image_set(array, name)), lost
    if codec.method.folder:
        raise InputError(
            f"{name}: what is whole of a set is written as .npy, or as .zip of PNG files; name it so"
        )
    from obverse.data.images import photo_of, write_photo

    return write_photo(photo_of(array, exact=True), name, exact=True), lost
