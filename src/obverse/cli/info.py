"""`obverse info`: what is in a file. Light: no codec and no NumPy is imported for it."""

from __future__ import annotations

import math
import os
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from obverse.cli.batch import Batch, Row
from obverse.cli.console import human, out, printable, to_json
from obverse.cli.files import read_stream
from obverse.cli.options import Json, Memory, limits_of
from obverse.cli.plan import STDIN, Job, Plan, files_under
from obverse.container import ItemReader, Limits, describe
from obverse.errors import CodecNameError, DeclarationError
from obverse.registry import find_method


def info(
    inputs: Annotated[list[Path], Parameter(help="Files, folders, or - for standard input.")],
    /,
    *,
    json: Json = False,
    memory: Memory = None,
) -> int:
    """Show what .obv files hold, and check their checksums; nothing is decoded.

    For example:

    - `obverse info photo.obv`
    - `obverse info --json packed/`
    """

    jobs, skipped = [], []
    for path in inputs:
        found, others = files_under(path, {".obv"}, only=True) if _is_folder(path) else ([path], [])
        jobs += [Job(file, STDIN) for file in found]
        skipped += others
    rows, code = Batch("reading", force=True).run(jobs, partial(_facts, limits_of(False, memory)))
    whole = Plan(jobs, skipped)
    whole.tell_skipped()
    if json:
        out(to_json(rows + whole.skipped_rows()))
        return code
    read = [facts for facts in rows if "error" not in facts]
    for facts in read:
        show_facts(facts)
    if len(read) > 1:
        total = sum(facts["file_bytes"] for facts in read)
        counts = Counter(printable(facts["codec"]) for facts in read)
        out(
            f"{len(read)} files, {human(total)}: {', '.join(f'{n} {codec}' for codec, n in counts.most_common())}"
        )
    return code


def _is_folder(path: Path) -> bool:
    return path != STDIN and os.path.isdir(path)


def _facts(limits: Limits, job: Job) -> Row:
    data = read_stream(job.source, limits)
    source = job.source if data is None else data
    row = row_of(str(job.source), describe(source, limits))
    with suppress(CodecNameError, DeclarationError):
        method = find_method(row["codec"])
        if method.parts is not None and row["items"] is not None:
            with ItemReader(source, limits) as reader:
                row["parts"] = list(method.resolve(method.parts)(reader, limits))
    return row


def row_of(name: str, facts: dict[str, Any]) -> Row:
    """What `obverse.container.describe` says of a file, and what its method makes of that."""
    row = {"input": name} | facts | {"facts": _of_codec(facts)}
    with suppress(CodecNameError, DeclarationError):
        method = find_method(facts["codec"])
        row["method"] = method.summary
        if method.data.endswith("image") and len(facts["shape"]) == 2 and all(facts["shape"]):
            row["bpp"] = 8 * facts["file_bytes"] / math.prod(facts["shape"])
    with suppress(KeyError, ValueError):
        row["quality"] = float(row["facts"]["quality"])
    return row


def show_facts(facts: dict[str, Any]) -> None:
    """Those of a row."""
    size, shape = facts["file_bytes"], facts["shape"]
    model = f", model {facts['model']}" if facts["model"] else ""
    out(f"{printable(facts['input'])}: {size} bytes, format version {facts['version']}, checksums hold")
    out(f"  codec     {printable(facts['codec'])}{model}")
    out(f"  shape     {' x '.join(map(str, shape))}")
    for name, text in (facts["facts"] or {"config": facts["config"]}).items():
        out(f"  {name:9} {printable(text)}")
    if facts.get("parts"):
        _show_parts(facts["parts"])
    if facts["items"] is not None:
        out(f"  items     {facts['items']}, {facts['item_bytes']} bytes")
    for name, length in facts["sections"].items():
        out(f"  section   {printable(name)}: {length} bytes")
    for name, value in facts["metadata"].items():
        out(f"  metadata  {printable(name)}: {printable(value)}")
    out(f"  overhead  {size - sum(facts['sections'].values()) - (facts['item_bytes'] or 0)} bytes")


def _show_parts(rows: list[dict[str, Any]]) -> None:
    """A table with a line each."""
    lines = [list(rows[0]), *([printable(str(cell)) for cell in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        out("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _of_codec(facts: dict[str, Any]) -> dict[str, str]:
    """What the codec's declaration says of its file; nothing for codecs not known here, or a config that cannot be."""
    try:
        method = find_method(facts["codec"])
        return dict(method.resolve(method.facts)(facts)) if method.facts else {}
    except (
        CodecNameError,
        DeclarationError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        ArithmeticError,
    ):
        return {}
