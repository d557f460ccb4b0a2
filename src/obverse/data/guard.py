"""One guard for whatever other libraries do with what a user gave: any error of theirs becomes an `InputError`.

What a library raises for a damaged file is not to be listed: struct.error, KeyError, RuntimeError,
NotImplementedError, zlib.error and more, another set with every release.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from obverse.errors import InputError, ObverseError

# errors whose text is a sentence; of others ("'IHDR'", "list index out of range") the kind is part of it
_SPEAKING = (ObverseError, OSError, ValueError, SyntaxError, RuntimeError)


@contextmanager
def guarded(problem: str, remedy: str = "", kind: type[ObverseError] = InputError) -> Iterator[None]:
    """Any error of a library within becomes an InputError, or another kind; those of Obverse pass.

    Args:
        problem: what the error then says, before its cause ("photo.png is damaged").
        remedy: what to do, after it.
        kind: of the error.

    Raises:
        InputError: or the kind given: "problem: cause; remedy"; of a missing file only that it is.
    """
    try:
        yield
    except ObverseError:
        raise
    except Exception as error:
        if isinstance(error, FileNotFoundError) and error.filename:
            raise kind(unreadable(error.filename, error)) from error
        raise kind(f"{problem}: {cause_of(error)}" + (f"; {remedy}" if remedy else "")) from error


def unreadable(name: object, error: Exception) -> str:
    """The sentence for a file that cannot be read; of a file that is missing everything says the same."""
    if isinstance(error, FileNotFoundError):
        return f"there is no file {name}"
    return f"{name} cannot be read: {cause_of(error)}"


def cause_of(error: Exception) -> str:
    """What went wrong in a library, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, MemoryError):
        return "it would take more memory than there is"
    lines = str(error).strip().splitlines()
    kind = type(error).__name__
    if not lines:
        return kind
    return lines[0] if isinstance(error, _SPEAKING) else f"{kind}: {lines[0]}"
