"""What a task loses when it sees compressed data: bytes of real files, and predictions from what comes back.

    items ──► codec ──► file ──► codec ──► what the task sees ──► scores ──► predictions
    items ─────────────────────────────────────────────────► scores ──► predictions, compared with labels and these

Items are images, or vectors of features. A codec that predicts by itself, from a code that no task could see
(`predict(container)`), gives the scores. Accuracy has the 95 % interval of Wilson (1927). The points lost have
that of a paired comparison: both predictions are of the same items, so only those count on which they differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.data.labelled import Labelled
from obverse.errors import InputError
from obverse.evaluation.task_codecs import FileCodec, SetCodec

Array = npt.NDArray[Any]
Task = Callable[[Any], Array]  # items to scores (n, classes)

BATCH = 64
DEVIATIONS = 1.959964  # of a normal distribution: 95 % lie within
ORIGINAL = "original"


@dataclass(frozen=True)
class TaskRow:
    """One codec at one setting, over all items.

    setting: quality or loss, "" where there is none. files: "each" item has its own, or "one" holds the set. bytes: of
    all files; bytes_per_item: bytes / items. bits_per_pixel: 8 bytes / all pixels, NaN for vectors. accuracy: top-1,
    0 to 1, with its 95 % interval, NaN without labels. agreement: the share of items that are predicted as from the
    original, with its interval. points_lost: 100 (accuracy from originals - accuracy), plus or minus points_lost_error
    with a confidence of 95 %.
    """

    codec: str
    setting: str
    files: str
    items: int
    bytes: int
    bytes_per_item: float
    bits_per_pixel: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    agreement: float
    agreement_low: float
    agreement_high: float
    points_lost: float
    points_lost_error: float


def evaluate_task(
    data: Labelled,
    task: Task,
    codecs: Sequence[FileCodec | SetCodec],
    batch: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> list[TaskRow]:
    """A row for the originals, then for each codec one a setting, and one a way to make files.

    task: images (a list of (H, W[, 3]) uint8, or an array of them) or vectors (n, d) to scores (n, classes).
    batch: items that the task sees at once. progress: told how much is done, and of how much.
    Raises InputError: no items, labels that have no score, scores that are no numbers, what a codec cannot code.
    """
    if batch < 1:
        raise InputError(f"a batch has at least 1 item, not {batch}")
    names = [codec.name for codec in codecs]
    if len(set(names)) < len(names):
        raise InputError(f"codecs must have different names, not {', '.join(names)}")
    single = [codec for codec in codecs if isinstance(codec, FileCodec)]
    sets = [codec for codec in codecs if isinstance(codec, SetCodec)]
    if data.vectors and single:
        raise InputError(f"the codec {single[0].name} codes images, and the data are vectors: use features")
    meter = _Meter(
        progress, len(data) * (1 + sum(len(c.settings) for c in single) + sum(c.runs for c in sets))
    )

    predict = _Predictor(task, data.labels, batch)
    originals: list[Array] = []
    pixels = 0
    seen: dict[tuple[str, str], list[Array]] = {}
    weight: dict[tuple[str, str], int] = {}
    for items in data.batches(batch):
        originals.append(predict(items))
        pixels += 0 if data.vectors else sum(math.prod(item.shape[:2]) for item in items)
        meter.add(len(items))
        for codec in single:
            for setting in codec.settings:
                sizes, decoded = codec.through(items, setting)
                key = codec.name, codec.label(setting)
                seen.setdefault(key, []).append(predict(_stack(decoded)))
                weight[key] = weight.get(key, 0) + sum(sizes)
                meter.add(len(items))
    original = np.concatenate(originals)

    def row(codec: str, setting: str, files: str, size: int, predicted: Array) -> TaskRow:
        return _row((codec, setting, files), size, pixels, predicted, original, data.labels)

    rows = [row(ORIGINAL, "", "one" if isinstance(data.items, np.ndarray) else "each", data.bytes, original)]
    rows += [row(*key, "each", weight[key], np.concatenate(seen[key])) for key in seen]
    for coder in sets:
        for made in coder.through(data.whole(), lambda: meter.add(len(data))):
            predicted = predict.chosen(made.seen) if made.scores else predict.all(made.seen)
            rows.append(row(coder.name, made.setting, made.files, made.bytes, predicted))
    return rows


def wilson_interval(successes: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share, of `successes` in `count` trials.

    >>> [round(end, 3) for end in wilson_interval(90, 100)]
    [0.826, 0.945]
    """
    share, z = successes / count, DEVIATIONS
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    return max(0.0, middle - half), min(1.0, middle + half)


def paired_points(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Points of accuracy lost between two predictions of the same items, and half the width of the 95 % interval.

    before, after: (n,) whether each was right. The variance is that of a difference of matched pairs, with half an
    item more in each of the four cells (Agresti and Min, Statistics in Medicine 2005): so few items on which nothing
    has changed do not pass for certainty.
    """
    lost, won, n = int((before & ~after).sum()), int((~before & after).sum()), len(before)
    spread = math.sqrt(lost + won + 1 - (lost - won) ** 2 / (n + 2)) / (n + 2)
    return 100 * (lost - won) / n, 100 * DEVIATIONS * spread


class _Predictor:
    """Items to the number of the largest score, checked."""

    def __init__(self, task: Task, labels: Array | None, batch: int):
        self.task, self.batch = task, batch
        self.most = int(labels.max()) if labels is not None else 0

    def __call__(self, items: Any) -> Array:
        return self.chosen(self.task(items), len(items))

    def all(self, items: Array) -> Array:
        """The same in batches."""
        parts = (items[first : first + self.batch] for first in range(0, len(items), self.batch))
        return np.concatenate([self(part) for part in parts])

    def chosen(self, scores: Array, count: int | None = None) -> Array:
        scores = np.asarray(scores)
        if (
            scores.ndim != 2 or scores.dtype.kind != "f" or scores.shape[1] < 2
            or (count is not None and len(scores) != count)
        ):  # fmt: skip
            raise InputError(
                f"the task gave {scores.dtype} of shape {scores.shape}: it must give a float score for each of at "
                "least two classes, (n, classes)"
            )
        if not np.isfinite(scores).all():
            raise InputError(
                "the task gave scores that are NaN or infinite: check the classifier and its input"
            )
        if self.most >= scores.shape[1]:
            raise InputError(
                f"there is a label {self.most}, but the task gives {scores.shape[1]} scores, for the classes 0 to "
                f"{scores.shape[1] - 1}: the labels are not this classifier's"
            )
        return scores.argmax(1)


class _Meter:
    def __init__(self, progress: Callable[[int, int], None] | None, total: int):
        self.progress, self.total, self.done = progress, total, 0

    def add(self, steps: int) -> None:
        self.done += steps
        if self.progress:
            self.progress(min(self.done, self.total), self.total)


def _stack(images: list[Array]) -> Any:
    """One array of images of one size, else the list."""
    return np.stack(images) if len({image.shape for image in images}) == 1 else images


def _row(
    name: tuple[str, str, str],
    size: int,
    pixels: int,
    predicted: Array,
    original: Array,
    labels: Array | None,
) -> TaskRow:
    n = len(original)
    if len(predicted) != n:
        raise InputError(f"the codec {name[0]} gave predictions of {len(predicted)} items, not of {n}")
    same = int((predicted == original).sum())
    accuracy, low, high, lost, error = (math.nan,) * 5
    if labels is not None:
        right = predicted == labels
        accuracy = float(right.mean())
        low, high = wilson_interval(int(right.sum()), n)
        lost, error = paired_points(original == labels, right)
    return TaskRow(
        *name, n, size, size / n, 8 * size / pixels if pixels else math.nan, accuracy, low, high,
        same / n, *wilson_interval(same, n), lost, error,
    )  # fmt: skip
