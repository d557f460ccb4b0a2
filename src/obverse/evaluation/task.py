"""What a task loses when it sees compressed data: bytes of real files, and predictions from what comes back.

    items ──► codec ──► file ──► codec ──► what the task sees ──► scores ──► predictions
    items ─────────────────────────────────────────────────► scores ──► predictions, compared with labels and these

Items are images, or vectors of features. A codec of sets is measured by one file of all items, and by one file of each.
One that predicts by itself, from a code that no task could see (`Predicts`), gives the scores; `shown_to_task` says
what a task sees of the others. Accuracy has the 95 % interval of Wilson (1927). The points lost have that of a paired
comparison: both predictions are of the same items, so only those count on which they differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.codec import Codec, Predicts, Reconstructs
from obverse.container import read
from obverse.data.labelled import Labelled
from obverse.errors import InputError
from obverse.evaluation.coders import EACH, ONE, Coder, Setting, distinct, ours, setting_label, split_options
from obverse.evaluation.engine import Engine, Progress
from obverse.registry import open_codec

Array = npt.NDArray[Any]
Task = Callable[[Any], Array]  # items to scores (n, classes)

BATCH = 64
DEVIATIONS = 1.959964  # of a normal distribution: 95 % lie within
ORIGINAL = "original"


@dataclass(frozen=True)
class Scores:
    """What a codec tells in place of an item.

    Attributes:
        values: (n, classes).
    """

    values: Array


@dataclass(frozen=True)
class TaskRow:
    """One codec at one setting, over all items.

    Attributes:
        setting: quality or loss, "" where there is none.
        files: "each" item has its own, or "one" holds the set.
        bytes: of all files.
        bytes_per_item: bytes / items.
        bits_per_pixel: 8 bytes / all pixels, NaN for vectors.
        accuracy: top-1, 0 to 1, NaN without labels.
        accuracy_low: where its 95 % interval begins.
        accuracy_high: where it ends.
        agreement: the share of items that are predicted as from the original.
        agreement_low: where its 95 % interval begins.
        agreement_high: where it ends.
        points_lost: 100 (accuracy from originals - accuracy).
        points_lost_error: plus or minus this, with a confidence of 95 %.
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


def task_coder(
    codec: str | Codec,
    qualities: Sequence[float] | None = None,
    probe: Task | None = None,
    name: str | None = None,
) -> Coder:
    """A codec of Obverse as tasks meet it, for `evaluate_task`.

    Args:
        codec: as `ours` takes it.
        qualities: in place of the usual ones.
        probe: what reads its decoded codes (n, k), where they are neither items nor predictions.
        name: as tables have it.

    Raises:
        InputError: a codec that a task cannot be shown through.
        CodecNameError: there is none of this name.
        OptionError: as of `ours`.
    """
    made = open_codec(split_options(codec)[0]) if isinstance(codec, str) else codec
    if made.method.side_info:
        raise InputError(
            f"the codec {made.id} decodes with side information only, and a task has none to give"
        )
    of_quality = "quality" in made.settings[0]
    coder = ours(codec, qualities if of_quality else None, name)
    if not coder.whole:
        return coder
    return replace(coder, decode=lambda data, items: shown_to_task(made, data, items, probe))


def shown_to_task(codec: Codec, data: bytes, items: Array, probe: Task | None) -> Array | Scores:
    """What a task sees of a file of items: those that come back, or scores of the codec or of a probe.

    Raises:
        InputError: neither of them.
    """
    container = read(data)
    if isinstance(codec, Predicts):
        return Scores(np.asarray(codec.predict(container)))
    back = np.asarray(codec.decode(container))
    if back.shape != items.shape:
        if probe is not None:
            return Scores(np.asarray(probe(back)))
        if isinstance(codec, Reconstructs):
            back = np.asarray(codec.reconstruct(container))
    if back.shape != items.shape:
        raise InputError(
            f"it returns shape {back.shape} for items of shape {items.shape}, which the task cannot see: give a "
            "--probe, a classifier of what it returns"
        )
    return back


def evaluate_task(
    data: Labelled,
    task: Task,
    coders: Sequence[Coder],
    batch: int = BATCH,
    progress: Progress = None,
) -> list[TaskRow]:
    """A row for the originals, then for each codec one a setting, and one a way to make files.

    Args:
        data: images or vectors, with labels or without.
        task: images (a list of (H, W[, 3]) uint8, or an array of them) or vectors (n, d) to scores (n, classes).
        coders: made by `task_coder` or `classical`.
        batch: items that the task sees at once.
        progress: told how much is done, and of how much.

    Raises:
        InputError: no items, labels that have no score, scores that are no numbers, what a codec cannot code.
    """
    if batch < 1:
        raise InputError(f"a batch has at least 1 item, not {batch}")
    coders = distinct(coders) if coders else []
    single = [(coder, setting) for coder in coders if not coder.whole for setting in coder.settings]
    sets = [(coder, setting, way) for coder in coders if coder.whole for setting in coder.settings
            for way in coder.files]  # fmt: skip
    if data.vectors and single:
        raise InputError(
            f"the codec {single[0][0].name} codes images, and the data are vectors: use features"
        )
    engine: Engine[TaskRow] = Engine(progress, len(data) * (1 + len(single) + len(sets)))

    predict = _Predictor(task, data.labels, batch)
    originals: list[Array] = []
    pixels = 0
    seen: dict[tuple[str, str], list[Array]] = {}
    weight: dict[tuple[str, str], int] = {}
    for items in data.batches(batch):
        originals.append(predict(items))
        pixels += 0 if data.vectors else sum(math.prod(item.shape[:2]) for item in items)
        engine.step(len(items))
        for coder, setting in single:
            size, decoded = _images_through(engine, coder, setting, items)
            key = coder.name, setting_label(setting)
            seen.setdefault(key, []).append(predict(_stack(decoded)))
            weight[key] = weight.get(key, 0) + size
            engine.step(len(items))
    original = np.concatenate(originals)

    def row(codec: str, setting: str, files: str, size: int, predicted: Array) -> TaskRow:
        return _row((codec, setting, files), size, pixels, predicted, original, data.labels)

    rows = [row(ORIGINAL, "", ONE if isinstance(data.items, np.ndarray) else EACH, data.bytes, original)]
    rows += [row(*key, EACH, weight[key], np.concatenate(seen[key])) for key in seen]
    for coder, setting, way in sets:
        items = data.whole()
        parts = [items] if way == ONE else [items[i : i + 1] for i in range(len(items))]
        coded = [engine.through(coder, setting, part, "the set", warm_up=False) for part in parts]
        if isinstance(coded[0].seen, Scores):
            predicted = predict.chosen(np.concatenate([c.seen.values for c in coded]))
        else:
            predicted = predict.all(np.concatenate([c.seen for c in coded]))
        rows.append(row(coder.name, setting_label(setting), way, sum(c.bytes for c in coded), predicted))
        engine.step(len(data))
    return rows


def _images_through(
    engine: Engine[TaskRow], coder: Coder, setting: Setting, images: Sequence[Array] | Array
) -> tuple[int, list[Array]]:
    """Bytes of the files of images, and the images that come back. Raises InputError."""
    size, decoded = 0, []
    for image in images:
        what = f"an image of shape {image.shape}"
        coded = engine.through(coder, setting, image, what, warm_up=False)
        back = np.asarray(coded.seen)
        if back.shape != image.shape or back.dtype != np.uint8:
            raise InputError(f"{coder.name} returned {back.dtype} of shape {back.shape} for {what}")
        size += coded.bytes
        decoded.append(back)
    return size, decoded


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

    The variance is that of a difference of matched pairs, with half an item more in each of the four cells (Agresti and
    Min, Statistics in Medicine 2005): so few items on which nothing has changed do not pass for certainty.

    Args:
        before: (n,) whether each was right in the one.
        after: (n,) whether each was right in the other.
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
        return np.asarray(scores.argmax(1))


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
