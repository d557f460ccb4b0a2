"""Items with labels: class folders, files of labels, and every way in which the two do not fit."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from obverse.data.labelled import read_class_names, read_labelled
from obverse.errors import InputError, UnsupportedInputError


def image(value: int = 0, height: int = 6, width: int = 5, gray: bool = False) -> np.ndarray:
    return np.full((height, width) if gray else (height, width, 3), value, np.uint8)


def put(path: Path, value: int = 0, **how: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image(value, **how)).save(path)  # type: ignore[arg-type]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """cat: 2, dog: 1, eel: 1, and what is no image or hidden."""
    for number, name in enumerate(
        ["cat/a.png", "cat/more/b.png", "dog/a.png", "eel/c.bmp", "dog/.hidden.png"]
    ):
        put(tmp_path / "set" / name, number)
    (tmp_path / "set" / "readme.txt").write_text("no image")
    (tmp_path / "set" / ".cache").mkdir()
    return tmp_path / "set"


def test_class_folders_number_their_images(folders: Path) -> None:
    data = read_labelled(folders)
    assert len(data) == 4 and not data.vectors and data.numbered == ("cat", "dog", "eel")
    assert data.labels is not None and data.labels.tolist() == [0, 0, 1, 2]
    assert data.bytes == sum(path.stat().st_size for path in data.items)  # type: ignore[union-attr]
    batches = list(data.batches(3))
    assert [len(b) for b in batches] == [3, 1] and [int(b[0, 0, 0]) for b in batches[0]] == [0, 1, 2]
    np.testing.assert_array_equal(data.whole()[3], image(3))


def test_names_are_numbered_by_the_task_where_it_knows_them(folders: Path) -> None:
    known = ("eel", "dog", "cow", "cat")
    data = read_labelled(folders, known=known)
    assert data.labels is not None and data.labels.tolist() == [3, 3, 1, 0] and data.numbered == ()
    unknown = read_labelled(folders, known=("LABEL_0", "LABEL_1", "LABEL_2"))
    assert unknown.labels is not None and unknown.labels.tolist() == [0, 0, 1, 2]
    given = read_labelled(folders, classes=["dog", "eel", "cat"])
    assert given.labels is not None and given.labels.tolist() == [2, 2, 0, 1]
    with pytest.raises(InputError, match="'dog' is not among the 2 class names"):
        read_labelled(folders, classes=["cat", "eel"])


def test_folders_that_do_not_tell_the_classes(folders: Path, tmp_path: Path) -> None:
    (folders / "emu").mkdir()
    with pytest.raises(InputError, match=r"'emu'.* holds no image"):
        read_labelled(folders)
    assert read_labelled(folders, classes=["cat", "dog", "eel", "emu"]).labels is not None
    put(folders / "stray.png")
    with pytest.raises(InputError, match="beside folders of images"):
        read_labelled(folders, classes=["cat", "dog", "eel", "emu"])
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="is empty"):
        read_labelled(tmp_path / "none")
    put(tmp_path / "flat" / "a.png")
    assert read_labelled(tmp_path / "flat").labels is None


def test_labels_beside_a_folder(folders: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "l.npy", np.array([3, 1, 4, 1], np.uint8))
    (tmp_path / "column.csv").write_text("label\n3\n1\n4\n1\n")
    (tmp_path / "pairs.csv").write_text(
        "file,label\neel/c.bmp,1\ncat/a.png,3\ndog/a.png,4\n\ncat/more/b.png,1\nelsewhere.png,9\n"
    )
    for name in ("l.npy", "column.csv", "pairs.csv"):
        data = read_labelled(folders, tmp_path / name)
        assert data.labels is not None and data.labels.dtype == np.int64, name
        assert data.labels.tolist() == [3, 1, 4, 1] and data.numbered == (), name
    (tmp_path / "names.csv").write_text("\ufeffeel\ncat\ncat\neel\n", "utf-8")
    found = read_labelled(folders, tmp_path / "names.csv").labels
    assert found is not None and found.tolist() == [1, 0, 0, 1]


def test_short_file_names_are_enough_where_they_are_unique(tmp_path: Path) -> None:
    for name in ("x/a.png", "y/b.png"):
        put(tmp_path / "set" / name)
    (tmp_path / "l.csv").write_text("b.png,1\na.png,0\n")
    found = read_labelled(tmp_path / "set", tmp_path / "l.csv").labels
    assert found is not None and found.tolist() == [0, 1]


def test_arrays_and_vectors(tmp_path: Path) -> None:
    images = np.arange(4 * 6 * 5, dtype=np.uint8).reshape(4, 6, 5)
    np.save(tmp_path / "i.npy", images)
    idx = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in images.shape) + images.tobytes()
    (tmp_path / "i.gz").write_bytes(gzip.compress(idx))
    (tmp_path / "l.gz").write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 4, 2, 0, 1, 2])))
    for name in ("i.npy", "i.gz"):
        data = read_labelled(tmp_path / name, tmp_path / "l.gz")
        assert data.labels is not None and data.labels.tolist() == [2, 0, 1, 2] and not data.vectors
        np.testing.assert_array_equal(data.whole(), images)
        assert data.bytes == (tmp_path / name).stat().st_size
    vectors = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float16)
    np.save(tmp_path / "v.npy", vectors)
    save_file({"v": vectors}, tmp_path / "v.safetensors")
    for name in ("v.npy", "v.safetensors"):
        data = read_labelled(tmp_path / name)
        assert data.vectors and data.labels is None
        np.testing.assert_array_equal(np.concatenate(list(data.batches(3))), vectors)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1\n2\n", "4 items, but 2 labels"),
        ("1\n2\n3\n-1\n", "label -1"),
        ("1,2,3\n", "one column, of labels, or two"),
        ("a.png,1\n2\n", "one column, of labels, or two"),
        ("", "one column, of labels, or two"),
        ("file,label\na.png,1\n", "no label for cat/a.png"),
        ("cat/a.png,1\ncat/a.png,2\n", "names a file twice"),
        ("1\n2\n3\nnone\n", "'1' is not among the 1 class names"),
    ],
)
def test_labels_that_do_not_fit(folders: Path, tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_labelled(folders, tmp_path / "l.csv", classes=["none"])


def test_files_that_hold_no_labels(folders: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "i.npy", np.zeros((4, 6, 5), np.uint8))
    np.save(tmp_path / "float.npy", np.zeros(4))
    np.save(tmp_path / "wide.npy", np.zeros((4, 2), int))
    np.save(tmp_path / "huge.npy", np.full(4, 2**40))
    (tmp_path / "cut.idx").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 9, 1]))
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"1\n2\n")[:9])
    (tmp_path / "raw.bin").write_bytes(bytes(range(128, 200)))
    for name, sentence in (
        ("float.npy", "one whole number an item"), ("wide.npy", "one whole number an item"), ("huge.npy", "from 0"),
        ("cut.idx", "no whole IDX"), ("cut.gz", "damaged gzip"), ("raw.bin", "holds no labels"),
        ("gone.csv", "there is no file"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=sentence):
            read_labelled(folders, tmp_path / name)
    (tmp_path / "pairs.csv").write_text("a.png,1\n")
    with pytest.raises(InputError, match="items are one array"):
        read_labelled(tmp_path / "i.npy", tmp_path / "pairs.csv")


def test_items_that_no_task_can_see(tmp_path: Path) -> None:
    np.save(tmp_path / "nan.npy", np.array([[1.0, np.nan]]))
    np.save(tmp_path / "int.npy", np.zeros((3, 4), int))
    (tmp_path / "text.npy").write_text("no array")
    for name, error in (
        ("nan.npy", InputError), ("int.npy", UnsupportedInputError), ("text.npy", InputError), ("gone.npy", InputError),
    ):  # fmt: skip
        with pytest.raises(error):
            read_labelled(tmp_path / name)
    put(tmp_path / "set" / "a.png")
    put(tmp_path / "set" / "b.png", height=7)
    with pytest.raises(InputError, match=r"b\.png has shape \(7, 5, 3\)"):
        read_labelled(tmp_path / "set").whole()
    (tmp_path / "set" / "c.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"c\.png"):
        list(read_labelled(tmp_path / "set").batches(9))


def test_class_names(tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("cat\n\n dog \n")
    assert read_class_names(tmp_path / "n.txt") == ["cat", "dog"]
    for text in ("", "a\na\n"):
        (tmp_path / "n.txt").write_text(text)
        with pytest.raises(InputError, match="a class name a line"):
            read_class_names(tmp_path / "n.txt")
    with pytest.raises(InputError, match="there is no file"):
        read_class_names(tmp_path / "gone.txt")
