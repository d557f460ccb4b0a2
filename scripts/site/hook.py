"""What mkdocs calls while it builds the site (mkdocs.yml): pages made of the code, links, folders of the navigation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from api import api_pages
from commands import command_pages
from links import file_page, in_site, linked_places, place_of, uri_of
from methods import method_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from source_files import file_pages

LOADED = re.compile(r"""<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for uri, text in (*_index(), *api_pages(), *method_pages(), *command_pages(), *file_pages()):
        files.append(File.generated(config, uri, content=text))
    _add_linked(files, config)
    config.nav = [entry for entry in (_expanded(entry, files) for entry in config.nav) if entry]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    return in_site(markdown, page.file.src_uri) if place_of(page.file.src_uri).endswith(".md") else markdown


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """The site is read offline: no page loads anything from another host."""
    loaded = LOADED.search(output)
    if loaded:
        raise PluginError(f"{page.file.src_uri} loads from another host: {loaded[0]}")
    return output


def _add_linked(files: Files, config: MkDocsConfig) -> None:
    """A page for each file outside of docs/ that a page links to, and those that these link to."""
    pages = list(files.documentation_pages())
    while pages:
        page = pages.pop()
        place = place_of(page.src_uri)
        for linked in linked_places(page.content_string, place) if place.endswith(".md") else ():
            uri = uri_of(linked)
            if uri is not None and files.get_file_from_path(uri) is None:
                added = File.generated(config, uri, content=file_page(linked))
                files.append(added)
                pages.append(added)


def _index() -> Iterator[tuple[str, str]]:
    yield (
        "reference/index.md",
        "# Reference\n\nMade of the code each time that the site is built.\n\n"
        "- [Python](python/obverse.md): modules, classes and functions.\n"
        "- [Codecs](codecs/index.md): what each is for, its options, its models.\n"
        "- [Commands](commands/index.md): `obverse` on the command line.\n"
        "- [Files](files.md): what each source file is.\n",
    )


def _expanded(entry: Any, files: Files) -> Any:
    """An entry of the navigation: "folder/" becomes the pages in the folder; None for a folder without pages."""
    if isinstance(entry, dict):
        title, content = next(iter(entry.items()))
        content = _expanded(content, files)
        return {title: content} if content else None
    if isinstance(entry, str) and entry.endswith("/"):
        return _folder(entry, [page.src_uri for page in files.documentation_pages()])
    return entry


def _folder(folder: str, uris: list[str]) -> list[Any]:
    """Its index, its pages, and then the folders in it."""
    inside = sorted(uri.removeprefix(folder) for uri in uris if uri.startswith(folder))
    pages = sorted((uri for uri in inside if "/" not in uri), key=lambda uri: (uri != "index.md", uri))
    folders = dict.fromkeys(uri.partition("/")[0] for uri in inside if "/" in uri)
    below = [{name.replace("-", " ").capitalize(): _folder(f"{folder}{name}/", uris)} for name in folders]
    return [folder + uri for uri in pages] + below
