"""Options said once: checks and errors of every codec's options, from their declarations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import obverse
from obverse.cli import run
from obverse.cli.flags import CodecFlags
from obverse.codecs.flow.options import FlowOptions
from obverse.codecs.image.options import ImageOptions
from obverse.codecs.plug_and_play.options import PlugAndPlayOptions
from obverse.errors import OptionError
from obverse.fields import OptionField, Options
from obverse.registry import built_in_methods

ALL = [
    pytest.param(method.options_class, option, id=f"{method.id}-{option.name}")
    for method in built_in_methods().values()
    for option in method.options_class.described()
]
CHECKED = [param for param in ALL if param.values[1].kind is not None]


@pytest.mark.parametrize(("options", "option"), ALL)
def test_an_option_explains_itself(options: type[Options], option: OptionField) -> None:
    assert option.about.help.endswith(".") and len(option.about.help) < 120
    option.check(option.default)
    if option.about.flag:
        assert option.name in CodecFlags.__dataclass_fields__
        assert option.kind is not None or option.about.parse is not None


@pytest.mark.parametrize(("options", "option"), CHECKED)
@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -1e300, "nonsense", b"x", (), 1j, np.zeros(2)], ids=repr
)
def test_what_an_option_cannot_be(options: type[Options], option: OptionField, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{option.name} must be"):
        options(**{option.name: value})


@pytest.mark.parametrize(("options", "option"), CHECKED)
def test_true_is_no_number_and_one_no_truth(options: type[Options], option: OptionField) -> None:
    with pytest.raises(OptionError):
        options(**{option.name: 1 if option.kind is bool else True})


@pytest.mark.parametrize(("options", "option"), CHECKED)
def test_the_ends_of_a_range(options: type[Options], option: OptionField) -> None:
    about = option.about
    for end, step in ((about.low, -1), (about.high, 1)):
        if end is not None:
            options(**{option.name: end})
            with pytest.raises(OptionError, match=option.name):
                options(**{option.name: end + step})
    for end in (about.above, about.below):
        if end is not None:
            with pytest.raises(OptionError, match=option.name):
                options(**{option.name: end})


@given(st.integers(1, 1000))
def test_numbers_of_numpy_are_numbers(segment: int) -> None:
    assert FlowOptions(segment=np.int32(segment)).segment == segment
    assert ImageOptions(quality=np.float32(min(segment, 100))).quality == min(segment, 100)
    assert ImageOptions(quality=min(segment, 100)).quality == min(segment, 100)


def test_a_misspelt_option_is_named() -> None:
    photo = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(OptionError, match=r"codec 'image' has no option 'qualty'; did you mean 'quality'\?"):
        obverse.compress(photo, qualty=30)
    with pytest.raises(OptionError, match="'flow' has no option 'quality'; it has metadata, segment"):
        obverse.compress(photo, codec="flow", quality=30)
    with pytest.raises(OptionError, match="a whole number from 1 to 1000, not 0"):
        obverse.compress(photo, codec="flow", segment=0)
    with pytest.raises(OptionError, match="one of vbq, steps, uniform, scaled-uniform, k-means, not 'vqb'"):
        PlugAndPlayOptions(method="vqb")
    with pytest.raises(OptionError, match="give one of quality, bpp, max_bytes and max_error, not 2"):
        obverse.compress(photo, quality=30, bpp=1.0)


def test_every_option_is_a_flag(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    """What Python takes, the command line takes: options of codecs that no list of flags knows."""
    x = np.random.default_rng(0).normal(size=(300, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    where = str(tmp_path / "x.npy")
    words = ["compress", where, "--codec", "features", "--loss", ".1", "--standardise", "--chunk", "64"]
    assert run(words) == 0
    wanted = obverse.compress(x, codec="features", loss=0.1, standardise=True, chunk=64)
    assert (tmp_path / "x.obv").read_bytes() == wanted
    assert run(["compress", where, "-f", "--codec", "features", "--loss", "2"]) == 2
    assert "loss must be a number above 0 and below 1, not 2.0" in capsys.readouterr().err
    assert run(["compress", where, "-f", "--codec", "features", "--quality", "2"]) == 2
    assert run(["compress", where, "-f", "--codec", "features", "--losss", "2"]) == 2


@pytest.mark.parametrize(
    "name, value",
    [
        ("bpp", 10**400),
        ("quality", -(10**400)),
        ("progress", 5),
        ("limits", 0),
        ("limits", "50"),
        ("limits", np.zeros(3)),
        ("metadata", 5),
    ],
)
def test_values_of_another_kind_are_told(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{name} must be a? ?.*, not "):
        ImageOptions(**{name: value})
