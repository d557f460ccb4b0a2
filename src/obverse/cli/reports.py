"""Folders that commands write their reports into: nothing in them is lost unasked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from obverse.container.files import check_file, check_folder
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import OutputError, OutputExistsError


def check_report(folder: Path, names: Iterable[str], inputs: Iterable[Path | None], force: bool) -> None:
    """Check that a report can be written, before the work that it is of.

    Args:
        folder: of the report; made when it is written.
        names: of its files.
        inputs: what the command reads; of folders their images. None is passed over.
        force: whether files that are there are replaced; inputs never are.

    Raises:
        OutputExistsError: a file of the report is there, and `force` is False.
        OutputError: one is an input, by whatever links, or it cannot be written.
    """
    check_folder(folder)
    targets = [folder / name for name in names if os.path.lexists(folder / name)]
    if not targets:
        return
    read = {os.path.realpath(file) for path in inputs if path is not None for file in _files(path)}
    for target in targets:
        if os.path.realpath(target) in read:
            raise OutputError(
                f"{target} is an input and would be overwritten: name another folder with --out"
            )
    for target in targets:
        if not force:
            raise OutputExistsError(
                f"{target} exists; use --force to overwrite it, or name another folder with --out"
            )
        check_file(target, overwrite=True)


def _files(path: Path) -> Iterator[Path]:
    if os.path.isdir(path):
        yield from (file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    else:
        yield path
