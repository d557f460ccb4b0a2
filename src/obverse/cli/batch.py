"""Many files, one after the other: a failure is told, counted, and does not stop the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obverse.cli.console import progress_bar, say
from obverse.errors import InputError, ObverseError, OutputExistsError

STDIN = Path("-")


@dataclass(frozen=True)
class Job:
    """One input and where its result goes; `-` stands for standard input and output."""

    source: Path
    target: Path


def plan(
    inputs: Sequence[Path], output: Path | None, suffixes: set[str], rename: Callable[[Path], str]
) -> list[Job]:
    """Inputs (files, folders, `-`) to jobs.

    suffixes: what is taken from folders. Without output a result lies beside its source. With several
    inputs, or a folder, output is a folder that is made if need be, and trees keep their shape.
    """
    if not inputs:
        raise InputError("no input: name files, folders, or - for standard input")
    many = len(inputs) > 1 or any(path != STDIN and path.is_dir() for path in inputs)
    if output == STDIN and many:
        raise InputError("only one file can be written to standard output")
    jobs = []
    for path in inputs:
        if path == STDIN:
            if output is None or (many and output.suffix):
                output_name = output or STDIN
                jobs.append(Job(path, output_name))
            else:
                jobs.append(Job(path, output))
        elif path.is_dir():
            found = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in suffixes and file.is_file()]
            if not found:
                raise InputError(f"{path} holds no files of a kind that can be used ({', '.join(sorted(suffixes))})")
            base = path if output is None else output
            jobs += [Job(file, base / file.relative_to(path).parent / rename(file)) for file in found]
        elif output is None:
            jobs.append(Job(path, path.parent / rename(path)))
        elif many or output.is_dir():
            jobs.append(Job(path, output / rename(path)))
        else:
            jobs.append(Job(path, output))
    targets = [job.target for job in jobs if job.target != STDIN]
    for target in targets:
        if targets.count(target) > 1:
            raise InputError(f"two inputs would both be written to {target}: name one output each")
    return jobs


def run_jobs(jobs: Sequence[Job], title: str, work: Callable[[Job], dict[str, Any]], force: bool) -> tuple[list[dict[str, Any]], int]:
    """Do all jobs; returns what each did and the exit code: that of the first failure, 0 if there is none."""
    done, code = [], 0
    with progress_bar(title, len(jobs)) as advance:
        for job in jobs:
            try:
                if not force and job.target != STDIN and job.target.exists():
                    raise OutputExistsError(f"{job.target} exists; use --force to overwrite it")
                if len(jobs) > 1 and job.target != STDIN:
                    make_folder(job.target.parent)
                done.append(work(job))
            except ObverseError as error:
                text = str(error)
                prefix = "" if str(job.source) in text or job.source == STDIN else f"{job.source}: "
                say(f"error: {prefix}{text}")
                code = code or error.exit_code
            advance()
    if code and len(jobs) > 1:
        say(f"{len(done)} of {len(jobs)} files done, {len(jobs) - len(done)} failed")
    return done, code


def make_folder(path: Path) -> None:
    """Make an output folder. Raises OutputError."""
    from obverse.errors import OutputError

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"the folder {path} cannot be made: {error.strerror}") from error
