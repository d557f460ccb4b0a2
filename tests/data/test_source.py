import io

import pytest

from obverse.data.source import name_of, read_bytes
from obverse.errors import InputError


def test_a_file_and_standard_input_give_all_their_bytes(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    assert read_bytes(path) == read_bytes(io.BytesIO(b"abc")) == b"abc"


def test_names_are_what_the_user_gave(tmp_path):
    assert name_of(tmp_path / "a.bin") == str(tmp_path / "a.bin")
    assert name_of(io.BytesIO()) == "standard input"


def test_what_cannot_be_read_is_said_in_a_sentence(tmp_path):
    with pytest.raises(InputError, match=f"there is no file {tmp_path}/none"):
        read_bytes(tmp_path / "none")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_bytes(tmp_path)
