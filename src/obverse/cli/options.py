"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from obverse.cli.console import UsageError
from obverse.container import Limits
from obverse.errors import OptionError
from obverse.fields import parse_bytes

Inputs = Annotated[list[Path], Parameter(help="Files, folders, or - for standard input.")]
Output = Annotated[
    str | None,
    Parameter(name=["--output", "-o"], help="A file, a folder for several (or end it in /), or -."),
]
Force = Annotated[bool, Parameter(name=["--force", "-f"], negative="", help="Overwrite files that exist.")]
SkipExisting = Annotated[
    bool,
    Parameter(
        negative="",
        help="Leave out what was done before: go on with a batch that was stopped. Give the same options: files that "
        "are there stay, whatever the quality they were written with, and fail where their input is newer.",
    ),
]
Jobs = Annotated[
    int | None,
    Parameter(
        name=["--jobs", "-j"],
        help="Files at once, each in a process with one thread; by default one a core, for folders that take seconds.",
    ),
]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print what was done as JSON.")]
Big = Annotated[
    bool,
    Parameter(
        name="--unlimited", negative="", help="No limits on pixels and memory: for data that you trust."
    ),
]
Memory = Annotated[
    str | None,
    Parameter(help="What coding a file may take in memory, such as 500M or 1GB; 4 GiB by default."),
]
Trust = Annotated[
    bool,
    Parameter(
        negative="",
        help="Load files that are programs (TorchScript, torch.export): they may run any code of whoever made them.",
    ),
]
Device = Annotated[str, Parameter(help="cpu, cuda, or auto.")]
Metadata = Annotated[
    list[str] | None,
    Parameter(negative="", help="KEY=TEXT to store in the file; repeat for several."),
]


def limits_of(unlimited: bool, memory: str | None) -> Limits:
    """What --unlimited and --memory mean. Raises UsageError."""
    if memory is None:
        return Limits.unlimited() if unlimited else Limits()
    if unlimited:
        raise UsageError("give one of --unlimited and --memory")
    try:
        return Limits(memory=parse_bytes(memory.removesuffix("B")))
    except OptionError as error:
        raise UsageError(f"--memory: {error}") from None


def pairs(texts: list[str] | None) -> dict[str, str] | None:
    """What --metadata means. Raises UsageError."""
    found: dict[str, str] = {}
    for text in texts or ():
        key, separator, value = text.partition("=")
        if not key or not separator:
            raise UsageError(f"--metadata takes KEY=TEXT, not {text!r}")
        if key in found:
            raise UsageError(f"--metadata names {key!r} twice: give each key once")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"--metadata {text!r} is no text in UTF-8: give it in this encoding") from None
        found[key] = value
    return found or None


@contextmanager
def wrong_use(names: Collection[str]) -> Iterator[None]:
    """Within, a value that an option cannot have, whatever the files hold, is a wrong command line.

    Args:
        names: of the options that have flags.

    Raises:
        UsageError: in place of OptionError, with the flag.
    """
    try:
        yield
    except OptionError as error:
        name, space, rest = str(error).partition(" ")
        flag = f"--{name.replace('_', '-')}" if name in names else name
        raise UsageError(flag + space + rest) from None


MAY_BE_EMPTY = "may be empty"
"""Stands in the annotation of an option for which an empty text is a value, none of a list."""

MOST_THREADS = 1024


def set_threads(threads: int | None) -> None:
    """What --threads means: torch is told, if a number was given. Raises UsageError for one below 1."""
    if threads is None:
        return
    if threads < 1:
        raise UsageError(f"--threads must be at least 1, not {threads}")
    if threads > MOST_THREADS:
        raise UsageError(f"--threads must be at most {MOST_THREADS}, not {threads}")
    import torch

    torch.set_num_threads(threads)
