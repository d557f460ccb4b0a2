"""Who may import whom (DESIGN): checked by reading the sources and by importing in a fresh process."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import obverse
from obverse.registry import built_in_methods

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
    return added or path.parent.name in ("cli", "testing") or path.name == "__main__.py"


@pytest.mark.parametrize("path", [p for p in SOURCE.rglob("*.py") if not is_command_line(p)], ids=str)
def test_only_commands_import_the_command_line(path):
    assert not starts(imports(path), "obverse.cli")


SOURCES = sorted(SOURCE.rglob("*.py"))
CODECS = sorted(path for path in (SOURCE / "codecs").iterdir() if (path / "__init__.py").is_file())


def module(path: Path) -> str:
    """The name that a file is imported by."""
    return ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")


def imported_modules(path: Path) -> set[str]:
    """Modules of Obverse that a file imports, at its top or within functions, but not for its types alone."""
    names = set()
    for node in code_of(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (below & MODULES) | ({node.module} if below - MODULES else set())
    return starts(names, "obverse") & MODULES


def code_of(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below one, but for those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield child
            yield from code_of(child)


MODULES = {module(path) for path in SOURCES}


@pytest.mark.parametrize("folder", CODECS, ids=lambda p: p.name)
def test_a_codec_imports_another_only_if_it_builds_on_it(folder):
    methods = built_in_methods()
    built_on = {
        methods[id].package
        for method in methods.values()
        if method.package.endswith(f".{folder.name}")
        for id in method.builds_on
    }
    own = f"obverse.codecs.{folder.name}"
    others = {f"obverse.codecs.{other.name}" for other in CODECS} - {own}
    wrong = {
        f"{path.relative_to(SOURCE)}: {name}"
        for path in folder.rglob("*.py")
        for name in starts(imported_modules(path), *(others - built_on))
    }
    assert not wrong


def test_nothing_imports_in_circles():
    """Nor within functions: where a circle is needed, something belongs in a file of its own.

    `codec.py` is the one exception: its last two functions, the face of the package, open codecs by the registry.
    """
    left = {module(path): imported_modules(path) - {module(path)} for path in SOURCES}
    left["obverse.codec"] -= {"obverse.registry"}
    while free := {name for name, needs in left.items() if not needs & left.keys()}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert not left


@pytest.mark.parametrize(
    "path",
    [p for p in files("transforms", "quantization", "priors") if p.name != "__init__.py"],
    ids=lambda p: f"{p.parent.name}/{p.name}",
)
def test_what_is_shared_is_shared(path):
    """Two codecs import it, or it is a published algorithm (its docstring says where) that imports no codec."""
    users = {
        folder.name
        for folder in CODECS
        if any(module(path) in imported_modules(file) for file in folder.rglob("*.py"))
    }
    published = re.search(r"\b(19|20)\d\d\b", ast.get_docstring(ast.parse(path.read_text())) or "")
    assert len(users) >= 2 or (published and not starts(imports(path), "obverse.codecs")), users


def test_importing_obverse_is_light():
    code = "import sys, obverse; obverse.list_codecs(); print([m for m in ('torch', 'numba') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
