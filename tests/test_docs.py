"""The documentation: links of the site, and what its pages say of the code."""

import importlib
import re
import sys
from pathlib import Path

import pytest

from obverse.errors import ObverseError
from obverse.registry import built_in_methods

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def script(monkeypatch):
    """Imports a module of scripts/site, and forgets it again."""
    folder = REPOSITORY / "scripts/site"
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "/").parent == folder:
            del sys.modules[name]  # and no other: half of numba, say, cannot be imported again


def test_links_out_of_docs_lead_to_pages_of_the_site(script):
    links = script("links")
    text = "[a](../src/obverse/codec.py) [b](format.md#limits), [c](../src/obverse/zoo/image/card.md), [d](../examples)"
    assert links.in_site(text, "index.md") == (
        "[a](repository/src/obverse/codec.py.md) [b](format.md#limits), "
        "[c](repository/src/obverse/zoo/image/card.md), d"
    )
    assert list(links.linked_places(text, "docs/index.md")) == [
        "src/obverse/codec.py",
        "src/obverse/zoo/image/card.md",
    ]


def test_links_of_pages_outside_of_docs_are_those_of_their_place(script):
    links = script("links")
    text = "![p](docs/images/kodak_rd.png) [`f`](src/obverse/coding) [x](nowhere.md) [y](https://obverse.example/a)"
    assert links.in_site(text, "repository/README.md") == (
        "![p](../images/kodak_rd.png) [`f`](src/obverse/coding/__init__.py.md) [x](nowhere.md) "
        "[y](https://obverse.example/a)"
    )


def test_a_page_of_a_file_shows_all_of_it(script):
    page = script("links").file_page("src/obverse/method.py")
    assert (REPOSITORY / "src/obverse/method.py").read_text() in page


def test_a_page_for_each_codec_with_all_its_options(script):
    pages = dict(script("methods").method_pages())
    assert set(pages) == {f"reference/codecs/{name}.md" for name in ["index", *built_in_methods()]}
    for method in built_in_methods().values():
        page = pages[f"reference/codecs/{method.id}.md"]
        assert method.summary[1:] in page
        for option in method.options_class.described():
            assert f"| `{option.name}` |" in page and option.about.help.split("`")[0] in page
            assert (f"`--{option.name.replace('_', '-')}`" in page) == option.about.flag


def test_a_page_for_each_command_with_all_its_flags(script):
    pages = dict(script("commands").command_pages())
    declared = {command.name for method in built_in_methods().values() for command in method.commands}
    assert {f"reference/commands/{name}.md" for name in declared | {"compress", "train"}} <= set(pages)
    compress = pages["reference/commands/compress.md"]
    for method in built_in_methods().values():
        assert (f"## obverse train {method.id}\n" in pages["reference/commands/train.md"]) == bool(
            method.training
        )
        for option in method.options_class.described():
            assert not option.about.flag or f"`--{option.name.replace('_', '-')}" in compress


def test_the_python_pages_have_all_public_names(script):
    pages = dict(script("api").api_pages())
    for name in (
        "obverse",
        "obverse.coding",
        "obverse.container",
        "obverse.errors",
        "obverse.testing",
        "obverse.theory",
    ):
        public = [n for n in importlib.import_module(name).__all__ if not n.startswith("_")]
        assert public and all(f"::: {name}.{n}\n" in pages[f"reference/python/{name}.md"] for n in public)
    assert "::: obverse.data.images.read_photo\n" in pages["reference/python/obverse.data.md"]
    assert "::: obverse.registry.open_codec\n" in pages["reference/python/obverse.registry.md"]


def test_every_source_file_says_in_its_first_line_what_it_is(script):
    files = script("source_files")
    pages = dict(files.file_pages())
    for path in files.PACKAGE.rglob("*.py"):
        if path.read_text().strip():
            line = files.first_line(path)
            assert line.endswith("."), f"{path}: the first line of its docstring is no sentence"
            assert f"(../../{path.relative_to(REPOSITORY).as_posix()})" in pages["reference/files.md"]


def test_a_bar_in_a_table_is_escaped_but_not_in_code(script):
    assert (
        script("methods").table(("p(x|y)",), [("`int | None`",)])
        == "| p(x\\|y) |\n| --- |\n| `int | None` |\n"
    )


def test_the_errors_of_the_format_page_end_with_the_exit_codes_of_their_classes():
    text = (REPOSITORY / "docs/format.md").read_text()
    table = text[text.index("## Errors") : text.index("## Limits")]
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE)
    assert {name: int(code) for name, code in rows}.items() <= exit_codes_by_name().items()
    assert {"TruncatedError", "DamagedError", "NewerVersionError", "NotObverseError", "LimitError"} <= {
        n for n, _ in rows
    }


def exit_codes_by_name() -> dict[str, int]:
    kinds = [ObverseError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.__name__: kind.exit_code for kind in kinds}
