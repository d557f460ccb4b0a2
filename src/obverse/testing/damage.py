"""Files as a hostile writer makes them: whole containers, with checksums that hold and contents that cannot be.

container ──► one to three changes: config, shape, sections, items, bytes of a section ──► container
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

from obverse.container import Container

# what stands where a small whole number is expected
HOSTILE: tuple[Any, ...] = (
    -1, 0, 1, 2, 255, 256, 2**31, 2**32, 2**40, 2**63, None, True, 1.5, float("nan"), float("inf"), "", "x", b"",
    [], [0], [2**40, -1], {}, {0: 0},
)  # fmt: skip
LENGTHS = (0, 1, 2, 3, 4, 17, 2**15, 2**31, 2**40)  # of an axis


class Choose(Protocol):
    """Where choices come from: a seeded generator, or a fuzzer's bytes."""

    def below(self, count: int) -> int:
        """A whole number from 0 to count - 1."""

    def some_bytes(self, count: int) -> bytes:
        """So many bytes."""


class Seeded:
    """Choices by a seed, the same everywhere."""

    def __init__(self, seed: int):
        import random

        self._random = random.Random(seed)

    def below(self, count: int) -> int:
        return self._random.randrange(count)

    def some_bytes(self, count: int) -> bytes:
        return self._random.randbytes(count)


def hostile(container: Container) -> Iterator[tuple[str, Container]]:
    """All single changes of header and structure, each with a word that says what it is."""
    keys = [*container.config, next(k for k in range(99) if k not in container.config), "x"]
    for key in keys:
        for value in HOSTILE:
            if key not in container.config or not _equal(container.config[key], value):
                yield (
                    f"config {key!r} is {value!r}",
                    replace(container, config=dict(container.config) | {key: value}),
                )
    for key in container.config:
        rest = {k: v for k, v in container.config.items() if k != key}
        yield f"config without {key!r}", replace(container, config=rest)
    shape = container.shape
    for other in {(), (0,), (1,), (2**40,), (*shape, 1), (*shape, 2**20), shape[:-1], shape[1:]} - {shape}:
        yield f"shape {other}", replace(container, shape=other)
    for axis in range(len(shape)):
        for length in LENGTHS:
            if length != shape[axis]:
                other = (*shape[:axis], length, *shape[axis + 1 :])
                yield f"shape {other}", replace(container, shape=other)
    sections = dict(container.sections)
    for name in sections:
        yield (
            f"no section {name!r}",
            replace(container, sections={k: v for k, v in sections.items() if k != name}),
        )
        yield f"section {name!r} empty", replace(container, sections=sections | {name: b""})
        yield (
            f"section {name!r} longer",
            replace(container, sections=sections | {name: sections[name] + b"\0"}),
        )
        yield f"section {name!r} cut", replace(container, sections=sections | {name: sections[name][:-1]})
    if container.items is None:
        yield "another section", replace(container, sections=sections | {"other": b"x"})
        yield "items in place of sections", replace(container, sections={}, items=tuple(sections.values()))
    else:
        items = container.items
        yield "no items", replace(container, items=())
        yield "an item more", replace(container, items=(*items, b"x"))
        yield "an item less", replace(container, items=items[:-1])
        yield "items empty", replace(container, items=(b"",) * len(items))
        yield "items backwards", replace(container, items=items[::-1])
        yield (
            "sections in place of items",
            replace(container, sections={str(i): v for i, v in enumerate(items)}, items=None),
        )


def damaged(container: Container, choose: Choose) -> Container:
    """The container after one to three changes, most of them of bytes behind the header."""
    for _ in range(1 + choose.below(3)):
        container = _change(container, choose)
    return container


def _change(container: Container, choose: Choose) -> Container:
    kind = choose.below(8)
    if kind == 0 and container.config:
        key = list(container.config)[choose.below(len(container.config))]
        value = HOSTILE[choose.below(len(HOSTILE))] if choose.below(2) else choose.below(4000) - 2
        return replace(container, config=dict(container.config) | {key: value})
    if kind == 1 and container.shape:
        axis = choose.below(len(container.shape))
        length = LENGTHS[choose.below(len(LENGTHS))] if choose.below(2) else choose.below(300)
        return replace(container, shape=(*container.shape[:axis], length, *container.shape[axis + 1 :]))
    if container.items is not None:
        if not container.items:
            return container
        number = choose.below(len(container.items))
        item = _bytes(container.items[number], choose)
        return replace(container, items=(*container.items[:number], item, *container.items[number + 1 :]))
    if not container.sections:
        return container
    name = list(container.sections)[choose.below(len(container.sections))]
    return replace(
        container, sections=dict(container.sections) | {name: _bytes(container.sections[name], choose)}
    )


def _bytes(content: bytes, choose: Choose) -> bytes:
    """Bytes changed, cut, drawn or doubled."""
    kind = choose.below(5)
    if kind <= 1 and content:
        changed = bytearray(content)
        for _ in range(1 + choose.below(3)):
            changed[choose.below(len(changed))] ^= 1 + choose.below(255)
        return bytes(changed)
    if kind == 2:
        return content[: choose.below(len(content) + 1)]
    if kind == 3:
        return content + content[: choose.below(len(content) + 1)]
    return choose.some_bytes(choose.below(2 * len(content) + 40))


def _equal(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b
