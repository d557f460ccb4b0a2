"""What a command is given, files, folders and `-`, as jobs: one source and one target each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from obverse.cli.console import UsageError, printable, say
from obverse.cli.output_names import is_known_suffix
from obverse.errors import InputError

STDIN = Path("-")
NAMED = 10  # of what was skipped on stderr; --json has all


@dataclass(frozen=True)
class Job:
    """One input and where its result goes; `-` stands for standard input and output.

    Attributes:
        source: the input.
        target: its result.
        folder: that results are written into, made if need be, and left by no link; None where the target was named.
        refused: why it must not be done, "" for what may.
    """

    source: Path
    target: Path
    folder: Path | None = None
    refused: str = ""


@dataclass(frozen=True)
class Plan:
    """The jobs, and what of the folders is none: (path, why)."""

    jobs: list[Job]
    skipped: list[tuple[Path, str]] = field(default_factory=list)

    def skipped_rows(self) -> list[dict[str, str]]:
        """For --json."""
        return [{"input": str(path), "skipped": why} for path, why in self.skipped]

    def tell_skipped(self) -> None:
        """On stderr, in one line."""
        if not self.skipped:
            return
        names = [f"{printable(path)} ({why})" for path, why in self.skipped[:NAMED]]
        more = len(self.skipped) - len(names)
        files = "1 file" if len(self.skipped) == 1 else f"{len(self.skipped)} files"
        say(f"skipped {files}: {', '.join(names)}{f' and {more} more' if more else ''}")


def plan(
    inputs: Sequence[Path],
    output: str | None,
    suffixes: Collection[str],
    rename: Callable[[Path], str],
    whole_folders: bool = False,
    passed_over: Collection[str] = (),
    only: bool = False,
) -> Plan:
    """Inputs (files, folders, `-`) to jobs.

    Without output a result lies beside its source. With several inputs, or a folder, or where it ends in a slash,
    output is a folder that is made if need be, and trees keep their shape. Where two sources would have one target,
    each target has the whole name of its source: `photo.jpg.obv` and `photo.png.obv`; of decompressed files one whose
    name is that of its source without .obv keeps it.

    Args:
        inputs: what was given.
        output: what was given.
        suffixes: of the files that are taken from folders.
        rename: the name of the target of a source.
        whole_folders: whether a folder is one job, as a file is.
        passed_over: suffixes of files in folders that nobody expects to be taken: not a word on them.
        only: whether that holds for all other suffixes.

    Raises:
        UsageError: inputs and output do not go together.
        InputError: a folder without files that could be used.
    """
    if inputs.count(STDIN) > 1:
        raise UsageError("standard input can be read once only: give one -")

    def is_tree(path: Path) -> bool:
        return path != STDIN and not whole_folders and os.path.isdir(path)

    many = len(inputs) > 1 or any(map(is_tree, inputs))
    target = None if output is None else Path(output)
    if many and target == STDIN:
        raise UsageError("only one file can be written to standard output")
    if many and output is not None and _is_named_as_a_file(output):
        raise UsageError(
            f"{output} is named as a file, but what is given becomes several: name a folder, or end it in a slash "
            f"({output}/)"
        )
    into = (
        output is not None
        and target != STDIN
        and (many or output.endswith(_SLASHES) or os.path.isdir(output))
    )
    if into and STDIN in inputs:
        raise UsageError(
            "what comes from standard input has no name to put into a folder: name its output file"
        )
    jobs: list[Job] = []
    skipped: list[tuple[Path, str]] = []
    for path in inputs:
        if path == STDIN:
            jobs.append(Job(path, target or STDIN))
        elif is_tree(path):
            found, others = files_under(path, suffixes, passed_over, only)
            skipped += others
            base = target or path
            jobs += [Job(file, base / file.relative_to(path).parent / rename(file), base) for file in found]
        elif target is None:
            jobs.append(Job(path, path.parent / rename(path)))
        elif into:
            jobs.append(Job(path, target / rename(path), target))
        else:
            jobs.append(Job(path, target))
    return Plan(_without_clashes(jobs), skipped)


_SLASHES = tuple(filter(None, ("/", os.sep, os.altsep)))


def _is_named_as_a_file(output: str) -> bool:
    """A folder that is there, or ends in a slash, may be named as it likes."""
    if output == str(STDIN) or output.endswith(_SLASHES) or os.path.isdir(output):
        return False
    return is_known_suffix(Path(output).suffix.lower())


def files_under(
    folder: Path, suffixes: Collection[str], passed_over: Collection[str] = (), only: bool = False
) -> tuple[list[Path], list[tuple[Path, str]]]:
    """The files of a tree with one of the suffixes, sorted, and what else is in it, each with the reason.

    A file that may not be read is among the first: it fails as it does where it is named.

    Raises:
        InputError: there are none.
    """
    found: list[Path] = []
    others: list[tuple[Path, str]] = []
    for path, unreadable in _walk(folder):
        suffix = path.suffix.lower()
        if suffix in passed_over or (only and suffix not in suffixes and not unreadable):
            continue
        if unreadable:
            others.append((path, unreadable))
        elif path.is_symlink() and not path.exists():
            others.append((path, "a link to nothing"))
        elif path.is_dir():
            others.append((path, "a link to a folder"))
        elif suffix in suffixes and path.is_file():
            found.append(path)
        elif suffix in suffixes:
            others.append((path, "not an ordinary file"))
        else:
            others.append((path, f"{suffix} is not read" if suffix else "no file of a kind that is read"))
    if not found:
        kinds = ", ".join(sorted(suffixes))
        why = f"; skipped: {others[0][0]} ({others[0][1]})" if others else ""
        raise InputError(f"{folder} holds no files of a kind that can be used ({kinds}){why}")
    return sorted(found), sorted(others)


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """All but folders; those too that cannot be listed, with the reason."""
    failed: list[OSError] = []
    for place, folders, files in os.walk(folder, onerror=failed.append):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        for name in [*files, *links]:
            yield Path(place, name), ""
    for error in failed:
        yield Path(error.filename), error.strerror or str(error)


def _without_clashes(jobs: Sequence[Job]) -> list[Job]:
    """Before anything is done: two results never go to one place, nor one over an input, by whatever links."""
    jobs = _told_apart(jobs, lambda job: job.target.name != job.source.stem)
    jobs = _told_apart(jobs, lambda job: True)
    counts = _targets(jobs)
    taken = {os.path.realpath(job.source) for job in jobs if job.source != STDIN}
    return [replace(job, refused=_refused(job, counts, taken)) for job in jobs]


def _told_apart(jobs: Sequence[Job], may_change: Callable[[Job], bool]) -> list[Job]:
    """With the whole name of the source in targets that clash, until none does that may change: a longer name can be
    that of a third file."""
    before: list[Job] = []
    now = list(jobs)
    while now != before:
        before, counts = now, _targets(now)
        now = [
            replace(job, target=_whole_name(job))
            if counts[os.path.realpath(job.target)] > 1 and may_change(job)
            else job
            for job in before
        ]
    return now


def _whole_name(job: Job) -> Path:
    name = job.source.name if job.source.name not in ("", "..") else job.source.resolve().name
    return job.target.with_name(name + job.target.suffix)


def _targets(jobs: Sequence[Job]) -> Counter[str]:
    return Counter(os.path.realpath(job.target) for job in jobs if job.target != STDIN)


def _refused(job: Job, counts: Counter[str], taken: Collection[str]) -> str:
    if job.target == STDIN:
        return ""
    target = os.path.realpath(job.target)
    if counts[target] > 1:
        return f"{job.source}: two inputs would both be written to {target}: rename one, or give them different outputs"
    if target in taken:
        return f"{job.source}: {target} is an input and would be overwritten: name another output"
    return ""
