"""Links that lead out of docs/, to a source file or to README, lead to a page of the site that shows the file."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
SHOWN = "repository/"  # where pages of files outside of docs/ lie in the site
LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s#]+)(#[^)\s]*)?\)")
SHOWABLE = {"", ".csv", ".json", ".md", ".py", ".toml", ".txt"}
SCHEME = re.compile(r"[a-z]+:")


def place_of(uri: str) -> str:
    """The place of a page in the repository: 'docs/format.md', 'README.md', 'src/obverse/codec.py'."""
    if not uri.startswith(SHOWN):
        return f"docs/{uri}"
    place = uri.removeprefix(SHOWN)
    return place if (REPOSITORY / place).is_file() else place.removesuffix(".md")


def uri_of(place: str) -> str | None:
    """The page that shows what lies at a place of the repository, or None: there is none for folders and pictures."""
    if (REPOSITORY / place).is_dir() and (REPOSITORY / place / "__init__.py").is_file():
        place += "/__init__.py"
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    if not (REPOSITORY / place).is_file() or Path(place).suffix not in SHOWABLE:
        return None
    return SHOWN + place + ("" if place.endswith(".md") else ".md")


def linked_places(text: str, place: str) -> Iterator[str]:
    """Places of the files outside of docs/ that a page links to."""
    for _, target, _ in LINK.findall(text):
        uri = None if SCHEME.match(target) else uri_of(_resolve(place, target))
        if uri is not None and uri.startswith(SHOWN):
            yield place_of(uri)


def in_site(text: str, uri: str) -> str:
    """The text of a page with its links as they are in the site; a link to what has no page becomes its words."""

    def replace(found: re.Match[str]) -> str:
        words, target, heading = found[1], found[2], found[3] or ""
        if SCHEME.match(target) or not (REPOSITORY / _resolve(place_of(uri), target)).exists():
            return found[0]
        linked = uri_of(_resolve(place_of(uri), target))
        if linked is None:
            return words
        return f"[{words}]({posixpath.relpath(linked, posixpath.dirname(uri) or '.')}{heading})"

    return LINK.sub(replace, text)


def file_page(place: str) -> str:
    """The page of a file outside of docs/: what a .md file says, and the text of any other."""
    text = (REPOSITORY / place).read_text(encoding="utf-8")
    if place.endswith(".md"):
        return text
    language = {".py": "python", ".toml": "toml"}.get(Path(place).suffix, "text")
    return f"---\nsearch:\n  exclude: true\n---\n# {place}\n\n``````{language}\n{text}``````\n"


def _resolve(place: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
