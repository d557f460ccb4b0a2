"""Items kept on disk until all are there: the same file as of items in memory."""

import os

import pytest

from obverse.container import Container, read, write, write_atomically
from obverse.container import spool as spools
from obverse.container.spool import ItemSpool
from obverse.errors import OutputError

FRONT = Container("demo", {0: 3}, (2,), {}, bytes(8), {"a": 1})


@pytest.mark.parametrize("in_memory", [0, 10, 2**20])
@pytest.mark.parametrize("sizes", [(), (0,), (1, 0, 127, 128, 300), (70_000, 2**16, 3)])
def test_the_same_file_as_in_memory(sizes, in_memory, tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "IN_MEMORY", in_memory)
    payloads = [os.urandom(size) for size in sizes]
    wanted = write(Container(**{**FRONT.__dict__, "items": tuple(payloads)}))
    with ItemSpool(str(tmp_path)) as spool:
        spool.append(b"of another try")
        spool.clear()
        for payload in payloads:
            spool.append(payload)
        assert len(spool) == len(payloads) and list(spool.items()) == payloads
        assert spool.file_bytes(FRONT) == len(wanted)
        write_atomically(tmp_path / "x.obv", spool.parts(FRONT))
        assert b"".join(spool.parts(FRONT)) == wanted  # and once more
    assert (tmp_path / "x.obv").read_bytes() == wanted
    assert read(tmp_path / "x.obv").items == tuple(payloads)
    assert os.listdir(tmp_path) == ["x.obv"]


def test_parts_that_end_in_an_error_leave_nothing(tmp_path):
    def parts():
        yield b"begun"
        raise OutputError("no more")

    with pytest.raises(OutputError):
        write_atomically(tmp_path / "x", parts())
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told():
    class Full:
        def seek(self, *place):
            pass

        def writelines(self, data):
            raise OSError(28, "No space left on device")

    spool = ItemSpool()
    spool._file.close()
    spool._file = Full()
    with pytest.raises(OutputError, match="free some space"):
        spool.append(b"x")
