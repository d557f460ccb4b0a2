"""Whether a file decodes to what was compressed, found out before anyone relies on it.

data ──► compress ──► bytes ──► decode, on this machine ──► the checksum of the samples holds, or VerificationError
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from obverse.certain import certain_sums
from obverse.container import Limits, read
from obverse.errors import DecodeError, OptionError, UnsupportedInputError, VerificationError

if TYPE_CHECKING:
    from obverse.codec import Codec, Streams
    from obverse.container import Container, Items
    from obverse.method import Method

Verify: TypeAlias = bool | Literal["quick", "certain"] | None
_HOW = ("quick", "certain")


def wants_verification(method: Method, verify: Verify) -> bool:
    """Whether a file of this codec is to be decoded again: those without loss, where nothing else is said.

    Raises:
        OptionError: for what `verify` cannot be.
        UnsupportedInputError: where it was asked for, and the codec decodes with side information only.
    """
    if not (verify is None or isinstance(verify, bool) or (isinstance(verify, str) and verify in _HOW)):
        raise OptionError(f"verify is 'quick' (or True), 'certain', or False, not {verify!r}")
    if verify is None:
        return method.lossless and not method.side_info
    if verify and method.side_info:
        raise UnsupportedInputError(
            f"codec {method.id!r} decodes with side information only, which the sender does not have: it cannot verify"
        )
    return bool(verify)


def verify_parts(codec: Streams, container: Container, items: Items, base: Any = None) -> None:
    """As `verify_file`, of a file whose items lie elsewhere: piece after piece.

    Args:
        codec: that wrote it.
        container: without items.
        items: of the file.
        base: what it was coded against, if anything.

    Raises:
        VerificationError: where they do not decode, or to something else.
    """
    try:
        for _ in codec.decode_parts(container, items, Limits.unlimited(), **_side(base)):
            pass
    except DecodeError as error:
        raise _not_kept(error) from error


def verify_file(codec: Codec, file: bytes, certain: bool = False, base: Any = None) -> None:
    """Decode a file that was just written; of a codec without loss, compare the checksum of the samples.

    Args:
        codec: that wrote it.
        file: all its bytes.
        certain: compute the exact networks in int64, which no kernel of floats can get wrong. It takes much longer.
        base: what the file was coded against, if anything.

    Raises:
        VerificationError: where it does not decode, or to something else.
    """
    try:
        with certain_sums() if certain else nullcontext():
            codec.decode(read(file, Limits.unlimited()), Limits.unlimited(), **_side(base))
    except DecodeError as error:
        raise _not_kept(error) from error


def _side(base: Any) -> dict[str, Any]:
    return {} if base is None else {"side_info": base}


def _not_kept(error: DecodeError) -> VerificationError:
    return VerificationError(
        f"what was written does not decode to what was given ({error}), so it is not kept: this machine computes "
        "something else than it should. Please report it, with the version of torch and the processor; "
        "OMP_NUM_THREADS=1 may help"
    )
