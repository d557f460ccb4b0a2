"""The figures of cifar.py: accuracy against bytes, and what a second head costs."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

LOOKS = {
    "patient": ("#1b3a6b", "P", "split, distilled for longer"),
    "distil": ("#4c72b0", "o", "split, distilled"),
    "end-to-end": ("#8172b3", "s", "split, end-to-end"),
    "image": ("#55a868", "^", "obverse image"),
    "webp": ("#c44e52", "v", "WebP"),
    "jpeg": ("#937860", "D", "JPEG"),
}
TITLES = {"cifar": "CIFAR-10, 32 x 32 pixels", "upsampled": "CIFAR-10 upsampled to 96 x 96 pixels"}
PANELS = {
    "alone": "one image at a time (dashed: the bare payload)",
    "set": "the whole set of 2,000 in one",
}


def draw_accuracy(rows: list[dict[str, Any]], images: str) -> Figure:
    """Accuracy of the class against bytes an image, for images sent alone and for sets."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = dict(zip(PANELS, figure.subplots(1, 2, sharey=True), strict=True))
    best = 100 * next(row["accuracy"] for row in rows if row["method"] == "teacher")
    for name, axes in panels.items():
        for method, (colour, marker, label) in LOOKS.items():
            for way, line in (("file", "-"), ("payload", "--")) if name == "alone" else (("set", "-"),):
                found = sorted(
                    (row["bytes"], 100 * row["accuracy"])
                    for row in rows
                    if (row["method"], row["way"]) == (method, way)
                )
                if found:
                    axes.plot(*zip(*found, strict=True), line, marker=marker, color=colour, ms=6,
                              label=None if way == "payload" else label)  # fmt: skip
        axes.axhline(best, color="black", lw=1, label="teacher, pixels as they are")
        axes.axhline(best - 2, color="black", lw=1, ls=":", label="2 points below")
        axes.set(xscale="log", xlabel="bytes an image", title=PANELS[name])
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xticks([t for t in (10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if _inside(axes, t)])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels["alone"].set_ylabel("accuracy, %")
    panels["set"].legend(fontsize=8, loc="lower right")
    figure.suptitle(f"{TITLES[images]}: bytes sent and accuracy of the class")
    return figure


def _inside(axes: Any, tick: float) -> bool:
    low, high = axes.get_xlim()
    return low <= tick <= high


def draw_multi_task(rows: list[dict[str, Any]], best: float) -> Figure:
    """Accuracy against PSNR of one code with two heads; each point says its weight and its bytes."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([r["psnr"] for r in rows], [100 * r["accuracy"] for r in rows], "o-", color="#4c72b0", ms=7)
    for row in rows:
        axes.annotate(f"weight {row['weight']:g}\n{row['bytes']:.0f} bytes", (row["psnr"], 100 * row["accuracy"]),
                      textcoords="offset points", xytext=(8, 6), fontsize=8)  # fmt: skip
    axes.axhline(100 * best, color="black", lw=1, label="teacher, pixels as they are")
    axes.set(xlabel="PSNR of the reconstruction, dB", ylabel="accuracy of the class, %")
    axes.set_title("One code, two heads: class and picture (CIFAR-10)")
    axes.margins(0.18)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure
