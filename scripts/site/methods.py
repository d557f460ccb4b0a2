"""Reference pages of the codecs, made of what each method declares."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from obverse.fields import OptionField
from obverse.method import Method
from obverse.registry import built_in_methods


def method_pages() -> Iterator[tuple[str, str]]:
    """(uri, text) of a page that lists the codecs, and of one for each."""
    methods = built_in_methods().values()
    rows = [
        (f"[`{m.id}`]({m.id}.md)", m.summary, m.data, _yes(m.lossless), _yes(m.side_info)) for m in methods
    ]
    heads = ("codec", "what it is for", "kind of data", "lossless", "side information")
    yield (
        "reference/codecs/index.md",
        "# Codecs\n\nEach is a [declaration](../python/obverse.method.md) in a folder of its own, which this page and "
        "the pages behind it are made of.\n\n" + table(heads, rows),
    )
    for method in methods:
        yield f"reference/codecs/{method.id}.md", _page(method)


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of Markdown; a bar in a cell is escaped, but not in code, where it is no bar of the table."""
    lines = [heads, ("---",) * len(heads), *rows]
    return "".join("| " + " | ".join(map(_escaped, line)) + " |\n" for line in lines)


def _escaped(cell: str) -> str:
    parts = cell.split("`")  # code is every second part
    return "`".join(part if i % 2 else part.replace("|", "\\|") for i, part in enumerate(parts))


def _page(method: Method) -> str:
    module, _, name = method.where(method.codec).partition(":")
    folder = method.package.replace(".", "/")
    parts = [
        f"# {method.id}",
        f"{method.summary[:1].upper()}{method.summary[1:]}.",
        table(("", ""), _facts(method)),
    ]
    parts.append(
        f"```sh\nobverse compress --codec {method.id} FILE\nobverse decompress FILE.obv"
        f"{' --side-info OTHER' if method.side_info else ''}\n```"
    )
    parts += [
        "## Options",
        _options(method),
        "## Class",
        f"::: {module}.{name}\n    options:\n      heading_level: 3",
    ]
    parts += [
        "## Code",
        f"[`src/{folder}/`](../../../src/{folder}/__init__.py); its files are in the [table of files](../files.md).",
    ]
    return "\n\n".join(parts) + "\n"


def _facts(method: Method) -> list[tuple[str, ...]]:
    commands = [f"[`obverse train {method.id}`](../commands/train.md)"] if method.training else []
    commands += [f"[`obverse {command.name}`](../commands/{command.name}.md)" for command in method.commands]
    models = [f"[`{name}`](../../../src/obverse/zoo/{name}/card.md)" for name in method.models]
    read = ", ".join(sorted(method.kind.read))
    facts = {
        "kind of data": f"{method.data}{', a folder is one set' if method.kind.folder else ''} ({read})",
        "lossless": _yes(method.lossless),
        "side information": "needed to decode" if method.side_info else "not taken",
        "models": ", ".join(models) or "none shipped",
        "builds on": ", ".join(f"[`{name}`]({name}.md)" for name in method.builds_on),
        "described by": method.paper,
        "commands": ", ".join(commands),
    }
    return [(name, fact) for name, fact in facts.items() if fact]


def _options(method: Method) -> str:
    options = method.options_class
    types = {entry.name: str(entry.type) for entry in fields(options)}
    rows = [
        (f"`{o.name}`", f"`{types[o.name]}`", f"`{o.default!r}`", _range(o), o.about.help, _flag(o))
        for o in options.described()
    ]
    one_of = (
        f"At most one of {', '.join(f'`{name}`' for name in options.one_of)}.\n\n" if options.one_of else ""
    )
    return one_of + table(("name", "type", "default", "range", "what it is", "flag"), rows)


def _range(option: OptionField) -> str:
    return option.expected if option.kind in (int, float) or option.about.choices else ""


def _flag(option: OptionField) -> str:
    if not option.about.flag:
        return ""
    long = "--" + option.name.replace("_", "-")
    return f"`{long}`, `{option.about.short}`" if option.about.short else f"`{long}`"


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"
