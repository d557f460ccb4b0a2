"""What mkdocs calls while it builds the site (mkdocs.yml): pages made of the code, links, folders of the navigation."""

from __future__ import annotations

import re
from typing import Any

from links import file_page, in_site, linked_places, place_of, uri_of
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

LOADED = re.compile(r"""<(?:script|img|link|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//[^>]*>""")


def on_files(files: Files, config: MkDocsConfig) -> Files:
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


def _expanded(entry: Any, files: Files) -> Any:
    """An entry of the navigation: "folder/" becomes the pages of the folder; None for a folder without pages."""
    if isinstance(entry, dict):
        title, content = next(iter(entry.items()))
        content = _expanded(content, files)
        return {title: content} if content else None
    if isinstance(entry, str) and entry.endswith("/"):
        return sorted(page.src_uri for page in files.documentation_pages() if page.src_uri.startswith(entry))
    return entry
