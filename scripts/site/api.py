"""Reference pages of the Python interface: of each module what its `__all__` names, or else all that is public in it.

mkdocstrings reads signatures and docstrings; no name is listed here.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from links import REPOSITORY

SOURCE = REPOSITORY / "src/obverse"
OF_OTHER_PAGES = {"cli", "codecs"}  # commands and codecs have pages of their own


def api_pages() -> Iterator[tuple[str, str]]:
    """(uri, text) of a page for the package, and for each module and folder in it."""
    yield "reference/python/obverse.md", _page("obverse", SOURCE / "__init__.py")
    for path in sorted(SOURCE.iterdir()):
        file = path / "__init__.py" if path.is_dir() else path
        public = path.stem not in OF_OTHER_PAGES and not path.stem.startswith("_")
        if public and file.suffix == ".py" and file.is_file():
            yield f"reference/python/obverse.{path.stem}.md", _page(f"obverse.{path.stem}", file)


def public_names(tree: ast.Module) -> list[str]:
    """What `__all__` names; without it the functions and classes whose names have no underscore in front."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and "__all__" in [getattr(name, "id", "") for name in node.targets]:
            return [name for name in ast.literal_eval(node.value) if not name.startswith("_")]
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node.name for node in defined if not node.name.startswith("_")]


def _page(name: str, file: Path) -> str:
    parts = [f"# {name}", *_module(name, file)]
    listed = "\n__all__ = " in file.read_text(encoding="utf-8")
    if file.name == "__init__.py" and not listed:
        for module in sorted(file.parent.glob("[!_]*.py")):
            parts += [f"## {name}.{module.stem}", *_module(f"{name}.{module.stem}", module, level=3)]
    return "\n\n".join(parts) + "\n"


def _module(name: str, file: Path, level: int = 2) -> list[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    told = f"::: {name}.{{}}\n    options:\n      heading_level: {level}"
    return [ast.get_docstring(tree) or "", *map(told.format, public_names(tree))]
