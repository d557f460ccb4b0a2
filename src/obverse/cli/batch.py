"""Many files, in this process or several: a failure is told, counted, and does not stop the rest."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from obverse.cli.console import UsageError, explain, noted_warnings, progress_bar, say, warnings_as_sentences
from obverse.cli.plan import STDIN, Job
from obverse.container.files import check_file, make_folder
from obverse.container.within import check_within
from obverse.errors import ObverseError, OutputError, OutputExistsError
from obverse.threads import available_cores

Row = dict[str, Any]
Rows = Generator[Row, None, None]
Work = Callable[[Job], Row]

MOST_WORKERS = 1024
FEWEST_FILES = 3  # for which a second process is started
WORTH = 2**20  # bytes of input for which it is, unless --jobs asks for it: seconds of work


@dataclass(frozen=True)
class Batch:
    """How jobs are done.

    Attributes:
        title: for the progress bar.
        force: whether files that exist are overwritten.
        skip: whether results of before stay: says why a target that exists is one, or raises OutputExistsError. None
            where that is not asked for.
        jobs: how many processes; None for as many as there are cores and the work is worth.
        modules: what worker processes import.
    """

    title: str
    force: bool = False
    skip: Callable[[Path], str] | None = None
    jobs: int | None = None
    modules: Sequence[str] = ()

    def run(self, jobs: Sequence[Job], work: Work) -> tuple[list[Row], int]:
        """Do all jobs; returns what each did, in order, and the exit code: that of the first failure, 0 without one.

        A job that failed has a row with its `error` and `exit_code` in place of its results. One that could be done
        in part only says so itself, and gives its row the `exit_code`. One that was done before is `skipped`. All
        others, and those that failed, have the sentences of their `warnings`.

        Raises:
            UsageError: a number of processes that cannot be.
            KeyboardInterrupt: it was stopped; says how many files are done.
        """
        rows: list[Row] = []
        count = self._processes(jobs)
        attempt = Attempt(work, self.force, self.skip)
        done = _in_workers(jobs, attempt, count, self.modules) if count > 1 else _here(jobs, attempt)
        before = [_identity(job.target) for job in jobs]
        try:
            with closing(done), progress_bar(self.title, len(jobs)) as advance:
                for row in done:
                    rows.append(row)
                    advance()
        except KeyboardInterrupt as stop:  # workers have ended: what is in its place now is what is finished
            told = [not row.get("exit_code") for row in rows]
            made = [_identity(job.target) != was for job, was in zip(jobs, before, strict=True)]
            finished = sum(told) + sum(made[len(told) :])
            raise type(stop)(f"{finished} of {len(jobs)} files done") from None
        failed = [row["exit_code"] for row in rows if row.get("exit_code")]
        if failed and len(jobs) > 1:
            say(f"{len(jobs) - len(failed)} of {len(jobs)} files done, {len(failed)} failed")
        return rows, failed[0] if failed else 0

    def _processes(self, jobs: Sequence[Job]) -> int:
        if self.jobs is not None and not 1 <= self.jobs <= MOST_WORKERS:
            raise UsageError(f"--jobs must be from 1 to {MOST_WORKERS}, not {self.jobs}")
        streams = any(STDIN in (job.source, job.target) for job in jobs)
        if len(jobs) < FEWEST_FILES or streams or os.environ.get("OBVERSE_TRACEBACK"):
            return 1
        if self.jobs is None and sum(_size(job.source) for job in jobs) < WORTH:
            return 1
        return min(self.jobs or available_cores(), len(jobs))


@dataclass(frozen=True)
class Attempt:
    """Does a job; raises only what stops all of them."""

    work: Work
    force: bool
    skip: Callable[[Path], str] | None

    def __call__(self, job: Job) -> Row:
        with noted_warnings() as told:
            row = self._tried(job)
        return row if "skipped" in row else row | {"warnings": told}

    def _tried(self, job: Job) -> Row:
        try:
            if job.refused:
                raise OutputError(job.refused)
            if job.folder is not None:
                check_within(job.folder, job.target)
            if not self.force and job.target != STDIN and os.path.lexists(job.target):
                if self.skip is not None:
                    why = self.skip(job.target)
                    _check_age(job)
                    return {"input": str(job.source), "output": str(job.target), "skipped": why}
                raise OutputExistsError(f"{job.target} exists; use --force to overwrite it")
            if job.folder is not None:
                make_folder(job.target.parent)
            if job.target != STDIN:
                check_file(job.target, self.force)
            return self.work(job)
        except BrokenPipeError:
            raise
        except Exception as error:
            return failed(job, *explain(error))


def _check_age(job: Job) -> None:
    """A file does not say what it was made of, but nothing is made of what is newer. Raises OutputExistsError."""
    if job.source != STDIN and job.source.stat().st_mtime_ns > job.target.stat().st_mtime_ns:
        raise OutputExistsError(
            f"{job.target} exists, but {job.source} is newer: remove the first and run the same command again, or name "
            "another output"
        )


def failed(job: Job, text: str, exit_code: int) -> Row:
    """Tell it, and the row of it."""
    name = "standard input" if job.source == STDIN else str(job.source)
    say(f"error: {text}" if _names(text, name) else f"error: {name}: {text}")
    return {"input": str(job.source), "error": text, "exit_code": exit_code}


def _here(jobs: Sequence[Job], attempt: Attempt) -> Rows:
    for job in jobs:
        yield attempt(job)


def _in_workers(jobs: Sequence[Job], attempt: Attempt, count: int, modules: Sequence[str]) -> Rows:
    """In order, and told in order, as one process would."""
    from obverse.cli.workers import WorkerDied, Workers

    early: dict[int, tuple[Row, list[str]] | WorkerDied] = {}  # than those before them
    told: set[str] = set()
    number = 0
    with closing(Workers(Captured(attempt), count, modules).results(jobs)) as results:
        for done, result in results:
            early[done] = result
            while number in early:
                result = early.pop(number)
                if isinstance(result, WorkerDied):
                    text = f"its process was {result}, perhaps for lack of memory: try --jobs 1"
                    yield failed(jobs[number], text, ObverseError.exit_code)
                else:
                    row, lines = result
                    for line in lines:
                        if not line.startswith("warning: ") or line not in told:
                            say(line)
                            told.add(line)
                    yield row
                number += 1


@dataclass(frozen=True)
class Captured:
    """An attempt in another process: what it says is returned with its row."""

    attempt: Attempt

    def __call__(self, job: Job) -> tuple[Row, list[str]]:
        with redirect_stderr(io.StringIO()) as said, warnings_as_sentences():
            row = self.attempt(job)
        return row, said.getvalue().splitlines()


def _identity(path: Path) -> tuple[int, ...] | None:
    """Of the file in this place, by which it is told from another that is put there; None for no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _names(text: str, name: str) -> bool:
    """Whether an error sentence says which file it is about; a file called `a` is not named by "a bug"."""
    whole = re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text)
    return bool(whole) and ("." in name or os.sep in name or text.startswith(name) or text.endswith(name))
