"""What `compress` and `decompress` do with files around their work: read, write, tell."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from obverse.cli.batch import Row
from obverse.cli.console import UsageError, human, is_terminal, out, out_bytes, printable, say, to_json
from obverse.cli.plan import STDIN, Job, Plan
from obverse.container import Limits, describe, write_atomically
from obverse.data.loading import loading_within
from obverse.data.source import read_bytes, standard_input
from obverse.errors import ObverseError, OutputError, OutputExistsError


def is_stream(path: Path) -> bool:
    """Whether it is standard input or a pipe, which can be read once only."""
    try:
        return path == STDIN or stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def read_stream(path: Path, limits: Limits | None) -> bytes | None:
    """All of what can be read once only, where that is within the limits; None for other files.

    Raises:
        InputError: it cannot be read.
        LimitError: it is larger than the limits allow.
    """
    if not is_stream(path):
        return None
    with loading_within(limits):
        return read_bytes(standard_input() if path == STDIN else path)


def write_output(target: Path, data: bytes, force: bool) -> None:
    """To a file, whole or not at all, or to standard output. Raises OutputError."""
    if target != STDIN:
        write_atomically(target, data, overwrite=force)
    elif is_terminal(sys.stdout) and not force:
        raise OutputError("standard output is a terminal: redirect it, name a file with -o, or use --force")
    else:
        out_bytes(data)


def write_parts(target: Path, parts: Iterable[bytes], force: bool) -> int:
    """As `write_output`, part after part. -> bytes. Raises OutputError."""
    written = 0

    def counted() -> Iterator[bytes]:
        nonlocal written
        for part in parts:
            written += len(part)
            yield part

    if target != STDIN:
        write_atomically(target, counted(), overwrite=force)
    else:
        write_output(target, b"".join(counted()), force)
    return written


def length_of(path: Path, data: bytes | None) -> int:
    """Of a file, or of what was read of a stream."""
    return path.stat().st_size if data is None else len(data)


def row_of(job: Job, before: int, after: int) -> Row:
    """What is told of a job."""
    return {"input": str(job.source), "output": str(job.target), "bytes_in": before, "bytes_out": after}


def existing_obv(skip: bool, force: bool, codecs: tuple[str, ...]) -> Callable[[Path], str] | None:
    """What `Batch.skip` is of `compress` with a codec: its id, and those of others whose files it writes."""
    return _skips(skip, force, partial(_check_obv, codecs))


def existing_file(skip: bool, force: bool) -> Callable[[Path], str] | None:
    """What `Batch.skip` is of `decompress`."""
    return _skips(skip, force, _check_file)


def _skips(skip: bool, force: bool, check: Callable[[Path], str]) -> Callable[[Path], str] | None:
    if skip and force:
        raise UsageError("--skip-existing keeps what exists, --force overwrites it: give one of them")
    return check if skip else None


def _check_obv(codecs: tuple[str, ...], path: Path) -> str:
    """A file that is whole, of the same codec, was done; with which options nobody can tell."""
    _check_file(path)
    try:
        found = describe(path)["codec"]
    except ObverseError as error:
        raise OutputExistsError(
            f"{path} exists and is no whole .obv file ({error}); remove it, and run the same command again"
        ) from error
    if found not in codecs:
        raise OutputExistsError(
            f"{path} exists, but was written by codec {found!r}, not {codecs[0]!r}; remove it and run the same "
            "command again, or name another output"
        )
    return f"exists, with codec {found}"


def _check_file(path: Path) -> str:
    if not path.is_file():
        raise OutputExistsError(f"{path} exists and is no ordinary file; name another output")
    return "exists"


def report(found: Plan, rows: list[Row], as_json: bool) -> None:
    """A line for each file and a total; on stderr when data goes to stdout. What was skipped is told on stderr."""
    found.tell_skipped()
    show = say if any(job.target == STDIN for job in found.jobs) else out
    if as_json:
        for line in to_json(rows + found.skipped_rows()).splitlines():  # what is said is one line each
            show(line)
        return
    done = [row for row in rows if "bytes_out" in row]
    for row in done:
        source, target = printable(row["input"]), printable(row["output"])
        text = f"{source} -> {target}: {human(row['bytes_in'])} -> {human(row['bytes_out'])}"
        show(text + (f", {row['bpp']:.3f} bpp" if "bpp" in row else ""))
    if len(done) > 1:
        before, after = (sum(row[key] for row in done) for key in ("bytes_in", "bytes_out"))
        show(f"{len(done)} files: {human(before)} -> {human(after)} ({after / max(before, 1):.1%})")
    existed = sum("skipped" in row for row in rows)
    if existed:
        show(f"{existed} of {len(rows)} files were there before and stay as they are")
