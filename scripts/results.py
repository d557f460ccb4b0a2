"""Write docs/results/, and the table of README, from the pages in experiments/results/ and the CSV files they name.

A page is Markdown with cells of CSV files in it. Comments at its top name the files, from the root of the repository:

    <!-- csv kodak benchmarks/results/kodak/summary.csv -->

    {{kodak codec=image quality=50: bpp .3f}}         the cell of the one row with these values, formatted
    {{kodak codec=image: max psnr .1f}}               the largest of the column in these rows; min, sum, mean, count
    {{sets set=mnist: net_bits 1/8 .1f}}              times a factor
    {{lossless codec=png: bytes / codec=webp .2f}}    by the same cell of another row
    {{split method=webp: bytes -20 .0f}}              less a number

    {{bd bpp psnr +.1f: jpeg | kodak codec=image}}    BD-rate in per cent of the second curve against the first;
    {{bd bpp psnr 2.0 +.1f: jpeg | ours}}             the same, up to this rate

    {{rows kodak codec=image quality=10,50,90         a line for each of these rows, in their order
    | {quality:g} | {bpp:.3f} |
    }}

Every section says by which command its figures are made, of which data, and how long that takes (CPU time).
"""

from __future__ import annotations

import argparse
import csv
import re
import shlex
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from obverse.metrics.bd_rate import bd_rate

ROOT = Path(__file__).resolve().parents[1]
PAGES, OUT = ROOT / "experiments" / "results", ROOT / "docs" / "results"
TABLE = "README.table.md"
BETWEEN = re.compile(r"(<!-- made by scripts/results.py -->\n)(.*?)(<!-- end -->\n)", re.DOTALL)

NAMED = re.compile(r"<!-- csv (\S+) (\S+) -->\n")
ROWS = re.compile(r"\{\{rows (\S+)([^\n]*)\n(.*?)\n\}\}", re.DOTALL)
COLUMN = re.compile(r"\{([^{}]+)\}")
BD = re.compile(r"\{\{bd (\S+) (\S+) ([^:\n]+): ([^|\n]+)\|([^}\n]+)\}\}")
CELL = re.compile(r"\{\{(\w+)((?:[^{}\n:]|:(?! ))*): ([^{}\n]+)\}\}")
OF_MANY = {"max": max, "min": min, "sum": sum, "mean": lambda values: sum(values) / len(values), "count": len}

Rows = list[dict[str, str]]


class PageError(Exception):
    """A page asks for what is not in the files."""


def render(text: str) -> str:
    """A page with the cells filled in. Raises PageError."""
    files = {name: _read(ROOT / path) for name, path in NAMED.findall(text)}

    def rows_of(name: str, wanted: str) -> Rows:
        if name not in files:
            raise PageError(f"no file is called {name}")
        return list(_matching(files[name], _conditions(wanted)))

    def lines(match: re.Match[str]) -> str:
        found = rows_of(match[1], match[2])
        if not found:
            raise PageError(f"no row: {match[1]}{match[2]}")
        return "\n".join(_line(match[3], row) for row in found)

    def cell(match: re.Match[str]) -> str:
        try:
            return _cell(rows_of(match[1], match[2]), shlex.split(match[3]), files[match[1]], match[2])
        except (KeyError, ValueError, TypeError, IndexError) as error:
            raise PageError(f"{match[0]}: {error!r}") from error

    def difference(match: re.Match[str]) -> str:
        *most, form = match[3].split()
        curves = []
        for curve in (match[4], match[5]):
            name, _, wanted = curve.strip().partition(" ")
            points = [(float(row[match[1]]), float(row[match[2]])) for row in rows_of(name, wanted)]
            curves.append([point for point in points if not most or point[0] <= float(most[0])])
        return format(bd_rate(*curves), form)

    return CELL.sub(cell, BD.sub(difference, ROWS.sub(lines, NAMED.sub("", text)))).lstrip("\n")


def _line(text: str, row: dict[str, str]) -> str:
    return COLUMN.sub(lambda column: _formatted(row, column[1]), text)


def _formatted(row: dict[str, str], text: str) -> str:
    """text: "column" or "column:format"; a column may have a colon in its name."""
    name, _, form = (text, "", "") if text in row else text.rpartition(":")
    if name not in row:
        raise PageError(f"no column is called {name}; there are {', '.join(row)}")
    value = _value(row[name])
    if value != value:  # not a number
        return ""
    return row[name] if isinstance(value, str) or not form else format(value, form)


def _cell(rows: Rows, words: list[str], whole: Rows, wanted: str) -> str:
    """words: [what of many] column [factor] [-number] [/ conditions] [format]."""
    words = list(words)
    many = OF_MANY.get(words[0])
    name = words.pop(0) if many else ""
    column = words.pop(0)
    factor = float(Fraction(words.pop(0))) if words and re.fullmatch(r"\d+(/\d+)?", words[0]) else None
    less = -float(words.pop(0)) if words and re.fullmatch(r"-\d+", words[0]) else 0.0
    if not many and len(rows) != 1:
        raise ValueError(f"{len(rows)} rows, not one")
    if not rows:
        raise ValueError("no row")
    values = [_value(row[column]) for row in rows]
    value = many(values) if many else values[0]
    if less:
        value -= less
    if words and words[0] == "/":
        conditions = _conditions(wanted) | _conditions(words[1])
        (other,) = _matching(whole, conditions)
        value, words = value / _value(other[column]), words[2:]
    if factor is not None:
        value *= factor
    if name == "count" and not words:
        return str(value)
    return format(value, words[0]) if words else str(value)


def _conditions(text: str) -> dict[str, list[str]]:
    return {
        name: values.split(",") if "," in values and " " not in values else [values]
        for name, _, values in (word.partition("=") for word in shlex.split(text))
    }


def _matching(rows: Rows, conditions: dict[str, list[str]]) -> Iterator[dict[str, str]]:
    """Rows whose cells are among the values, in the order of the first condition with several, else of the file."""
    found = [row for row in rows if all(_is(row[name], values) for name, values in conditions.items())]
    for name, values in conditions.items():
        if len(values) > 1:
            return iter(sorted(found, key=lambda row: [_is(row[name], [v]) for v in values].index(True)))
    return iter(found)


def _is(cell: str, values: list[str]) -> bool:
    return any(cell == value or _value(cell) == _value(value) for value in values)


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _read(path: Path) -> Rows:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def made() -> dict[Path, str]:
    """What each file should hold: the pages of docs/results/, and README. Raises PageError."""
    found = {}
    for path in sorted(PAGES.glob("*.md")):
        try:
            text = render(path.read_text())
        except PageError as error:
            raise PageError(f"{path.relative_to(ROOT)}: {error}") from error
        if path.name == TABLE:
            readme = ROOT / "README.md"
            found[readme] = BETWEEN.sub(
                lambda match, text=text: match[1] + text + match[3], readme.read_text()
            )
        else:
            found[OUT / path.name] = text
    return found


def stale() -> list[str]:
    """Files that are not what the CSV files say, or that no page is the source of."""
    wanted = made()
    kept = {path: path.read_text() for path in (*OUT.glob("*.md"), ROOT / "README.md")}
    return sorted(
        str(p.relative_to(ROOT)) for p in wanted.keys() | kept.keys() if wanted.get(p) != kept.get(p)
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing, and end with 1 where a page is stale"
    )
    if parser.parse_args().check:
        for name in stale():
            sys.stderr.write(f"{name} is not what the CSV files say: python scripts/results.py\n")
        return bool(stale())
    OUT.mkdir(parents=True, exist_ok=True)
    wanted = made()
    for path in OUT.glob("*.md"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
