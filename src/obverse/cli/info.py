"""`obverse info`: what is in a file. Light: no codec and no NumPy is imported for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from obverse.cli.batch import STDIN, Job, Row, run_jobs
from obverse.cli.console import out, printable, to_json
from obverse.cli.files import read_stdin
from obverse.cli.options import Json, Memory, limits_of
from obverse.container import describe
from obverse.errors import CodecNameError, DeclarationError
from obverse.registry import find_method


def info(
    inputs: Annotated[list[Path], Parameter(help="Files, or - for standard input.")],
    /,
    *,
    json: Json = False,
    memory: Memory = None,
) -> int:
    """Show what .obv files hold, and check their checksums; nothing is decoded.

    For example:

    - `obverse info photo.obv`
    - `obverse info --json packed/*.obv`
    """

    limits = limits_of(False, memory)

    def work(job: Job) -> Row:
        facts = describe(read_stdin() if job.source == STDIN else job.source, limits)
        return {"input": str(job.source)} | facts

    rows, code = run_jobs([Job(path, STDIN) for path in inputs], "reading", work, force=True)
    if json:
        out(to_json(rows))
        return code
    for facts in rows:
        if "error" not in facts:
            show_facts(facts)
    return code


def show_facts(facts: dict[str, Any]) -> None:
    """The facts of `obverse.container.describe`, and `input`, the name of the file."""
    size, shape = facts["file_bytes"], facts["shape"]
    model = f", model {facts['model']}" if facts["model"] else ""
    out(f"{facts['input']}: {size} bytes, format version {facts['version']}, checksums hold")
    out(f"  codec     {printable(facts['codec'])}{model}")
    out(f"  shape     {' x '.join(map(str, shape))}")
    for name, text in (_of_codec(facts) or {"config": facts["config"]}).items():
        out(f"  {name:9} {printable(text)}")
    if facts["items"] is not None:
        out(f"  items     {facts['items']}, {facts['item_bytes']} bytes")
    for name, length in facts["sections"].items():
        out(f"  section   {printable(name)}: {length} bytes")
    for name, value in facts["metadata"].items():
        out(f"  metadata  {printable(name)}: {printable(value)}")
    out(f"  overhead  {size - sum(facts['sections'].values()) - (facts['item_bytes'] or 0)} bytes")


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
