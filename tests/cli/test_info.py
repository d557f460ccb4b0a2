"""`obverse info`: every codec says what its files hold, and a header that lies is shown as it is."""

from pathlib import Path

import pytest

from obverse.cli import run
from obverse.cli.info import row_of, show_facts
from obverse.container import Container, describe, write
from obverse.registry import built_in_methods
from tests.conftest import REPOSITORY

GOLDEN = {path.stem: path for path in sorted((REPOSITORY / "tests").rglob("golden/**/*.obv"))}
LIES = (None, "", -1, 0, 2**70, [], [0, 0], {}, b"", 1.5, float("nan"))


def test_every_codec_has_a_golden_file() -> None:
    assert {describe(path)["codec"] for path in GOLDEN.values()} >= set(built_in_methods()) - {"invariant"}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_file_is_explained(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(GOLDEN[name])]) == 0
    shown = capsys.readouterr().out
    assert "  rate      " in shown and "  config " not in shown


@pytest.mark.parametrize("codec", built_in_methods())
@pytest.mark.parametrize("shape", [(), (0,), (0, 0), (2, 3), (0, 28, 28), (1, 2, 3, 4), (2**60,)], ids=str)
def test_a_header_that_lies_is_shown(
    codec: str, shape: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried = 0
    for key in range(4):
        for lie in LIES:
            config = dict.fromkeys(range(key + 1), lie)
            try:
                data = write(Container(codec, config, shape, {"x": b"1"}))
            except Exception:
                continue  # not a header that can be written
            show_facts(row_of("a.obv", describe(data)))
            tried += 1
            assert "codec     " in capsys.readouterr().out
    assert tried > 20
