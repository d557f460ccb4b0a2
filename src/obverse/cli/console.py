"""What a person sees: sentences and progress on stderr, results on stdout."""

from __future__ import annotations

import json
import math
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TextIO

from obverse.errors import InputError, ObverseError, OutputError

LINES = "\n\t"  # what a table of ours is laid out with


class UsageError(Exception):
    """A wrong command line: what no file and no model can change. Ends with exit code 2."""


def say(message: str) -> None:
    """One line on stderr; lost where stderr is closed."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(printable(message) + "\n")
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


@contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """The sentences of the warnings of some work, which are shown as ever."""
    told: list[str] = []
    before = warnings.showwarning

    def note(message: Warning | str, *rest: Any, **more: Any) -> None:
        if str(message) not in told:
            told.append(str(message))
        before(message, *rest, **more)

    warnings.showwarning = note
    try:
        yield told
    finally:
        warnings.showwarning = before


def out(text: str) -> None:
    """One line on stdout; names that are no valid text are shown with escapes.

    Raises:
        OutputError: stdout is closed, or a full disk.
        BrokenPipeError: its reader went away.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    safe = printable(text, LINES).encode(encoding, "backslashreplace").decode(encoding)
    _to_stdout(lambda stdout: stdout.write(safe + "\n"))


def out_bytes(data: bytes) -> None:
    """Data to stdout, all of it. Raises OutputError, BrokenPipeError."""
    _to_stdout(lambda stdout: stdout.buffer.write(data))
    flush()


def flush() -> None:
    """Hand everything on; only then is it known whether it arrived."""
    if sys.stdout is not None:
        _to_stdout(lambda stdout: stdout.flush())


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads it; a closed one is None."""
    return stream is not None and stream.isatty()


def _to_stdout(action: Callable[[TextIO], Any]) -> None:
    if sys.stdout is None:  # Python's way to say that it was closed from the beginning
        raise OutputError("cannot write to standard output: it is closed; write elsewhere")
    try:
        action(sys.stdout)
    except BrokenPipeError:
        _silence(sys.stdout)
        raise
    except OSError as error:
        _silence(sys.stdout)
        raise OutputError(f"cannot write to standard output: {error.strerror}; write elsewhere") from error


def _silence(stream: TextIO) -> None:
    """Point it to nowhere, so that Python does not try once more at exit what has just failed."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def open_closed_streams() -> None:
    """Where standard input, output or error is closed, put nothing in its place: else the next file that is opened
    has its number, and what a library writes to number 2 lands in it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def explain(error: Exception) -> tuple[str, int]:
    """The sentence and the exit code for an error that ended a command, or one file of it."""
    if isinstance(error, ObverseError):
        return str(error), error.exit_code
    if isinstance(error, UsageError):
        return str(error), 2
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "out of memory: the data is too large for this machine", ObverseError.exit_code
    if isinstance(error, FileNotFoundError) and error.filename:
        return f"there is no file {error.filename}", InputError.exit_code
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'the system'}: {error.strerror}", InputError.exit_code
    if os.environ.get("OBVERSE_TRACEBACK"):
        raise error
    hint = "a bug; set OBVERSE_TRACEBACK=1 to see where, and please report it"
    return f"unexpected {type(error).__name__}: {error} ({hint})", ObverseError.exit_code


@contextmanager
def warnings_as_sentences() -> Iterator[None]:
    """Warnings are told on stderr, each once; those meant for programmers are not."""
    told: set[str] = set()

    def tell(message: Warning | str, *rest: Any, **more: Any) -> None:
        if str(message) not in told:
            told.add(str(message))
            say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Python would tell a place of the program once, and `noted_warnings` would miss what is said of a second file
        warnings.simplefilter("always", UserWarning)
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = tell
        yield


def to_json(value: Any) -> str:
    """Strict JSON: bytes as hex; NaN and infinities, which JSON lacks, as null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def printable(text: object, kept: str = "") -> str:
    """Text that nobody vouches for, of files and of their names, without the characters that move a terminal.

    Args:
        text: what is shown.
        kept: of such characters those that stay.
    """
    return "".join(
        c
        if c.isprintable() or c in kept or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode()
        for c in str(text)
    )


class Advance(Protocol):
    """Called when a piece of work is done."""

    def __call__(self, steps: int = 1) -> None: ...


@contextmanager
def progress_bar(title: str, total: int, shown: bool = True) -> Iterator[Advance]:
    """A rich progress bar on stderr; silent where stderr is no terminal or there is one thing to do."""
    if not shown or total < 2 or not is_terminal(sys.stderr):
        yield lambda steps=1: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # stdout stays as it is: it may carry data
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as progress:
        task = progress.add_task(title, total=total)
        yield lambda steps=1: progress.advance(task, steps)


def human(size: int) -> str:
    """1234567 -> '1.2 MB'."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"
