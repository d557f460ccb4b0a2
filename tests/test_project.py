"""The files beside the code: changelog, citation, hooks and links say what is so."""

import re
import tomllib
from datetime import date
from pathlib import Path

import pytest

import obverse

REPOSITORY = Path(__file__).parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text()
PAGES = [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")]


def test_one_version_everywhere():
    cited = re.search(r"^version: (.+)$", (REPOSITORY / "CITATION.cff").read_text(), re.MULTILINE)
    assert PROJECT["version"] == obverse.__version__ == cited[1]


def test_changelog_has_what_is_unreleased_and_this_version():
    heads = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    versions = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", head) for head in heads[1:]]
    assert all(versions), heads
    assert versions[0][1] == PROJECT["version"]
    days = [date.fromisoformat(found[2]) for found in versions]
    assert days == sorted(days, reverse=True)


def test_changelog_sections_are_those_of_keep_a_changelog():
    sections = set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_citation_is_one_that_readers_of_cff_take():
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert citation["license"] == PROJECT["license"]
    assert [author["name"] for author in citation["authors"]] == [a["name"] for a in PROJECT["authors"]]
    assert isinstance(citation["date-released"], date)


def test_hooks_run_tools_that_the_project_brings():
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text()
    tools = {Path(entry).name for entry in re.findall(r"entry: (\S+)", hooks)}
    dev = {re.split(r"[<>=]", requirement)[0] for requirement in PROJECT["optional-dependencies"]["dev"]}
    assert tools and tools <= dev
    assert set(re.findall(r"repo: (\S+)", hooks)) == {"local"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        if re.match(r"[a-z]+:", path):
            continue
        linked = page if not path else page.parent / path
        assert linked.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert heading in {slug(text) for text in headings}, target


def slug(heading: str) -> str:
    """The anchor of a heading, as code hosts and mkdocs make it."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def test_every_requirement_is_pinned():
    pins = {name(line) for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line}
    optional = PROJECT["optional-dependencies"]
    wanted = {name(line) for line in (*PROJECT["dependencies"], *optional["dev"], *optional["docs"])}
    assert wanted <= pins


def name(requirement: str) -> str:
    return re.split(r"[<>=\[]", requirement)[0].lower().replace("_", "-")
