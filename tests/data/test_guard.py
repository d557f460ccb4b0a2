"""Whatever a library raises ends in one sentence of ours."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from obverse.data.guard import guarded
from obverse.errors import InputError, LimitError


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no good\nat all"), "x is damaged: no good; remove it"),
        (OSError(21, "Is a directory", "x"), "x is damaged: Is a directory; remove it"),
        (KeyError("IHDR"), "x is damaged: KeyError: 'IHDR'; remove it"),
        (RuntimeError("Failed to encode"), "x is damaged: Failed to encode; remove it"),
        (NotImplementedError("DXT9"), "x is damaged: DXT9; remove it"),
        (struct.error("bad char"), "x is damaged: error: bad char; remove it"),
        (zlib.error("Error -3"), "x is damaged: error: Error -3; remove it"),
        (AssertionError(), "x is damaged: AssertionError; remove it"),
        (MemoryError(), "x is damaged: it would take more memory than there is; remove it"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_error_becomes_an_input_error_with_its_cause(error: Exception, text: str) -> None:
    with pytest.raises(InputError) as told, guarded("x is damaged", "remove it"):
        raise error
    assert str(told.value) == text and told.value.__cause__ is error


def test_a_missing_file_is_said_to_be_nothing_else() -> None:
    with pytest.raises(InputError) as told, guarded("x is damaged", "remove it"):
        Path("/none/x.png").read_bytes()
    assert str(told.value) == "there is no file /none/x.png"


def test_our_own_errors_and_interruptions_pass() -> None:
    for error in (LimitError("too large"), KeyboardInterrupt()):
        with pytest.raises(type(error)), guarded("x is damaged"):
            raise error
