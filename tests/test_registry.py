"""Codecs of third parties: the package of docs/how-to/add-a-codec.md, installed and run as written there."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from obverse import registry
from obverse.codec import compress, decompress
from obverse.errors import InputError, UnknownCodecError, WrongModelError
from obverse.zoo import load_model, store_model
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "how-to" / "add-a-codec.md"


def block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[0]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install` would put into site-packages, in a folder for PYTHONPATH; needs no network."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads(block("toml"))
    (module,) = project["tool"]["setuptools"]["py-modules"]
    (site / f"{module}.py").write_text(block("python"), "utf-8")
    facts = project["project"]
    info = site / f"{facts['name'].replace('-', '_')}-{facts['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {facts['name']}\nVersion: {facts['version']}\n"
    (info / "METADATA").write_text(metadata + f"Summary: {facts['description']}\n")
    lines = [f"[{group}]\n" for group in facts["entry-points"]]
    for group in facts["entry-points"].values():
        lines += [f"{name} = {where}\n" for name, where in group.items()]
    (info / "entry_points.txt").write_text("".join(lines))
    return site


def obverse(folder: Path, site: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    command = [sys.executable, "-c", "from obverse.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_example_is_short() -> None:
    assert block("python").count("\n") < 60


def test_the_package_of_the_page_works(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    arrays = {
        "a": np.arange(3000, dtype=np.uint8).reshape(3, 10, 100) // 40,
        "one": np.full(7, 255, np.uint8),
    }
    for name, array in arrays.items():
        np.save(tmp_path / "in" / f"{name}.npy", array)

    listed = obverse(tmp_path, installed, "list")
    assert listed.returncode == 0
    for line in re.findall(r"^(?:image|tally) .*\)$", block("console"), re.MULTILINE):
        assert line in listed.stdout

    packed = obverse(tmp_path, installed, "compress", "--codec", "tally", "in", "-o", "packed", "--json")
    assert packed.returncode == 0, packed.stderr
    assert [row["output"] for row in json.loads(packed.stdout)] == ["packed/a.obv", "packed/one.obv"]
    assert json.loads(packed.stdout)[0]["bytes_out"] < 3000

    shown = obverse(tmp_path, installed, "info", "packed/a.obv")
    assert "tally" in shown.stdout and "3 x 10 x 100" in shown.stdout and "table: 512 bytes" in shown.stdout

    unpacked = obverse(tmp_path, installed, "decompress", "packed", "-o", "again")
    assert unpacked.returncode == 0, unpacked.stderr
    for name, array in arrays.items():
        assert np.array_equal(np.load(tmp_path / "again" / f"{name}.npy"), array)

    wrong = obverse(tmp_path, installed, "compress", "--codec", "tally", "in/a.npy", "--quality", "5")
    assert wrong.returncode == 2 and "--quality" in wrong.stderr

    without = obverse(tmp_path, None, "decompress", "packed/a.obv")
    assert without.returncode == 15
    assert "'tally'" in without.stderr and without.stderr.count("\n") == 1


def test_the_class_of_the_page_keeps_its_promises() -> None:
    from obverse import Container
    from obverse.errors import DamagedError, LimitError, UnsupportedInputError

    names: dict[str, object] = {"__name__": "obverse_tally"}
    exec(block("python"), names)
    codec = names["TallyCodec"]()  # type: ignore[operator]
    empty = np.zeros((0, 4), np.uint8)
    assert codec.decode(codec.encode(empty)).shape == (0, 4)
    good = codec.encode(np.arange(100, dtype=np.uint8))
    with pytest.raises(UnsupportedInputError, match="float64"):
        codec.encode(np.zeros(3))
    with pytest.raises(LimitError):
        codec.decode(Container("tally", {}, (2**40,), good.sections))
    for sections in (
        {"message": good.sections["message"]},
        {"table": bytes(512), "message": good.sections["message"]},
        {"table": good.sections["table"], "message": b"123"},
    ):
        with pytest.raises(DamagedError):
            codec.decode(Container("tally", {}, (100,), sections))
    with pytest.raises(DamagedError, match="more than its array"):
        codec.decode(Container("tally", {}, (99,), good.sections))


# -- what the registry says of packages that are not right ------------------------------------------------


@pytest.fixture
def entries(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """Entry points to be found, beside none of the installed ones."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: found)
    registry._open.cache_clear()
    yield found
    registry._open.cache_clear()


def test_unknown_codec_names_those_there_are() -> None:
    with pytest.raises(UnknownCodecError, match=r"no codec 'zip' here .*image"):
        registry.open_codec("zip")


@pytest.mark.parametrize(
    "where", ["no_such_module:X", "json:no_such_name", "obverse:Codec", "json:loads"], ids=str
)
def test_a_package_that_does_not_load_is_told_in_one_sentence(entries: list[EntryPoint], where: str) -> None:
    entries.append(EntryPoint("odd", where, registry.GROUP))
    assert [entry.id for entry in registry.list_codecs()] == sorted([*registry.BUILT_IN, "odd"])
    with pytest.raises(UnknownCodecError, match=r"'odd'.* cannot be loaded"):
        registry.open_codec("odd")


def test_what_is_no_codec_is_refused(entries: list[EntryPoint]) -> None:
    entries.append(EntryPoint("odd", "builtins:dict", registry.GROUP))
    with pytest.raises(UnknownCodecError, match="does not lead to a Codec"):
        registry.open_codec("odd")


def test_another_id_than_the_entry_point_says_is_refused(entries: list[EntryPoint]) -> None:
    entries.append(EntryPoint("photos", "obverse.codecs.image.codec:ImageCodec", registry.GROUP))
    with pytest.raises(UnknownCodecError, match="does not lead to a Codec of that id"):
        registry.open_codec("photos")


def test_two_packages_of_one_id_are_refused(entries: list[EntryPoint]) -> None:
    entries += [EntryPoint("odd", "one:X", registry.GROUP), EntryPoint("odd", "two:X", registry.GROUP)]
    with pytest.raises(UnknownCodecError, match="one and two both bring"):
        registry.open_codec("odd")


def test_a_built_in_codec_cannot_be_replaced(entries: list[EntryPoint]) -> None:
    entries.append(EntryPoint("image", "builtins:dict", registry.GROUP))
    assert type(registry.open_codec("image")).__name__ == "ImageCodec"
    listed = [(entry.id, entry.package) for entry in registry.list_codecs()]
    assert listed == [(name, "obverse") for name in sorted(registry.BUILT_IN)]


def test_a_package_without_a_summary_is_listed(entries: list[EntryPoint], tmp_path: Path) -> None:
    info = tmp_path / "odd-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\nodd = odd:X\n")
    entries += list(importlib.metadata.Distribution.at(info).entry_points)
    (listed,) = [entry for entry in registry.list_codecs() if entry.id == "odd"]
    assert (listed.summary, listed.package) == ("", "odd")


# -- trained models -----------------------------------------------------------------------------------------


@pytest.fixture
def own_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A model of the user's: the shipped one, trained a little differently."""
    monkeypatch.setenv("OBVERSE_ZOO", str(tmp_path / "models"))
    shipped = load_model("wyner-ziv-trellis")
    store_model(tmp_path / "models" / "mine", shipped.weights, shipped.config | {"note": "mine"}, "# mine\n")
    return tmp_path / "models" / "mine"


def test_models_are_opened_by_name_and_by_folder(own_model: Path) -> None:
    by_name, by_folder = registry.open_codec("mine"), registry.open_codec(str(own_model))
    assert by_name.id == by_folder.id == "wyner-ziv-trellis"
    assert by_name.fingerprint == by_folder.fingerprint
    assert by_name.fingerprint != registry.open_codec("wyner-ziv-trellis").fingerprint


def test_files_find_the_model_that_wrote_them(own_model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=2000)
    data = compress(y + 0.3 * rng.normal(size=2000), codec="mine")
    there = decompress(data, side_info=y)
    own_model.rename(tmp_path / "elsewhere")
    with pytest.raises(WrongModelError, match="name the model"):
        decompress(data, side_info=y)
    assert np.array_equal(decompress(data, side_info=y, model=tmp_path / "elsewhere"), there)
    with pytest.raises(WrongModelError):
        decompress(data, side_info=y, model="image")


def test_a_damaged_model_is_told(own_model: Path) -> None:
    weights = own_model / "model.safetensors.xz"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(InputError, match="damaged"):
        registry.open_codec("mine")
