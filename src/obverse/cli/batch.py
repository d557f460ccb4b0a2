"""Many files, one after the other: a failure is told, counted, and does not stop the rest."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obverse.cli.console import UsageError, explain, progress_bar, say
from obverse.container.files import make_folder
from obverse.errors import InputError, OutputExistsError

STDIN = Path("-")

Row = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One input and where its result goes; `-` stands for standard input and output.

    in_folder: the target lies in a folder that is made if need be.
    """

    source: Path
    target: Path
    in_folder: bool = False


def plan(
    inputs: Sequence[Path],
    output: str | None,
    suffixes: Collection[str],
    rename: Callable[[Path], str],
    whole_folders: bool = False,
) -> list[Job]:
    """Inputs (files, folders, `-`) to jobs.

    suffixes: what is taken from folders. whole_folders: a folder is one job, as a file is. Without output a
    result lies beside its source. With several inputs, or a folder, or where it ends in a slash, output is a
    folder that is made if need be, and trees keep their shape.
    """
    if inputs.count(STDIN) > 1:
        raise UsageError("standard input can be read once only: give one -")

    def is_tree(path: Path) -> bool:
        return path != STDIN and not whole_folders and os.path.isdir(path)

    many = len(inputs) > 1 or any(map(is_tree, inputs))
    target = None if output is None else Path(output)
    if many and target == STDIN:
        raise UsageError("only one file can be written to standard output")
    into = (
        output is not None
        and target != STDIN
        and (many or output.endswith(_SLASHES) or os.path.isdir(output))
    )
    if into and STDIN in inputs:
        raise UsageError(
            "what comes from standard input has no name to put into a folder: name its output file"
        )
    jobs = []
    for path in inputs:
        if path == STDIN:
            jobs.append(Job(path, target or STDIN))
        elif is_tree(path):
            found = sorted(
                file for file in path.rglob("*") if file.suffix.lower() in suffixes and file.is_file()
            )
            if not found:
                kinds = ", ".join(sorted(suffixes))
                raise InputError(f"{path} holds no files of a kind that can be used ({kinds})")
            base = target or path
            jobs += [Job(file, base / file.relative_to(path).parent / rename(file), True) for file in found]
        elif target is None:
            jobs.append(Job(path, path.parent / rename(path)))
        elif into:
            jobs.append(Job(path, target / rename(path), True))
        else:
            jobs.append(Job(path, target))
    _check_collisions(jobs)
    return jobs


_SLASHES = tuple(filter(None, ("/", os.sep, os.altsep)))


def _check_collisions(jobs: Sequence[Job]) -> None:
    """Refuse, before anything is done, to write two results to one place or one over an input."""
    targets = [os.path.abspath(job.target) for job in jobs if job.target != STDIN]
    for target, count in Counter(targets).items():
        if count > 1:
            raise InputError(
                f"two inputs would both be written to {target}: rename one, or give them different outputs"
            )
    taken = {os.path.abspath(job.source) for job in jobs if job.source != STDIN}
    for target in targets:
        if target in taken:
            raise InputError(f"{target} is an input and would be overwritten: name another output")


def run_jobs(
    jobs: Sequence[Job], title: str, work: Callable[[Job], Row], force: bool
) -> tuple[list[Row], int]:
    """Do all jobs; returns what each did and the exit code: that of the first failure, 0 if there is none.

    A job that failed has a row with its `error` and `exit_code` in place of its results. One that could be done
    in part only says so itself, and gives its row the `exit_code`.
    """
    rows: list[Row] = []
    code = failed = 0
    with progress_bar(title, len(jobs)) as advance:
        for job in jobs:
            try:
                if not force and job.target != STDIN and os.path.lexists(job.target):
                    raise OutputExistsError(f"{job.target} exists; use --force to overwrite it")
                if job.in_folder:
                    make_folder(job.target.parent)
                rows.append(work(job))
                if rows[-1].get("exit_code"):  # done in part
                    code, failed = code or rows[-1]["exit_code"], failed + 1
            except BrokenPipeError:
                raise
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"{len(rows) - failed} of {len(jobs)} files done") from None
            except Exception as error:
                text, number = explain(error)
                name = "standard input" if job.source == STDIN else str(job.source)
                say(f"error: {text}" if _names(text, name) else f"error: {name}: {text}")
                rows.append({"input": str(job.source), "error": text, "exit_code": number})
                code, failed = code or number, failed + 1
            advance()
    if failed and len(jobs) > 1:
        say(f"{len(jobs) - failed} of {len(jobs)} files done, {failed} failed")
    return rows, code


def _names(text: str, name: str) -> bool:
    """Whether an error sentence says which file it is about; a file called `a` is not named by "a bug"."""
    whole = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)
    return bool(whole) and ("." in name or os.sep in name or text.startswith(name) or text.endswith(name))
