"""What every measurement does with a coder: an item through a real file, timed, and a sentence where it fails.

    item ──► encode ──► file on disk ──► decode ──► what came back
               │             │             │
          CPU seconds      bytes       CPU seconds

Nothing but the file reaches the decoder, and what it weighs is the rate. The first call of a coder is not timed:
imports, weights and compilation belong to no item.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from obverse.data.guard import cause_of
from obverse.data.patches import image_files
from obverse.errors import InputError, MissingExtraError
from obverse.evaluation.coders import Coder, Setting, setting_label

Row = TypeVar("Row")
Progress = Callable[[int, int], None] | None
"""Called as progress(done, total) after each measurement; without those of images that are left out."""


@dataclass(frozen=True)
class Coded:
    """An item that went through a file.

    Attributes:
        bytes: of the file.
        seen: what came back.
        encode_seconds: CPU time of this process, all of its threads together.
        decode_seconds: likewise.
    """

    bytes: int
    seen: Any
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class Failure:
    """An image that was left out, and why."""

    path: Path
    error: InputError


class Engine(Generic[Row]):
    """Items through coders.

    Args:
        progress: called after each measurement.
        total: how many measurements there will be, for `progress`.
    """

    def __init__(self, progress: Progress = None, total: int = 0):
        self.progress, self.total, self.done = progress, total, 0
        self._warm: set[str] = set()

    def through(self, coder: Coder, setting: Setting, item: Any, what: str, warm_up: bool = True) -> Coded:
        """Code an item for real.

        Args:
            coder: what codes.
            setting: one of its settings.
            item: what is coded.
            what: the item, as an error names it.
            warm_up: whether the first call is made twice, and the second timed.

        Raises:
            InputError: the coder fails.
            MissingExtraError: its library is not installed.
        """
        try:
            if warm_up and coder.name not in self._warm:
                coder.decode(coder.encode(item, setting), item)
                self._warm.add(coder.name)
            start = time.process_time()
            data = coder.encode(item, setting)
            encode_seconds = time.process_time() - start
            data, size = _through_a_file(data, coder.suffix)
            start = time.process_time()
            seen = coder.decode(data, item)
            return Coded(size, seen, encode_seconds, time.process_time() - start)
        except MissingExtraError:
            raise
        except Exception as error:
            label = setting_label(setting)
            at = f" at {label}" if label else ""
            raise InputError(f"{what}: {coder.name}{at} failed: {cause_of(error)}") from error

    def step(self, more: int = 1) -> None:
        """So many measurements are done."""
        self.done += more
        self._tell()

    def _tell(self) -> None:
        if self.progress and self.done:
            self.progress(self.done, self.total)

    def over(
        self,
        files: Iterable[Path],
        measure: Callable[[Path], list[Row]],
        each: int,
        failures: list[Failure] | None,
    ) -> list[Row]:
        """The rows of all files. One that a coder fails on is left out for all, so that means are over the same files.

        Args:
            files: images.
            measure: a file to its rows, with a `step` after each.
            each: rows of a file.
            failures: where those that fail are appended, and the others go on; None: the first error is raised.
        """
        rows: list[Row] = []
        for path in files:
            before = self.done
            try:
                rows += measure(path)
            except InputError as error:
                if failures is None:
                    raise
                failures.append(Failure(path, error))
                self.done, self.total = before, self.total - each  # what is left out counts as never planned
                self._tell()
        return rows


def image_paths(paths: Iterable[Path | str]) -> list[Path]:
    """Files as they are, folders as the images in them; each once.

    Raises:
        InputError: where there are none.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    files = [file for path in given for file in (image_files([path]) if path.is_dir() else [path])]
    if not files:
        raise InputError(f"no image to evaluate in {', '.join(map(str, given)) or 'an empty list'}")
    once: dict[str, Path] = {}
    for file in files:
        once.setdefault(os.path.abspath(file), file)
    return list(once.values())


def image_names(files: Sequence[Path]) -> dict[Path, str]:
    """What tables call images: the names of the files, with as many folders before them as tell them apart.

    >>> list(image_names([Path("a/x/1.png"), Path("b/x/1.png"), Path("b/x/2.png")]).values())
    ['a/x/1.png', 'b/x/1.png', '2.png']
    """
    parts = dict.fromkeys(files, 1)
    while True:
        names = {file: Path(*file.parts[-count:]).as_posix() for file, count in parts.items()}
        times = Counter(names.values())
        clash = [file for file, name in names.items() if times[name] > 1 and parts[file] < len(file.parts)]
        if not clash:
            return names
        for file in clash:
            parts[file] += 1


def _through_a_file(data: bytes, suffix: str) -> tuple[bytes, int]:
    """The data as they are read back, and the size of the file."""
    with tempfile.TemporaryDirectory(prefix="obverse-") as folder:
        file = Path(folder, "item" + suffix)
        file.write_bytes(data)
        return file.read_bytes(), file.stat().st_size
