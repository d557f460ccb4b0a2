"""Files that are programs are loaded only where the user says that they are trusted."""

from __future__ import annotations

from obverse.errors import InputError


def require_trust(trusted: bool, file: object, kind: str) -> None:
    """Before a program that somebody wrote is loaded.

    Args:
        trusted: whether the user said so.
        file: its name.
        kind: what it is: "is a TorchScript program".

    Raises:
        InputError: where the user did not; it says what may happen.
    """
    if trusted is not True:
        raise InputError(
            f"{file} {kind}: loading it may run any code of whoever made it, with your rights and on your files. If "
            "you trust them, say so with --trust (trust=True in Python)"
        )
