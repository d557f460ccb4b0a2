"""Items with labels, for tasks: images in a folder for each class, or images or vectors beside a file of labels.

    folder of class folders ──► image files, label = number of the folder, in the order of names
    folder, array or IDX file, and labels (.npy, .csv, IDX) ──► items, label of each

Labels number the scores that a classifier gives. Names of classes become numbers by `classes`, the names in the order
of the scores; without, in the order of the alphabet, as is usual for folders.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from obverse.data.arrays import NPY, read_array
from obverse.data.features import check_features, read_features
from obverse.data.guard import guarded, unreadable
from obverse.data.image_sets import GZIP, IDX_UINT8, check_image_set, read_image_set
from obverse.data.images import read_photo
from obverse.data.source import read_bytes
from obverse.data.suffixes import IMAGE_SUFFIXES
from obverse.errors import InputError

Array = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]

HEADS = {"label", "labels", "class", "target"}  # what a column of labels may be called
FEATURES = {".safetensors", ".parquet"}
MOST_LABELS = 1 << 30  # bytes of a packed file
NUMBER = re.compile(r"[-+]*[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?")
WHOLE = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class Labelled:
    """Items of one kind: image files, an array of images (n, H, W[, 3]) uint8, or vectors (n, d) of floats.

    Attributes:
        items: the files, the images or the vectors.
        labels: (n,) from 0, or None.
        bytes: of the files that the items were read from.
        numbered: names of the classes whose numbers are the places of their folders in the alphabet, if that is where
            labels come from.
    """

    items: Sequence[Path] | Array
    labels: Labels | None
    bytes: int
    numbered: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def vectors(self) -> bool:
        """Whether the items are vectors, else images."""
        return isinstance(self.items, np.ndarray) and self.items.dtype.kind == "f"

    def batches(self, size: int) -> Iterator[Sequence[Array] | Array]:
        """The items, `size` at a time; files are read then.

        Raises:
            InputError: for a file that cannot be read.
        """
        for first in range(0, len(self), size):
            some = self.items[first : first + size]
            yield some if isinstance(some, np.ndarray) else [_pixels(path) for path in some]

    def whole(self) -> Array:
        """All items in one array.

        Raises:
            InputError: for images of several sizes.
        """
        if isinstance(self.items, np.ndarray):
            return self.items
        images = [_pixels(path) for path in self.items]
        for path, image in zip(self.items, images, strict=True):
            if image.shape != images[0].shape:
                raise InputError(
                    f"{path} has shape {image.shape}, {self.items[0].name} has {images[0].shape}: a codec of sets "
                    "takes images of one size, all gray or all in colour"
                )
        return np.stack(images)


def read_labelled(
    source: Path, labels: Path | None = None, classes: Sequence[str] = (), known: Sequence[str] = ()
) -> Labelled:
    """Items and their labels.

    Args:
        source: a folder of images, or of folders of images named as their classes; an array of images (.npy, IDX); or
            of vectors (.npy, safetensors, Parquet).
        labels: a number (or name) for each item, in the items' order: .npy, IDX, or .csv; a .csv may also name the file
            beside its label.
        classes: names in the order of the numbers; every name must be one of them.
        known: the same, of the classifier, which counts only if it knows all names.

    Raises:
        InputError: for files that cannot be read, and where items and labels do not belong together.
        UnsupportedInputError: for arrays of another type or shape.
        MissingExtraError: for a Parquet file, where pyarrow is not installed.
    """
    items: Sequence[Path] | Array
    if source.is_dir():
        items, places = _files(source, split=labels is None, strict=not classes)
        if labels is None:
            named = [place for place in places if place is not None]  # all of them, or none
            names = sorted(set(named))
            numbers = _numbers(names, classes, known, str(source)) if names else {}
            found = np.array([numbers[place] for place in named], np.int64) if names else None
            by_folder = tuple(names) if numbers == {n: i for i, n in enumerate(names)} else ()
            return Labelled(items, found, sum(path.stat().st_size for path in items), by_folder)
        size = sum(path.stat().st_size for path in items)
        shown = [path.relative_to(source).as_posix() for path in items]
    else:
        items = _array(source)
        size, shown = source.stat().st_size, []
    if labels is None:
        return Labelled(items, None, size)
    return Labelled(items, _read_labels(labels, len(items), shown, classes, known), size)


def read_class_names(path: Path) -> list[str]:
    """A class name a line, each once.

    Raises:
        InputError: for another file, or one that cannot be read.
    """
    try:
        names = [line.strip() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"class names: {unreadable(path, error)}") from error
    if not names or len(set(names)) < len(names):
        raise InputError(f"{path} must hold a class name a line, each once")
    return names


def _files(folder: Path, split: bool, strict: bool) -> tuple[list[Path], list[str | None]]:
    """Image files in the order of their paths; and in which class folder each lies, where there are any."""

    def images(where: Path) -> list[Path]:
        inside = (p for p in where.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        return sorted(
            p for p in inside if not any(part.startswith(".") for part in p.relative_to(where).parts)
        )

    found = images(folder)
    if not found:
        raise InputError(f"the folder {folder} is empty: there is no image file in it")
    places = [p.relative_to(folder).parts[0] if p.parent != folder else None for p in found] if split else []
    if any(place is None for place in places) and any(places):
        raise InputError(
            f"{folder} holds images beside folders of images: put each image into the folder of its class, or give "
            "--labels"
        )
    if strict and any(places):
        empty = {p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")} - set(places)
        if empty:
            raise InputError(
                f"the class folder {min(empty)!r} in {folder} holds no image, so that it is not clear which number "
                "the others have: remove it, or give --classes or --labels"
            )
    return found, places


def _pixels(path: Path) -> Array:
    """(H, W) or (H, W, 3) uint8. Raises InputError."""
    pixels = np.asarray(read_photo(path).pixels)
    return pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _array(source: Path) -> Array:
    """Images or vectors of one file."""
    if source.suffix.lower() in FEATURES:
        return check_features(read_features(source))
    try:
        with source.open("rb") as file:
            npy = file.read(len(NPY)) == NPY
    except OSError as error:
        raise InputError(unreadable(source, error)) from error
    array = read_array(source) if npy else read_image_set(source)
    if array.dtype.kind == "f" and array.ndim == 2:
        return check_features(array)
    return check_image_set(array, str(source))


# -- labels ------------------------------------------------------------------------------------------------------


def _read_labels(
    path: Path, count: int, shown: Sequence[str], classes: Sequence[str], known: Sequence[str]
) -> Labels:
    """(count,) numbers. shown: the items' file names, where they have any."""
    raw = read_bytes(path)
    if raw.startswith(NPY):
        found = np.asarray(read_array(path, "labels"))
    else:
        unpacked = _unpack(raw, path)
        if unpacked.startswith(IDX_UINT8):
            found = np.frombuffer(unpacked, np.uint8, offset=8)
            if unpacked[3] != 1 or int.from_bytes(unpacked[4:8], "big") != len(found):
                raise InputError(f"{path} is no whole IDX file of labels, one a number")
        else:
            found = np.array(_csv(unpacked, path, shown))
    if found.ndim != 1 or found.dtype.kind not in "iuU" or not len(found):
        raise InputError(
            f"{path} holds {found.dtype} of shape {found.shape}: labels are one whole number an item, from 0"
        )
    if len(found) != count:
        raise InputError(f"there are {count} items, but {len(found)} labels in {path}: give one for each")
    if found.dtype.kind == "U":
        texts = found.tolist()
        if not all(map(NUMBER.fullmatch, texts)):
            numbers = _numbers(sorted(set(texts)), classes, known, str(path))
            return np.array([numbers[text] for text in texts], np.int64)
        # 1.0 and 10.0 are no names: the alphabet would number them
        broken = next((text for text in texts if not WHOLE.fullmatch(text)), None)
        if broken is not None:
            raise InputError(
                f"{path} holds the label {broken[:40]}: labels are whole numbers from 0, or names"
            )
        found = np.array([int(text) for text in texts], np.int64)
    low, high = int(found.min()), int(found.max())
    if low < 0 or high >= 2**31:
        raise InputError(
            f"{path} holds the label {low if low < 0 else high}: labels are numbered from 0 to {2**31 - 1}"
        )
    return found.astype(np.int64)


def _unpack(raw: bytes, path: Path) -> bytes:
    if not raw.startswith(GZIP):
        return raw
    with guarded(f"{path} is a damaged gzip file"), gzip.open(io.BytesIO(raw)) as file:
        return file.read(MOST_LABELS)


def _csv(raw: bytes, path: Path, shown: Sequence[str]) -> list[str]:
    """The labels in the items' order: a column of them, or files and labels in any order."""
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(io.StringIO(raw.decode("utf-8-sig")))
            if any(cell.strip() for cell in row)
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} holds no labels: give .npy, .csv or IDX ({error})") from None
    if rows and rows[0][-1].lower() in HEADS:
        rows = rows[1:]
    widths = {len(row) for row in rows}
    if len(widths) != 1 or widths > {1, 2} or max(widths) > 2:
        raise InputError(f"{path} must have one column, of labels, or two, of file names and labels")
    if widths == {1}:
        return [row[0] for row in rows]
    if not shown:
        raise InputError(
            f"{path} names files, but the items are one array: give a label a line, in its order"
        )
    by_name = dict(rows)
    if len(by_name) < len(rows):
        raise InputError(f"{path} names a file twice")
    short = [name.rsplit("/", 1)[-1] for name in shown]
    keys = shown if len(set(short)) < len(short) or shown[0] in by_name else short
    missing = [name for name in keys if name not in by_name]
    if missing:
        raise InputError(f"{path} has no label for {missing[0]} ({len(missing)} of {len(keys)} have none)")
    return [by_name[name] for name in keys]


def _numbers(
    names: Sequence[str], classes: Sequence[str], known: Sequence[str], where: str
) -> dict[str, int]:
    """Name -> number."""
    if classes:
        order = {name: number for number, name in enumerate(classes)}
        unknown = [name for name in names if name not in order]
        if unknown:
            raise InputError(
                f"{where}: {unknown[0]!r} is not among the {len(order)} class names that were given"
            )
        return order
    order = {name: number for number, name in enumerate(known)}
    return order if order and set(names) <= set(order) else {name: i for i, name in enumerate(names)}
