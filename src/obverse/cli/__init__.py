"""The command line. `main` is the console script; it turns errors into one sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from obverse.interrupts import Terminated, ignore_interrupts, interrupts_raised_once

WRONG_USE = 2
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE: what a shell shows for any program whose reader went away
TERMINATED = 143  # 128 + SIGTERM


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `obverse ARGUMENTS`; ends the process with the exit code (errors.py lists them)."""
    from obverse.cli.console import open_closed_streams

    open_closed_streams()
    code = run(sys.argv[1:] if arguments is None else list(arguments))
    ignore_interrupts()  # it is over: Python's own end is not to be interrupted
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code, without ending the process."""
    with interrupts_raised_once():
        try:
            from obverse.cli.console import explain, flush, say, warnings_as_sentences

            with warnings_as_sentences():
                try:
                    code = _command(arguments)
                    flush()
                    return code
                except BrokenPipeError:
                    return BROKEN_PIPE
                except Exception as error:
                    text, code = explain(error)
                    say(f"error: {text}")
                    return code
        except KeyboardInterrupt as stop:
            from obverse.cli.console import say

            terminated = isinstance(stop, Terminated)
            done = f"{stop.args[0]}; " if stop.args else ""
            what = "terminated" if terminated else "interrupted"
            say(f"{what}: {done}nothing half-written was left behind")
            return TERMINATED if terminated else INTERRUPTED


def _command(arguments: Sequence[str]) -> int:
    from obverse.cli.app import app, load_commands

    if not set(arguments) - {"--help", "-h"}:
        load_commands()
    # a lone - is a path here (standard input or output), not an option
    tokens = ["./-" if token == "-" else token for token in arguments]
    try:
        result = app(tokens, result_action="return_value", exit_on_error=True)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich's way to end when its reader went away
            return BROKEN_PIPE
        # cyclopts ends with 1 or 2 on a wrong command line; 2 is what shells expect
        return WRONG_USE if stop.code not in (0, None) else 0
    return result if isinstance(result, int) else 0
