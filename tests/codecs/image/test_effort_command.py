"""`obverse compress --effort`."""

import os
import pty
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

import obverse
from obverse.cli import run
from obverse.cli.progress import search_bar
from tests.conftest import smooth_photo


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Image.fromarray(smooth_photo(64, 64, seed=ord(name))).save(f"{name}.png")
    return tmp_path


def test_the_option_reaches_the_codec(folder, capsys):
    assert run(["compress", "a.png", "--effort", "1", "-q", "40"]) == 0
    assert (folder / "a.obv").read_bytes() == obverse.compress(folder / "a.png", quality=40, effort=1)
    assert run(["compress", "a.png", "b.png", "-o", "out/", "--effort", "1"]) == 0
    assert run(["decompress", "out/", "-o", "back/"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("effort", ["-1", "10", "x"])
def test_efforts_that_there_are_not(folder, effort, capsys):
    assert run(["compress", "a.png", "--effort", effort]) == 2
    assert "effort" in capsys.readouterr().err
    assert not (folder / "a.obv").exists()


def test_a_codec_without_effort_refuses_it(folder, capsys):
    assert run(["compress", "--lossless", "a.png", "--effort", "3"]) == 2
    assert "has no use for --effort" in capsys.readouterr().err


def test_a_terminal_sees_the_cost(monkeypatch):
    main, side = pty.openpty()
    with os.fdopen(side, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with search_bar() as progress:
            assert progress is not None
            for step in range(4):
                progress(step, 3, 0.75 - 0.1 * step)
            progress(0, 5, 0.9)  # rate control begins anew
        with search_bar(shown=False) as nothing:
            assert nothing is None
    text = b""
    with suppress(OSError):  # at its end
        while part := os.read(main, 65536):
            text += part
    os.close(main)
    seen = text.decode()
    assert "searching" in seen and "0/5" in seen and "0.9000 bits/pixel" in seen


def test_no_terminal_sees_nothing(capsys):
    with search_bar() as progress:
        assert progress is None
    assert capsys.readouterr().err == ""
