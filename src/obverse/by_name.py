"""What a user names as `module:name`: a model, an encoder, a classifier in Python."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from obverse.errors import InputError

_PATTERN = re.compile(r"([A-Za-z_][\w.]*):([A-Za-z_]\w*)")


def is_name(text: str) -> bool:
    """Whether it looks like `module:name`."""
    return _PATTERN.fullmatch(text) is not None


def imported(text: str, what: str) -> Any:
    """What `module:name` names; the module may lie in the working folder.

    Args:
        text: `module:name`.
        what: what it should be, as errors say it.

    Raises:
        InputError: for what cannot be imported.
    """
    module, _, name = text.partition(":")
    try:
        with working_folder():
            return getattr(importlib.import_module(module), name)
    except Exception as error:  # a module of the user's may raise anything
        raise InputError(f"the {what} {text} cannot be imported: {error}") from error


@contextmanager
def working_folder() -> Iterator[None]:
    """Modules are looked for in the working folder too, last: installed commands do not look there."""
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
