"""The command line. `main` is the console script; it turns errors into one sentence and an exit code."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `obverse ARGUMENTS`; ends the process with the exit code (errors.py lists them)."""
    sys.exit(run(sys.argv[1:] if arguments is None else list(arguments)))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code, without ending the process."""
    from obverse.cli.app import app
    from obverse.cli.console import say
    from obverse.errors import ObverseError

    if hasattr(signal, "SIGTERM"):
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as for Ctrl-C
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = lambda message, *rest, **more: say(f"warning: {message}")
        try:
            # a lone - is a path here (standard input or output), not an option
            tokens = ["./-" if token == "-" else token for token in arguments]
            result = app(tokens, result_action="return_value", exit_on_error=True)
            return result if isinstance(result, int) else 0
        except ObverseError as error:
            say(f"error: {error}")
            return error.exit_code
        except KeyboardInterrupt:
            say("interrupted; nothing half-written was left behind")
            return INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except MemoryError:
            say("error: out of memory; the data is too large for this machine")
            return 1
        except SystemExit as stop:
            # cyclopts ends with 1 on a wrong command line; 2 is what shells expect
            return 2 if stop.code not in (0, None) else 0
