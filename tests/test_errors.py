"""The tree of errors is what is drawn at its top, and every exit code has one meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator

from obverse import errors
from obverse.errors import ObverseError


def drawn() -> dict[str, tuple[int, str, int]]:
    """Name -> depth, parent and exit code, of the tree in the docstring."""
    found: dict[str, tuple[int, str, int]] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^ {4}((?:[│├└─ ])*)(\w+Error)\s+(?:exit code )?(\d+)", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            found[match[2]] = (depth, path[depth - 1] if depth else "Exception", int(match[3]))
    return found


def classes(
    base: type[ObverseError] = ObverseError, depth: int = 0
) -> Iterator[tuple[type[ObverseError], int]]:
    yield base, depth
    for child in base.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from classes(child, depth + 1)


def test_the_tree_is_drawn_as_it_is() -> None:
    there = {c.__name__: (depth, c.__bases__[0].__name__, c.exit_code) for c, depth in classes()}
    assert there == drawn()


def test_every_exit_code_has_one_meaning() -> None:
    codes = [c.exit_code for c, _ in classes()]
    assert len(codes) == len(set(codes))
    assert not set(codes) & {0, 2, 130, 141, 143}  # the command line's own


def test_every_error_says_what_it_is() -> None:
    for c, _ in classes():
        assert c.__doc__ and c.__doc__.splitlines()[0].endswith("."), c
