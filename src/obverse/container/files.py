"""Put a result into place: the whole file, or nothing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from obverse.container.temporary import open_temporary
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


def check_folder(path: str | os.PathLike[str]) -> None:
    """Check that a folder can be made and written to, without making it: before long work whose result goes there.

    Raises:
        OutputError: it cannot be made, or nothing be written into it.
    """
    folder = os.path.abspath(path)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise OutputError(
            f"the folder {os.fspath(path)} cannot be made: {folder} is no folder; write elsewhere"
        )
    try:
        _try_writing(folder)
    except OSError as error:
        raise _output_error(os.path.join(folder, ""), error) from error


def _try_writing(folder: str) -> None:
    """Make a file in it, and remove it. Raises OSError."""
    temporary, file = open_temporary(folder)
    file.close()  # on Windows an open file is not removed
    with suppress(FileNotFoundError):  # from now on, another process may take it for one that was left
        os.unlink(temporary)


def check_file(path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Check that a file can be written, without making it: before long work of which it is the result.

    Raises:
        OutputExistsError: it exists and `overwrite` is False.
        OutputError: the folder is missing, permission denied, ...
    """
    target = os.path.realpath(path) if overwrite else os.fspath(path)
    try:
        _check_target(target, overwrite)
        with suppress(FileNotFoundError):
            os.lstat(target)  # tells a name that is too long
        _try_writing(os.path.dirname(target))
    except (OSError, ValueError) as error:
        raise _output_error(target, error) from error


def write_atomically(
    path: str | os.PathLike[str], data: bytes | Iterable[bytes], overwrite: bool = False
) -> None:
    """Write `data` to `path` so that nobody ever sees half a file, not even after a power cut.

    Args:
        path: of the file.
        data: all of it, or its parts in order, so that they need not be in memory together.
        overwrite: whether a file that is there is replaced.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is False.
        OutputError: the folder is missing, permission denied, disk full, ...
    """
    with new_file(path, overwrite) as file:
        file.writelines([data] if isinstance(data, bytes | bytearray | memoryview) else data)


@contextmanager
def new_file(path: str | os.PathLike[str], overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file to write, which is at `path` when the block has ended, whole.

    The data goes to a temporary file beside the target, reaches the disk, and is then renamed. The
    temporary file is removed whatever happens; that of a process which is killed, by the next that writes there.

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
        temporary, file = open_temporary(os.path.dirname(target))
        try:
            with file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                with suppress(OSError):
                    os.chmod(temporary, stat.S_IMODE(os.stat(target).st_mode))
                if os.name != "nt":  # where it is closed only after it has its name, it is locked until then
                    _put_in_place(temporary, target, overwrite)
            if os.name == "nt":
                _put_in_place(temporary, target, overwrite)
        finally:
            # Missing when it was renamed, or never made.
            with suppress(OSError):
                os.unlink(temporary)
    except (OSError, ValueError) as error:
        raise _output_error(target, error) from error
    _sync_folder(os.path.dirname(target) or os.curdir)


def remove_file(path: str | os.PathLike[str]) -> None:
    """Remove a file, or what a link to one points to, for good; also where there is none.

    Raises:
        OutputError: it cannot be removed.
    """
    target = os.path.realpath(path)
    try:
        with suppress(FileNotFoundError):
            os.unlink(target)
    except OSError as error:
        raise _output_error(target, error) from error
    _sync_folder(os.path.dirname(target))


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
    elif code == errno.ENOENT and os.path.isdir(folder):
        why = f"no files can be made in {folder}; write elsewhere"
    elif code == errno.ENOENT:
        why = f"the folder {folder} does not exist; make it first"
    elif code == errno.ENOTDIR:
        why = f"{folder} is not a folder; write elsewhere"
    elif code == errno.ENAMETOOLONG:
        why = "the name is too long; choose a shorter one"
    else:
        said = error.strerror if isinstance(error, OSError) else None
        why = f"{said or error}; write elsewhere"
    return OutputError(f"cannot write {target}: {why}")
