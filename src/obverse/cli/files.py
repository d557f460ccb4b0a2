"""What `compress` and `decompress` do with files around their work: read, write, tell."""

from __future__ import annotations

import sys
from pathlib import Path

from obverse.cli.batch import STDIN, Job, Row
from obverse.cli.console import human, is_terminal, out, out_bytes, say, to_json
from obverse.container import write_atomically
from obverse.errors import InputError, OutputError


def read_stdin() -> bytes:
    """All of it. Raises InputError."""
    try:
        return sys.stdin.buffer.read()
    except (OSError, AttributeError) as error:  # sys.stdin is None where it is closed
        raise InputError(f"standard input cannot be read: {error}") from error


def write_output(target: Path, data: bytes, force: bool) -> None:
    """To a file, whole or not at all, or to standard output. Raises OutputError."""
    if target != STDIN:
        write_atomically(target, data, overwrite=force)
    elif is_terminal(sys.stdout) and not force:
        raise OutputError("standard output is a terminal: redirect it, name a file with -o, or use --force")
    else:
        out_bytes(data)


def length_of(path: Path, data: bytes | None) -> int:
    """Of a file, or of what was read of standard input."""
    return path.stat().st_size if data is None else len(data)


def row_of(job: Job, before: int, after: int) -> Row:
    """What is told of a job."""
    return {"input": str(job.source), "output": str(job.target), "bytes_in": before, "bytes_out": after}


def report(rows: list[Row], as_json: bool, to_stdout: bool) -> None:
    """A line for each file and a total; on stderr when data goes to stdout."""
    show = say if to_stdout else out
    if as_json:
        show(to_json(rows))
        return
    done = [row for row in rows if "error" not in row]
    for row in done:
        text = f"{row['input']} -> {row['output']}: {human(row['bytes_in'])} -> {human(row['bytes_out'])}"
        show(text + (f", {row['bpp']:.3f} bpp" if "bpp" in row else ""))
    if len(done) > 1:
        before, after = (sum(row[key] for row in done) for key in ("bytes_in", "bytes_out"))
        show(f"{len(done)} files: {human(before)} -> {human(after)} ({after / max(before, 1):.1%})")
