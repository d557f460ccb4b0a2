"""What tasks lose: bytes of real files, predictions, intervals, and the codecs that tasks are shown through."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import obverse
from obverse.codec import Codec
from obverse.codecs.features.codec import FeatureCodec
from obverse.container import Container, write
from obverse.data.labelled import Labelled
from obverse.errors import CodecNameError, DamagedError, InputError
from obverse.evaluation import (
    Coder,
    classical,
    evaluate_task,
    task_coder,
    task_table,
    write_task_report,
)
from obverse.evaluation.task import paired_points, wilson_interval
from obverse.method import Method
from tests.codecs.vae.models import strokes


def brightness(images: Any) -> np.ndarray:
    """Three classes: dark, medium, light."""
    means = np.array([np.mean(image) for image in images])
    return -np.abs(means[:, None] - np.array([40.0, 120.0, 200.0]))


def small_images(n: int = 30, gray: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=n)
    shape = (n, 12, 14) if gray else (n, 12, 14, 3)
    noise = rng.integers(-15, 16, shape)
    return (labels.reshape(-1, *[1] * (len(shape) - 1)) * 80 + 40 + noise).astype(np.uint8), labels


def raw(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, image)
    return buffer.getvalue()


class Stored(Codec):
    """A set as it is; decodes to its means, and predicts from them."""

    method = Method(id="stored", package=__name__, summary="", data="image set", codec=":Stored")

    def encode(self, data: Any, options: Any = None) -> Container:
        means = np.array([round(float(np.mean(image))) for image in data], np.uint8)
        return Container(self.id, {}, (len(data),), {"means": means.tobytes()}, None, {})

    def decode(self, container: Container, limits: Any = None) -> np.ndarray:
        return np.frombuffer(container.sections["means"], np.uint8)[:, None].astype(np.float32)


class Predicting(Stored):
    def predict(self, container: Container, limits: Any = None) -> np.ndarray:
        return brightness(self.decode(container))


class Rebuilding(Stored):
    def reconstruct(self, container: Container, limits: Any = None) -> np.ndarray:
        return np.broadcast_to(self.decode(container)[:, :, None], (container.shape[0], 12, 14)).astype(
            np.uint8
        )


@pytest.mark.parametrize("gray", [True, False])
def test_files_are_weighed_and_what_comes_back_is_seen(gray: bool) -> None:
    images, labels = small_images(gray=gray)
    seen = []

    def task(batch: Any) -> np.ndarray:
        seen.append(len(batch))
        return brightness(batch)

    told: list[tuple[int, int]] = []
    dark = Coder(
        "dark", ".npy", ({"quality": 1}, {"quality": 2}), lambda i, s: raw(i // int(s["quality"])),
        lambda data, image: np.load(io.BytesIO(data)),
    )  # fmt: skip
    rows = evaluate_task(
        Labelled(images, labels, 1234), task, [dark, classical("jpeg")], 7, lambda *done: told.append(done)
    )
    assert [row.codec for row in rows] == ["original", "dark", "dark"] + ["jpeg"] * 10
    original, kept, darker = rows[:3]
    assert original.bytes == 1234 and original.accuracy == 1 and original.files == "one"
    assert kept.accuracy == kept.agreement == 1 and kept.points_lost == 0 and kept.setting == "quality 1"
    assert kept.bytes == sum(len(raw(image)) for image in images) and kept.bytes_per_item == kept.bytes / 30
    assert kept.bits_per_pixel == pytest.approx(8 * kept.bytes / (30 * 12 * 14))
    expected = brightness(images // 2).argmax(1)
    assert darker.accuracy == pytest.approx((expected == labels).mean())
    assert darker.points_lost == pytest.approx(100 * (1 - darker.accuracy)) and darker.points_lost_error > 0
    assert rows[-1].bytes == sum(
        len(classical("jpeg").encode(image, {"quality": 92})) for image in images
    ) and rows[-1].accuracy == 1  # fmt: skip
    assert sorted(set(seen)) == [2, 7] and sum(seen) == 30 * 13
    assert told[-1] == (30 * 13, 30 * 13) and [done for done, _ in told] == sorted(done for done, _ in told)


def test_our_image_codec_is_weighed_by_its_files() -> None:
    images, labels = small_images(3)
    codec = task_coder("image", (30.0,))
    row = evaluate_task(Labelled(images, labels, 1), brightness, [codec])[1]
    assert row.bytes == sum(len(obverse.compress(image, quality=30)) for image in images)
    assert row.setting == "quality 30" and row.accuracy == 1
    lossless = evaluate_task(Labelled(images, labels, 1), brightness, [task_coder("image-lossless")])[1]
    assert lossless.agreement == 1 and lossless.setting == ""


@pytest.mark.parametrize("kind", [Predicting, Rebuilding, Stored])
def test_sets_are_weighed_as_one_file_and_as_one_each(kind: type[Stored]) -> None:
    images, labels = small_images()
    codec = kind()
    probe = brightness if kind is Stored else None
    rows = evaluate_task(Labelled(images, labels, 1), brightness, [task_coder(codec, probe=probe, name="s")])
    assert [(row.files, row.codec) for row in rows[1:]] == [("one", "s"), ("each", "s")]
    assert rows[1].bytes == len(write(codec.encode(images)))
    assert rows[2].bytes == sum(len(write(codec.encode(images[i : i + 1]))) for i in range(30))
    assert rows[1].accuracy == rows[2].accuracy == 1
    if kind is Stored:
        with pytest.raises(InputError, match="give a --probe"):
            evaluate_task(Labelled(images, labels, 1), brightness, [task_coder(codec, name="s")])


@pytest.mark.filterwarnings("ignore::obverse.codecs.stored_segments.ModelFitWarning")
def test_sets_that_come_back_whole() -> None:
    images = strokes(3)
    rows = evaluate_task(Labelled(images, None, 1), brightness, [task_coder("vae-mnist")])
    assert rows[1].agreement == rows[2].agreement == 1
    assert rows[1].bytes == len(obverse.compress(images, codec="vae-mnist")) < rows[2].bytes


def test_vectors_of_features() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(3, size=600)
    vectors = (5 * np.eye(3, 8)[labels] + rng.normal(size=(600, 8))).astype(np.float32)
    codec = task_coder("features")
    rows = evaluate_task(Labelled(vectors, labels, vectors.nbytes), lambda x: x[:, :3], [codec])
    assert len(rows) == 1 + len(codec.settings) and math.isnan(rows[0].bits_per_pixel)
    assert rows[1].bytes == len(write(FeatureCodec().encode(vectors, FeatureCodec.options(loss=0.001))))
    assert rows[1].bytes > rows[-1].bytes and rows[1].agreement > 0.98
    assert "| features | loss 0.001 | one |" in task_table(rows) and "–" in task_table(rows)
    with pytest.raises(InputError, match="vectors: use features"):
        evaluate_task(Labelled(vectors, labels, 1), lambda x: x, [classical("jpeg")])


def test_without_labels_only_agreement_is_told(tmp_path: Path) -> None:
    images, _ = small_images()
    rows = evaluate_task(Labelled(images, None, 5000), brightness, [task_coder(Rebuilding(), name="s")])
    assert math.isnan(rows[1].accuracy) and math.isnan(rows[1].points_lost) and rows[1].agreement == 1
    table = task_table(rows)
    assert "accuracy" not in table and "100.00 (88.6 to 100.0)" in table
    paths = write_task_report(rows, tmp_path)
    with paths["task.csv"].open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["accuracy"] for row in read] == ["", "", ""] and read[1]["agreement"] == "1"
    with Image.open(paths["task.png"]) as plot:
        assert plot.size[0] > 500


def test_the_report_has_every_row(tmp_path: Path) -> None:
    images, labels = small_images()
    rows = evaluate_task(
        Labelled(images, labels, 5000), brightness, [classical("webp"), task_coder(Predicting(), name="s")]
    )
    paths = write_task_report(rows, tmp_path / "new")
    with paths["task.csv"].open(newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == len(rows) and {row["codec"] for row in read} == {"original", "webp", "s"}
    assert float(read[1]["bytes_per_item"]) == pytest.approx(rows[1].bytes / 30, rel=1e-5)
    with pytest.raises(InputError, match="nothing to report"):
        write_task_report(rows[:1], tmp_path)


@pytest.mark.parametrize(
    ("task", "sentence"),
    [
        (lambda x: np.full((len(x), 3), np.nan), "NaN or infinite"),
        (lambda x: np.zeros((len(x), 1)), "at least two classes"),
        (lambda x: np.zeros((len(x), 3), int), "float score"),
        (lambda x: np.zeros((len(x) + 1, 3)), "shape"),
        (lambda x: np.zeros((len(x), 3, 2)), "shape"),
        (lambda x: np.eye(2)[np.zeros(len(x), int)], "label 2, but the task gives 2 scores"),
    ],
)
def test_scores_that_are_none(task: Any, sentence: str) -> None:
    images, labels = small_images()
    with pytest.raises(InputError, match=sentence):
        evaluate_task(Labelled(images, labels, 1), task, [classical("jpeg")])


def test_codecs_that_fail_are_named() -> None:
    images, labels = small_images(4)
    data = Labelled(images, labels, 1)

    def fail(*_: Any) -> Any:
        raise DamagedError("not today")

    broken = Coder("broken", ".x", ({"quality": 5},), lambda image, setting: b"x", fail)
    with pytest.raises(InputError, match=r"shape \(12, 14\): broken at quality 5 failed: not today"):
        evaluate_task(data, brightness, [broken])
    cropping = Coder("crop", ".x", ({},), lambda image, setting: b"x", lambda data, image: images[0, :3])
    with pytest.raises(InputError, match=r"crop returned uint8 of shape \(3, 14\)"):
        evaluate_task(data, brightness, [cropping])
    few = Predicting()
    few.predict = lambda container: np.eye(3)[:1]  # type: ignore[method-assign]
    with pytest.raises(InputError, match="predictions of 1 items, not of 4"):
        evaluate_task(data, brightness, [replace(task_coder(few, name="few"), files=("one",))])
    with pytest.raises(InputError, match="the set: flow failed"):
        evaluate_task(data, brightness, [task_coder("flow")])
    with pytest.raises(InputError, match="different names"):
        evaluate_task(data, brightness, [classical("jpeg"), classical("jpeg")])
    with pytest.raises(InputError, match="at least 1 item"):
        evaluate_task(data, brightness, [], batch=0)


def test_codecs_by_name() -> None:
    with pytest.raises(InputError, match="side information"):
        task_coder("stereo")
    with pytest.raises(CodecNameError):
        task_coder("zip")
    with pytest.raises(InputError, match="unknown peer"):
        classical("zip")
    assert task_coder("invariant-mnist").whole


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_intervals_hold_their_share(trial: tuple[int, int]) -> None:
    low, high = wilson_interval(*trial)
    assert 0 <= low <= trial[0] / trial[1] + 1e-12 and trial[0] / trial[1] - 1e-12 <= high <= 1
    mirrored = wilson_interval(trial[1] - trial[0], trial[1])
    assert mirrored == pytest.approx((1 - high, 1 - low))


def test_the_interval_covers_what_it_says() -> None:
    rng = np.random.default_rng(0)
    ends = {k: wilson_interval(k, 200) for k in range(201)}
    covered = np.mean([ends[k][0] <= 0.9 <= ends[k][1] for k in rng.binomial(200, 0.9, 4000)])
    assert 0.93 < covered < 0.97


@pytest.mark.parametrize("n", [30, 400])
def test_the_interval_of_points_lost_covers_what_it_says(n: int) -> None:
    rng = np.random.default_rng(0)
    draws = rng.choice(3, p=[0.93, 0.05, 0.02], size=(4000, n))  # same, lost, won: 3 points are lost
    pairs = [paired_points(draw != 2, draw != 1) for draw in draws]
    assert np.mean([abs(lost - 3) <= error for lost, error in pairs]) > 0.93


def test_points_lost_are_compared_in_pairs() -> None:
    before = np.array([True] * 90 + [False] * 10)
    lost, error = paired_points(before, before)
    assert lost == 0 and error == pytest.approx(100 * 1.959964 / 102)  # no certainty of 100 items
    after = before.copy()
    after[:6], after[98:] = False, True
    lost, error = paired_points(before, after)
    assert lost == pytest.approx(4.0)
    assert error == pytest.approx(100 * 1.959964 * math.sqrt(9 - 16 / 102) / 102)
