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

from obverse import registry, zoo
from obverse.cli import run
from obverse.codec import Codec, compress, decompress
from obverse.errors import (
    CodecNameError,
    DeclarationError,
    InputError,
    ModelError,
    UnknownCodecError,
    WrongModelError,
)
from obverse.method import Method
from obverse.zoo import load_model, store_model
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "how-to" / "add-a-codec.md"


def block(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[number]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install` would put into site-packages, in a folder for PYTHONPATH; needs no network."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads(block("toml"))
    (package,) = project["tool"]["setuptools"]["packages"]
    (site / package).mkdir()
    for number, module in enumerate(("__init__", "codec")):
        (site / package / f"{module}.py").write_text(block("python", number), "utf-8")
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
    assert block("python").count("\n") + block("python", 1).count("\n") < 70


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_test_of_the_page_passes(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "test_obverse_tally.py").write_text(block("python", 2), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_obverse_tally.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(installed), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout


def test_the_class_of_the_page_keeps_its_promises(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from obverse import Container
    from obverse.errors import DamagedError, LimitError, UnsupportedInputError

    monkeypatch.syspath_prepend(str(installed))
    codec = importlib.import_module("obverse_tally.codec").TallyCodec()
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
    registry.codec_of_id.cache_clear()
    yield found
    registry.codec_of_id.cache_clear()


def test_unknown_codec_names_those_there_are() -> None:
    with pytest.raises(CodecNameError, match=r"no codec 'zip' here .*image"):
        registry.open_codec("zip")


def test_a_file_of_an_unknown_codec_cannot_be_read() -> None:
    from obverse import Container
    from obverse.container import write

    with pytest.raises(UnknownCodecError, match=r"no codec 'zip' here"):
        decompress(write(Container("zip", {}, (1,), {})))


@pytest.mark.parametrize("where", ["no_such_module:X", "json:no_such_name"], ids=str)
def test_a_package_that_does_not_load_is_told_in_one_sentence(entries: list[EntryPoint], where: str) -> None:
    entries.append(EntryPoint("odd", where, registry.GROUP))
    assert [entry.id for entry in registry.list_codecs()] == sorted([*registry.built_in_methods(), "odd"])
    with pytest.raises(DeclarationError, match=r"'odd'.* cannot be loaded"):
        registry.open_codec("odd")


@pytest.mark.parametrize("where", ["builtins:dict", "json:loads", "obverse.codecs.image:METHOD"], ids=str)
def test_what_is_no_declaration_of_this_id_is_refused(entries: list[EntryPoint], where: str) -> None:
    entries.append(EntryPoint("odd", where, registry.GROUP))
    with pytest.raises(DeclarationError, match="does not lead to a Method of that id"):
        registry.open_codec("odd")


def test_a_package_that_names_its_class_is_told_what_to_change(entries: list[EntryPoint]) -> None:
    entries.append(EntryPoint("photos", "obverse.codecs.image.codec:ImageCodec", registry.GROUP))
    with pytest.raises(DeclarationError, match="must name a declaration"):
        registry.open_codec("photos")


ODD = Method(id="odd", package="no_such_package", summary="odd", data="array", codec="codec:Odd")
NO_CODEC = Method(id="odd", package="json", summary="odd", data="array", codec=":loads")
NOT_MINE = Method(
    id="odd", package="obverse.codecs.flow", summary="odd", data="array", codec="codec:FlowCodec"
)
NOT_WHOLE = Method(id="odd", package=__name__, summary="odd", data="array", codec=":NotWhole")


class NotWhole(Codec):
    method = NOT_WHOLE


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ("ODD", "'codec:Odd', which cannot be loaded"),
        ("NO_CODEC", "is no Codec"),
        ("NOT_MINE", "FlowCodec of the codec 'odd' must say"),
        ("NOT_WHOLE", "is not whole: .*abstract"),
    ],
)
def test_a_declaration_that_names_what_is_not_there(
    entries: list[EntryPoint], declared: str, words: str
) -> None:
    entries.append(EntryPoint("odd", f"{__name__}:{declared}", registry.GROUP))
    with pytest.raises(DeclarationError, match=words):
        registry.open_codec("odd")
    assert ("odd", "odd") in [(entry.id, entry.summary) for entry in registry.list_codecs()]


def test_two_packages_of_one_id_are_refused(entries: list[EntryPoint]) -> None:
    entries += [EntryPoint("odd", "one:X", registry.GROUP), EntryPoint("odd", "two:X", registry.GROUP)]
    with pytest.raises(DeclarationError, match="one and two both bring"):
        registry.open_codec("odd")


def test_a_built_in_codec_cannot_be_replaced(entries: list[EntryPoint]) -> None:
    entries.append(EntryPoint("image", "builtins:dict", registry.GROUP))
    assert type(registry.open_codec("image")).__name__ == "ImageCodec"
    listed = [(entry.id, entry.package) for entry in registry.list_codecs()]
    assert listed == [(name, "obverse") for name in sorted(registry.built_in_methods())]


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
    with pytest.raises(ModelError, match="damaged"):
        registry.open_codec("mine")


# -- the declarations of the built-in codecs ------------------------------------------------------------------


@pytest.mark.parametrize("method", registry.built_in_methods().values(), ids=lambda method: method.id)
def test_a_declaration_is_whole(method: Method) -> None:
    """What it names is there; its models ship, and are its own; what it builds on is declared."""
    codec = registry.open_codec(method.id)
    assert method.summary and codec.method is method
    for reference in (
        method.options,
        method.facts,
        *(method.training.references if method.training is not None else ()),
        *(command.run for command in method.commands),
    ):
        if reference is not None:
            method.resolve(reference)
    for name in method.models:
        assert load_model(name).codec == method.id
    assert set(method.also_writes) <= set(method.builds_on) <= set(registry.built_in_methods())


def test_every_shipped_model_is_declared() -> None:
    shipped = {path.parent.name for path in Path(zoo.__file__).parent.glob("*/config.json")}
    assert shipped == {name for method in registry.built_in_methods().values() for name in method.models}


def test_declarations_are_light() -> None:
    code = (
        "import sys, obverse; from obverse.registry import list_methods; list_methods()\n"
        "print([m for m in ('torch', 'numba', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_kind_of_data_has_one_default() -> None:
    kinds = [method.data for method in registry.built_in_methods().values() if method.default]
    assert len(kinds) == len(set(kinds))
    assert registry.default_codec("image") == "image"
    assert registry.default_codec("exact image") == "image-lossless"
    with pytest.raises(CodecNameError, match="name one"):
        registry.default_codec("smells")


# -- names, folders, and what a file may name ------------------------------------------------------------------------


@pytest.fixture
def other_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working in a folder with a model `vae-mnist` that is not the shipped one, and with `mymodel`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("OBVERSE_ZOO", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    model = load_model("vae-mnist")
    for name in ("vae-mnist", "image", "mymodel"):
        store_model(tmp_path / name, model.weights, model.config | {"made": "here"}, "# of mine")
    return tmp_path


def test_a_folder_of_a_shipped_name_does_not_take_its_place(other_digits: Path) -> None:
    shipped = load_model("vae-mnist").fingerprint
    mine = zoo.load_model_from(other_digits / "vae-mnist").fingerprint
    assert mine != shipped
    assert registry.open_codec("vae-mnist").fingerprint == shipped
    assert registry.open_model("vae-mnist").fingerprint == shipped
    assert zoo.stored_model("vae-mnist").fingerprint == shipped
    assert registry.open_codec("image").id == "image" and registry.open_model("image").id == "image"
    for folder in ("./vae-mnist", "vae-mnist/", str(other_digits / "vae-mnist"), Path("vae-mnist")):
        assert registry.open_codec(folder).fingerprint == mine
        assert registry.open_model(folder).fingerprint == mine
        assert zoo.stored_model(folder).fingerprint == mine


@pytest.mark.filterwarnings("ignore::obverse.codecs.stored_segments.ModelFitWarning")
def test_a_folder_without_a_slash_is_a_model_but_no_codec(other_digits: Path) -> None:
    mine = zoo.load_model_from(other_digits / "mymodel").fingerprint
    assert registry.open_model("mymodel").fingerprint == mine
    assert zoo.stored_model("mymodel").fingerprint == mine
    with pytest.raises(CodecNameError, match=r"a folder with a model: name it with a slash, \./mymodel$"):
        registry.open_codec("mymodel")
    digits = np.zeros((2, 28, 28), np.uint8)
    data = compress(digits, codec="./mymodel")
    assert np.array_equal(decompress(data, model="mymodel"), digits)
    assert np.array_equal(decompress(data, model="./mymodel"), digits)


@pytest.mark.filterwarnings("ignore::obverse.codecs.stored_segments.ModelFitWarning")
def test_a_model_that_is_not_there_is_told_as_a_model(
    other_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not as a codec, with the models that there are, by whichever command."""
    digits = np.zeros((2, 28, 28), np.uint8)
    Path("digits.obv").write_bytes(compress(digits, codec="vae-mnist"))
    np.save("v.npy", np.ones((2, 3), np.float32))
    (other_digits / "none").mkdir()
    for command in (
        ["decompress", "digits.obv", "-o", "d.npy"],
        ["compress-features", "v.npy"],
        ["split", "export", "-o", "halves"],
    ):
        for name, code, words in (
            ("vae-mnits", 8, "there is no model 'vae-mnits' here (there are: "),
            ("vae-mnits", 8, "did you mean 'vae-mnist'?"),
            ("./gone", 9, "there is no folder gone: name that of a model"),
            ("./none", 9, "the folder none holds no model (there is no model.safetensors.xz in it)"),
        ):
            model = [name] if command[0] == "split" else ["--model", name]
            assert run([*command, *model]) == code
            said = capsys.readouterr().err
            assert words in said and "codec" not in said and "reinstall" not in said


def test_a_model_for_a_file_that_brings_its_own_is_told_so(
    other_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("v.npy", np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32))
    assert run(["compress-features", "v.npy", "-o", "v.obv"]) == 0
    capsys.readouterr()
    assert run(["decompress", "v.obv", "-f", "--model", "vae-mnist"]) == 16
    assert "brings what it is decoded with: leave the model out" in capsys.readouterr().err
    assert run(["decompress", "v.obv", "-f", "--model", "features"]) == 9
    assert "'features' is a codec that has no model of its own" in capsys.readouterr().err


def test_the_command_line_says_how_a_folder_is_named(
    other_digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("digits.npy", np.zeros((2, 28, 28), np.uint8))
    assert run(["compress", "digits.npy", "--codec", "mymodel"]) == CodecNameError.exit_code
    assert "name it with a slash, ./mymodel" in capsys.readouterr().err
    assert not Path("digits.obv").exists()
    assert run(["compress", "digits.npy", "--codec", "./mymodel"]) == 0
    assert run(["decompress", "digits.obv", "--model", "mymodel", "-o", "again.npy"]) == 0


def test_the_folder_that_its_user_names_comes_first(
    other_digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OBVERSE_ZOO", str(other_digits))
    mine = zoo.load_model_from(other_digits / "vae-mnist").fingerprint
    assert registry.open_codec("vae-mnist").fingerprint == mine
    assert registry.open_codec("mymodel").fingerprint == zoo.load_model("mymodel").fingerprint


@pytest.mark.parametrize("name", ["", "..", ".", "../x", "a/b", "/etc", ".hidden", "C:x", "x\0y"])
def test_names_of_models_lead_nowhere_else(name: str) -> None:
    with pytest.raises(ModelError, match="no name of a model"):
        load_model(name)


BAD_IDS = [
    "",
    "../../x",
    "/etc/passwd",
    "a/b",
    "Image",
    "IMAGE",
    "image ",
    "my_codec",
    "x" * 65,
    ".",
    "é",
    "a\0b",
    "C:x",
]


@pytest.mark.parametrize("codec_id", BAD_IDS)
def test_ids_of_another_form_are_refused_everywhere(codec_id: str, tmp_path: Path) -> None:
    from obverse.codec import codec_of
    from obverse.container import Container, write

    with pytest.raises(CodecNameError):
        registry.find_method(codec_id)
    with pytest.raises(UnknownCodecError):
        codec_of(Container(codec_id, {}, (1,), {"x": b""}))
    with pytest.raises(InputError, match="codec id"):
        write(Container(codec_id, {}, (1,), {"x": b""}))
    with pytest.raises(DeclarationError, match="no id"):
        Method(id=codec_id, package="tests", summary="", data="array", codec="x:X")


def test_what_a_file_or_a_model_names_is_never_a_folder(other_digits: Path) -> None:
    from obverse.codec import codec_of
    from obverse.container import Container

    with pytest.raises(UnknownCodecError, match="mymodel") as told:
        codec_of(Container("mymodel", {}, (1,), {"x": b""}))
    assert "./mymodel" not in str(told.value)  # the folder was not even looked for
    with pytest.raises(UnknownCodecError):  # a name of a model is no id of a codec either
        codec_of(Container("vae-mnist", {}, (1,), {"x": b""}))
    model = load_model("vae-mnist")
    for codec_id in ("../vae-mnist", "./mymodel", "mymodel", 7):
        store_model(other_digits / "bad", model.weights, model.config | {"codec": codec_id}, "")
        with pytest.raises(ModelError, match=r"'bad' is of the codec .*which is not here"):
            registry.open_codec("./bad")


@pytest.mark.parametrize("codec", [None, float("nan"), [None], {}, ""])
def test_a_model_that_names_no_codec_is_damaged(own_model: Path, codec: object) -> None:
    """Its own name is not what its reader may have meant."""
    config = json.loads((own_model / zoo.CONFIG).read_text())
    (own_model / zoo.CONFIG).write_text(json.dumps(config | {"codec": codec}))
    for name in ("mine", own_model):
        with pytest.raises(ModelError, match="'mine' is of the codec"):
            registry.open_codec(name)
    del config["codec"]
    (own_model / zoo.CONFIG).write_text(json.dumps(config))
    for name in ("mine", own_model):
        with pytest.raises(ModelError, match="'mine' does not say which codec it is of"):
            registry.open_codec(name)


def test_a_model_without_its_sizes_is_told_what_to_do_once(tmp_path: Path) -> None:
    shipped = load_model("vae-mnist")
    store_model(tmp_path / "mine", shipped.weights, {"codec": "vae"}, "")
    with pytest.raises(ModelError, match="does not say how large it is; make or install it again") as told:
        compress(np.zeros((2, 28, 28), np.uint8), codec=tmp_path / "mine")
    assert str(told.value).count("make or install it again") == 1


@pytest.mark.parametrize("place", ["gone", "file"])
def test_a_folder_of_models_that_is_none_is_said(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a name is not found, which may be in it."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("OBVERSE_ZOO", str(tmp_path / place))
    for ask in (registry.open_codec, registry.open_model):
        with pytest.raises(CodecNameError, match=f"OBVERSE_ZOO names {tmp_path / place}, which is no folder"):
            ask("mine")
    monkeypatch.setenv("OBVERSE_ZOO", str(tmp_path))
    with pytest.raises(CodecNameError) as told:
        registry.open_codec("mine")
    assert "OBVERSE_ZOO" not in str(told.value)


@pytest.mark.parametrize("name", [None, float("nan"), 5j, True, b"5", ["image"]])
def test_what_is_no_name_at_all(name: object) -> None:
    for ask in (registry.open_codec, registry.open_model):
        with pytest.raises(CodecNameError, match="are named by a text, or a folder as a Path, not "):
            ask(name)  # type: ignore[arg-type]
