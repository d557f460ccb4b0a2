"""Put a result into place: the whole file, or nothing."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress

from obverse.errors import OutputError, OutputExistsError


def make_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder, and those above it, where they are not there yet.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"the folder {os.fspath(path)} cannot be made: {error.strerror}; write elsewhere"
        ) from error


def write_atomically(
    path: str | os.PathLike[str], data: bytes | Iterable[bytes], overwrite: bool = False
) -> None:
    """Write `data` to `path` so that nobody ever sees half a file, not even after a power cut.

    The data goes to a temporary file beside the target, reaches the disk, and is then renamed. The
    temporary file is removed whatever happens.

    Args:
        path: of the file.
        data: all of it, or its parts in order, so that they need not be in memory together.
        overwrite: whether a file that is there is replaced.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is False.
        OutputError: the folder is missing, permission denied, disk full, ...
    """
    target = os.fspath(path)
    if not target:
        raise OutputError("the file name to write to is empty; name a file")
    if overwrite and os.path.islink(target):
        # Replace the file that the link points to, not the link.
        target = os.path.realpath(target)
    try:
        _check_target(target, overwrite)
        # Beside the target, because a rename is atomic only within one file system.
        temporary = os.path.join(os.path.dirname(target), f".obverse-{secrets.token_hex(8)}.tmp")
        try:
            _write_through(temporary, data, like=target)
            _put_in_place(temporary, target, overwrite)
        finally:
            # Missing when it was renamed, or never made.
            with suppress(OSError):
                os.unlink(temporary)
    except (OSError, ValueError) as error:
        raise _output_error(target, error) from error
    _sync_folder(os.path.dirname(target) or os.curdir)


def _check_target(target: str, overwrite: bool) -> None:
    """Refuse what must not be replaced: a folder, a device such as /dev/null, an existing file."""
    if not os.path.lexists(target):
        return
    if os.path.isdir(target):
        raise OutputError(f"{target} is a folder; name a file in it")
    if os.path.exists(target) and not os.path.isfile(target):
        raise OutputError(f"{target} is not an ordinary file; name another one")
    if not overwrite:
        raise _exists(target)


def _write_through(temporary: str, data: bytes | Iterable[bytes], like: str) -> None:
    """Write a new file down to the disk, with the permissions of the file `like` if there is one."""
    with open(temporary, "xb") as file:
        file.writelines([data] if isinstance(data, bytes | bytearray | memoryview) else data)
        file.flush()
        os.fsync(file.fileno())
    with suppress(OSError):
        os.chmod(temporary, stat.S_IMODE(os.stat(like).st_mode))


def _put_in_place(temporary: str, target: str, overwrite: bool) -> None:
    if not overwrite:
        # A link fails when the target exists, so of two writers at once only one wins.
        try:
            os.link(temporary, target)
            return
        except FileExistsError:
            raise _exists(target) from None
        except (OSError, NotImplementedError, AttributeError):
            # This file system, or platform, has no hard links.
            if os.path.lexists(target):
                raise _exists(target) from None
    os.replace(temporary, target)


def _sync_folder(folder: str) -> None:
    """Make the new name durable. Best effort: the data is safe, and not every system can do this."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exists(target: str) -> OutputExistsError:
    return OutputExistsError(f"{target} exists already; name another file, or ask to overwrite it")


def _output_error(target: str, error: OSError | ValueError) -> OutputError:
    folder = os.path.dirname(target) or os.curdir
    code = error.errno if isinstance(error, OSError) else None
    if code in (errno.ENOSPC, errno.EDQUOT):
        why = f"no space is left in {folder}; free some, or write elsewhere"
    elif code in (errno.EACCES, errno.EPERM):
        why = f"permission denied in {folder}; write elsewhere, or change its permissions"
    elif code == errno.EROFS:
        why = f"{folder} is read-only; write elsewhere"
    elif code == errno.ENOENT:
        why = f"the folder {folder} does not exist; make it first"
    elif code == errno.ENOTDIR:
        why = f"{folder} is not a folder; write elsewhere"
    elif code == errno.ENAMETOOLONG:
        why = "the name is too long; choose a shorter one"
    else:
        why = f"{error}; write elsewhere"
    return OutputError(f"cannot write {target}: {why}")
