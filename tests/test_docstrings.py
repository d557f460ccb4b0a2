"""Docstrings say parameters, results and errors in sections: the reference is made of them."""

import ast
import builtins
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import obverse
from obverse import errors
from obverse.testing.example import ConformanceError

SOURCE = Path(obverse.__file__).parent
FILES = sorted(
    path for path in SOURCE.rglob("*.py") if path.relative_to(SOURCE).parts[0] not in ("cli", "codecs")
)
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

SECTION = re.compile(r"^(Args|Attributes|Raises|Returns|Yields):\n((?:    .*(?:\n|\Z)|\n)*)", re.MULTILINE)
ENTRY = re.compile(r"^    (\S.*)$", re.MULTILINE)  # the lines after its first are indented further
OLD = re.compile(r"\b(?:Raises|Returns|Yields)\b(?!:$)", re.MULTILINE)

in_each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))


def documented(path: Path) -> Iterator[tuple[str, Documented, str]]:
    """(place, definition, docstring) of all that is public in a file."""

    def inside(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, Documented, str]]:
        for child in node.body:
            if isinstance(child, Documented) and re.match("[^_]|__", child.name):
                place = f"{name}{child.name}"
                if ast.get_docstring(child):
                    yield f"{place} (line {child.lineno})", child, ast.get_docstring(child) or ""
                if isinstance(child, ast.ClassDef):
                    yield from inside(child, f"{place}.")

    yield from inside(ast.parse(path.read_text(encoding="utf-8")), "")


def parameters(node: Documented) -> set[str]:
    """Names of a signature; of a class those of `__init__`, and its fields."""
    if isinstance(node, ast.ClassDef):
        made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        fields = {
            n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
        }
        return fields.union(*map(parameters, made))
    return {arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)}


def entries(docstring: str, wanted: str) -> list[str]:
    """What the entries of a section are called."""
    bodies = [body for section, body in SECTION.findall(docstring) if section == wanted]
    return [entry.partition(":")[0] for body in bodies for entry in ENTRY.findall(body)]


@in_each_file
def test_parameters_results_and_errors_are_said_in_sections(path):
    for place, node, docstring in documented(path):
        prose = SECTION.sub("", docstring)
        assert not (old := OLD.search(docstring)), f"{place}: {old[0]} is no section"
        for name in parameters(node):
            said = re.search(rf"(?:^|[.;]\s+)(?:\w+, )*{name}(?:, \w+)*: ", prose, re.MULTILINE)
            assert not said, f"{place}: {name} is said outside of a section"


@in_each_file
def test_arguments_are_those_of_the_signature(path):
    for place, node, docstring in documented(path):
        unknown = {name.lstrip("*") for name in entries(docstring, "Args")} - parameters(node)
        assert not unknown, f"{place}: there is no parameter {unknown}"
        odd = [name for name in entries(docstring, "Attributes") if not name.isidentifier()]
        assert not odd, f"{place}: {odd} is not the name of one attribute"


@in_each_file
def test_errors_exist(path):
    known = {name for module in (errors, builtins) for name, _ in inspect.getmembers(module, inspect.isclass)}
    for place, _, docstring in documented(path):
        unknown = set(entries(docstring, "Raises")) - known - {ConformanceError.__name__}
        assert not unknown, f"{place}: there is no error {unknown}"
