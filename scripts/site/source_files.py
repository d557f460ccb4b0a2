"""The table of files: each file of the package, and the first line of its docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from links import REPOSITORY
from methods import table

PACKAGE = REPOSITORY / "src/obverse"


def file_pages() -> Iterator[tuple[str, str]]:
    """(uri, text) of the page."""
    parts = [
        "# Files",
        "What each file of `src/obverse/` is: the first line of it. A name leads to the file.",
    ]
    folders = sorted({path.parent for path in PACKAGE.rglob("*.py")})
    for folder in folders:
        name = folder.relative_to(PACKAGE).as_posix()
        parts += [f"## {'obverse' if name == '.' else name}", table(("file", "what it is"), _rows(folder))]
    yield "reference/files.md", "\n\n".join(parts) + "\n"


def first_line(path: Path) -> str:
    """The first line of a file's docstring; "" where it has none."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n")[0]


def _rows(folder: Path) -> list[tuple[str, ...]]:
    return [
        (f"[`{path.name}`](../../{path.relative_to(REPOSITORY).as_posix()})", first_line(path))
        for path in sorted(folder.glob("*.py"))
        if path.read_text(encoding="utf-8").strip()
    ]
