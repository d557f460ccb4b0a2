"""Reference pages of the commands: the help of each, as the command line has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from obverse.cli.app import app, load_commands


def command_pages() -> Iterator[tuple[str, str]]:
    """(uri, text) of a page about the whole, and of one for each command, with the commands below it."""
    load_commands()
    names = sorted(name for name in app if not name.startswith("-"))
    listed = "".join(
        f"- [`obverse {name}`]({name}.md): {_first_sentence(app[name].help)}\n" for name in names
    )
    yield "reference/commands/index.md", f"# Commands\n\n{app.help}\n\n## All commands\n\n{listed}"
    for name in names:
        yield f"reference/commands/{name}.md", _page(name)


def _page(name: str) -> str:
    text = app[name].generate_docs(output_format="markdown", usage_name=f"obverse {name}")
    text = re.sub(
        r"## Table of Contents\n.*?(?=\*\*Commands)", "", text, flags=re.DOTALL
    )  # the site has its own
    text = re.sub(r"^(#+) ", r"\1 obverse ", text, flags=re.MULTILINE)
    return text.replace("](#", "](#obverse-")


def _first_sentence(help_: str) -> str:
    return help_.split("\n\n")[0]
