"""Who may import whom (DESIGN): checked by reading the sources and by importing in a fresh process."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import obverse

SOURCE = Path(obverse.__file__).parent
STAGES = (
    "data",
    "transforms",
    "quantization",
    "priors",
    "coding",
    "container",
    "metrics",
    "theory",
    "training",
)


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in (SOURCE / folder).rglob("*.py")]


def starts(names: set[str], *packages: str) -> set[str]:
    return {n for n in names if any(n == p or n.startswith(p + ".") for p in packages)}


@pytest.mark.parametrize("path", files("coding", "container"), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_coding_and_container_never_import_torch(path):
    forbidden = ["torch"] + (["numba", "numpy"] if path.parent.name == "container" else [])
    assert not starts(imports(path), *forbidden)


@pytest.mark.parametrize("path", files(*STAGES), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_stages_never_import_codecs(path):
    assert not starts(imports(path), "obverse.codecs", "obverse.cli")


def is_command_line(path: Path) -> bool:
    """The command line itself, the commands that a method adds to it, and the checks that try it."""
    added = path.name == "command.py" and path.parent.parent.name == "codecs"
    return added or path.parent.name in ("cli", "testing")


@pytest.mark.parametrize("path", [p for p in SOURCE.rglob("*.py") if not is_command_line(p)], ids=str)
def test_only_commands_import_the_command_line(path):
    assert not starts(imports(path), "obverse.cli")


def test_importing_obverse_is_light():
    code = "import sys, obverse; obverse.list_codecs(); print([m for m in ('torch', 'numba') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
