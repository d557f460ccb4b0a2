"""docs/results/ and the table of README say what the CSV files say, and how to get them."""

from __future__ import annotations

import re
import runpy
import textwrap

import pytest

from tests.conftest import REPOSITORY

SCRIPT = runpy.run_path(str(REPOSITORY / "scripts" / "results.py"))
PAGES = sorted((REPOSITORY / "docs" / "results").glob("*.md"))
SECTIONS = [
    pytest.param(page, section, id=f"{page.stem}: {section.splitlines()[0]}")
    for page in PAGES
    if page.name != "index.md"
    for section in re.split(r"^## ", page.read_text(), flags=re.MULTILINE)[1:]
]


def test_no_page_is_stale():
    assert not SCRIPT["stale"](), "run python scripts/results.py"


@pytest.mark.parametrize(("page", "section"), SECTIONS)
def test_a_section_says_how_its_figures_are_made(page, section):
    for word in ("- Command: `", "- Data: ", "- Time: ", "- Rows: ["):
        assert f"\n{word}" in section, f"{word}..."
    for rows in re.findall(r"\]\(([^)]+\.csv)\)", section):
        assert (page.parent / rows).is_file()


def test_every_page_is_in_the_index():
    index = (REPOSITORY / "docs" / "results" / "index.md").read_text()
    assert all(f"({page.name})" in index for page in PAGES if page.name != "index.md")


@pytest.fixture
def table(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text("codec,q,bytes,a: b\nx,1,100,3\nx,2,400,4\ny,1,50,none\n")
    monkeypatch.setitem(SCRIPT["render"].__globals__, "ROOT", tmp_path)
    return "<!-- csv t t.csv -->\n"


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{{t codec=y: bytes}}", "50"),
        ("{{t codec=x q=2.0: bytes 1/8 .1f}}", "50.0"),
        (
            "{{t codec=x: sum bytes ,}} {{t: max bytes}} {{t: count q}} {{t codec=x: mean bytes}}",
            "500 400 3 250.0",
        ),
        ("{{t codec=x q=1: bytes / codec=y .2f}}", "2.00"),
        ("{{t codec=x q=1: bytes -20 .0f}}", "80"),
        ("{{t codec=x q=2: bytes -20 / 'codec=y q=1' .1f}}", "7.6"),
        ('{{t codec=x q=2: "a: b"}}', "4"),
        (
            "{{rows t codec=x q=2,1\n| {q} | {bytes:.1f} | {a: b} |\n}}",
            "| 2 | 400.0 | 4 |\n| 1 | 100.0 | 3 |",
        ),
        ("{{rows t codec=y\n{a: b}\n}}", "none"),
    ],
)
def test_cells(table, text, made):
    assert SCRIPT["render"](table + text) == made


@pytest.mark.parametrize(
    "text",
    [
        "{{t codec=x: bytes}}",  # two rows
        "{{t codec=z: bytes}}",
        "{{t codec=y: bits}}",
        "{{u codec=y: bytes}}",
        "{{rows t codec=z\n{q}\n}}",
        "{{rows t\n{bits}\n}}",
        "{{t colour=y: bytes}}",
    ],
)
def test_what_is_not_in_the_files(table, text):
    with pytest.raises(SCRIPT["PageError"]):
        SCRIPT["render"](table + textwrap.dedent(text))
