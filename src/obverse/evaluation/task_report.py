"""What tasks lose, as people read it: a table, a CSV file, and accuracy against bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from obverse.errors import InputError
from obverse.evaluation.report import COLOURS, LABELS, OWN_COLOURS, csv_bytes, write_files
from obverse.evaluation.task import ORIGINAL, TaskRow

FILES = ("task.csv", "task.png")


def task_table(rows: Sequence[TaskRow]) -> str:
    """The rows as a Markdown table, ending with a newline; without labels only what agrees with the originals."""
    labelled = any(math.isfinite(row.accuracy) for row in rows)
    shown = ["codec", "setting", "files", "bytes/item", "bits/pixel"]
    shown += ["accuracy, %", "points lost"] if labelled else []
    shown.append("agreement, %")
    lines = [f"| {' | '.join(shown)} |", "|---|---|---|" + "--:|" * (len(shown) - 3)]
    for row in rows:
        cells = [
            row.codec,
            row.setting,
            row.files,
            f"{row.bytes_per_item:,.1f}",
            _number(row.bits_per_pixel, 3),
        ]
        if labelled:
            cells.append(_share(row.accuracy, row.accuracy_low, row.accuracy_high))
            lost = f"{row.points_lost:.2f} ± {row.points_lost_error:.2f}"
            cells.append("" if row.codec == ORIGINAL else lost)
        cells.append(
            "" if row.codec == ORIGINAL else _share(row.agreement, row.agreement_low, row.agreement_high)
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_task_report(rows: Sequence[TaskRow], out_dir: Path | str) -> dict[str, Path]:
    """Write task.csv and task.png into out_dir, as `write_report`.

    Returns:
        Name -> path.
    """
    if len(rows) < 2:
        raise InputError("no codec was measured, so there is nothing to report")
    contents = (csv_bytes(TaskRow, rows), _plot(rows))
    return write_files(dict(zip(FILES, contents, strict=True)), Path(out_dir))


def _share(share: float, low: float, high: float) -> str:
    return f"{100 * share:.2f} ({100 * low:.1f} to {100 * high:.1f})"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _curves(rows: Sequence[TaskRow]) -> Iterator[tuple[str, str, list[TaskRow]]]:
    """(codec, files, rows from small to large)."""
    groups: dict[tuple[str, str], list[TaskRow]] = {}
    for row in rows:
        groups.setdefault((row.codec, row.files), []).append(row)
    for (codec, files), group in groups.items():
        yield codec, files, sorted(group, key=lambda row: row.bytes)


def _plot(rows: Sequence[TaskRow]) -> bytes:
    """PNG: accuracy, or agreement where there are no labels, against bytes; Obverse's own codecs are thick."""
    from matplotlib.figure import Figure  # a bare Figure draws with Agg and needs no display
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    original, measured = rows[0], rows[1:]
    labelled = math.isfinite(original.accuracy)

    def ends(row: TaskRow) -> tuple[float, float, float]:
        if labelled:
            return row.accuracy, row.accuracy_low, row.accuracy_high
        return row.agreement, row.agreement_low, row.agreement_high

    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(row.codec for row in measured))
    own = iter(OWN_COLOURS * len(names))
    colours = {name: COLOURS.get(name) or next(own) for name in names}
    for codec, files, points in _curves(measured):
        ours, whole = codec not in COLOURS, files == "one"
        sizes = [row.bytes_per_item for row in points]
        shares = [100 * ends(row)[0] for row in points]
        label = LABELS.get(codec, f"Obverse {codec}") + (", one file of the set" if whole else "")
        axes.errorbar(
            sizes,
            shares,
            yerr=[
                [max(0.0, share - 100 * ends(row)[1]) for share, row in zip(shares, points, strict=True)],
                [max(0.0, 100 * ends(row)[2] - share) for share, row in zip(shares, points, strict=True)],
            ],
            color=colours[codec],
            elinewidth=0.8,
            linewidth=2.8 if ours else 1.4,
            linestyle="--" if whole else "-",
            marker="s" if whole else "o",
            markersize=6 if ours else 3.5,
            label=label,
            zorder=3 if ours else 2,
        )
    if labelled:
        axes.axhline(100 * original.accuracy, color="0.35", linewidth=1, linestyle=":", label="originals")
    axes.set_xscale("log")
    # 1, 2, 5 times a power of ten, in plain numbers
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}")
    )
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("bytes an item, of real files (log scale)")
    axes.set_ylabel("accuracy, % (top 1)" if labelled else "same prediction as from the original, %")
    axes.set_title(f"What the task sees, {original.items:,} items; bars: 95 % intervals", fontsize=11)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8.5, loc="best")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
