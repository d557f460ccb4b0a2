"""The command line. `main` is the console script; it turns errors into one sentence and an exit code."""

from __future__ import annotations

import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

WRONG_USE = 2
INTERRUPTED = 130  # 128 + SIGINT
BROKEN_PIPE = 141  # 128 + SIGPIPE: what a shell shows for any program whose reader went away


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `obverse ARGUMENTS`; ends the process with the exit code (errors.py lists them)."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code, without ending the process."""
    try:
        from obverse.cli.console import explain, flush, say

        with _terminated_like_ctrl_c(), _warnings_as_sentences():
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
        done = f"{stop.args[0]}; " if stop.args else ""
        sys.stderr.write(f"interrupted: {done}nothing half-written was left behind\n")
        return INTERRUPTED


def _command(arguments: Sequence[str]) -> int:
    from obverse.cli.app import app, load_commands

    if not set(arguments) - {"--help", "-h"}:
        load_commands()
    # a lone - is a path here (standard input or output), not an option
    tokens = ["./-" if token == "-" else token for token in arguments]
    try:
        result = app(tokens, result_action="return_value", exit_on_error=True)
    except SystemExit as stop:
        # cyclopts ends with 1 or 2 on a wrong command line; 2 is what shells expect
        return WRONG_USE if stop.code not in (0, None) else 0
    return result if isinstance(result, int) else 0


@contextmanager
def _terminated_like_ctrl_c() -> Iterator[None]:
    """SIGTERM cleans up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextmanager
def _warnings_as_sentences() -> Iterator[None]:
    """Warnings are told on stderr; those meant for programmers are not."""
    from obverse.cli.console import say

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", UserWarning)
        warnings.simplefilter("default", RuntimeWarning)
        warnings.showwarning = lambda message, *rest, **more: say(f"warning: {message}")
        yield
