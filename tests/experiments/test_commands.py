"""Every command in README and docs (`python experiments/...`, `benchmarks/...`, `obverse evaluate`) can start."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shlex
import sys
from pathlib import Path
from unittest import mock

import pytest

from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
START = r"(?:python (?:experiments|benchmarks|scripts)/|obverse evaluate )"
# between backticks, where a line break is a space, or a line of its own in a block
COMMAND = re.compile(rf"`({START}[^`]+)`|^ *\$? ?({START}(?:[^\n\\]|\\\n)+)$", re.MULTILINE)


def commands() -> list[str]:
    found: dict[str, None] = {}
    for page in PAGES:
        for inline, block in COMMAND.findall(page.read_text()):
            line = inline or block.split(" #")[0].replace("\\\n", " ")
            found[" ".join(line.split())] = None
    return list(found)


SCRIPTS = sorted(
    path.relative_to(REPOSITORY)
    for folder in ("experiments", "benchmarks")
    for path in (REPOSITORY / folder).rglob("*.py")
    if "__main__" in path.read_text()
)


class Accepted(Exception):
    """The parser took the arguments; the script stops before it does anything."""


def start(script: Path, arguments: list[str], monkeypatch) -> None:
    """Run a script as `python SCRIPT ARGUMENTS` does, to where its arguments are read."""
    parse_args = argparse.ArgumentParser.parse_args

    def stop(self, args=None, namespace=None):
        parse_args(self, args, namespace)
        raise Accepted

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    monkeypatch.delenv("OBVERSE_DATA", raising=False)
    before = set(sys.modules)
    try:
        with mock.patch.dict(os.environ):  # what a script sets for itself
            runpy.run_path(str(script), run_name="__main__")
    finally:  # `figures` of one topic is not `figures` of another
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).parent == script.parent:
                del sys.modules[name]


def test_there_are_commands_to_try():
    assert len(commands()) > 20


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("python")])
def test_a_script_starts_as_written(command, monkeypatch, capsys):
    _, script, *arguments = shlex.split(command)
    assert (REPOSITORY / script).is_file(), f"there is no {script}"
    try:
        start(REPOSITORY / script, arguments, monkeypatch)
    except Accepted:
        return
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    pytest.fail(f"{script} reads no arguments")


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("obverse")])
def test_evaluate_starts_as_written(command):
    from obverse.cli.app import app

    function, bound, _ = app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
    assert function.__name__ == "evaluate" and bound.arguments["inputs"]


@pytest.mark.parametrize("script", SCRIPTS, ids=str)
def test_help_says_what_it_does(script, monkeypatch, capsys):
    with pytest.raises(SystemExit) as stopped:
        start(REPOSITORY / script, ["--help"], monkeypatch)
    assert stopped.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3
