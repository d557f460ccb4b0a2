import io

import numpy as np
import pytest
from PIL import Image

from obverse.data.source import Contents, as_source, name_of, read_bytes
from obverse.errors import InputError


def test_a_file_and_standard_input_give_all_their_bytes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    assert read_bytes(path) == read_bytes(io.BytesIO(b"abc")) == b"abc"


def test_names_are_what_the_user_gave(tmp_path):
    assert name_of(tmp_path / "a.bin") == str(tmp_path / "a.bin")
    assert name_of(io.BytesIO()) == "the data"
    assert name_of(Contents(b"", "standard input")) == "standard input"
    with open(tmp_path / "a.bin", "wb") as file:
        assert name_of(file) == str(tmp_path / "a.bin")


def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match=f"there is no file {tmp_path}/none"):
        read_bytes(tmp_path / "none")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_bytes(tmp_path)
    (tmp_path / "a.txt").write_text("abc")
    with open(tmp_path / "a.txt") as file, pytest.raises(InputError, match="mode 'rb'"):
        read_bytes(file)
    with pytest.raises(InputError, match="cannot be read: I/O operation on closed file"):
        read_bytes(file)


def test_what_stands_for_a_file(tmp_path):
    """A path as text or as an object, the bytes of a file, an open file; everything else is data."""

    class Somewhere:
        def __fspath__(self):
            return str(tmp_path / "a.bin")

    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    with path.open("rb") as file:
        for given in (str(path), path, Somewhere(), b"abc", bytearray(b"abc"), memoryview(b"abc"), file):
            assert read_bytes(as_source(given)) == b"abc"
    for data in (np.zeros(3), [1, 2], None, Image.new("L", (1, 1)), memoryview(np.zeros((2, 2), np.uint8))):
        assert as_source(data) is None
