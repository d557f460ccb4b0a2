"""`obverse train ID` and `obverse export ID`, as they are made of a declaration: with a method that trains nothing."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from cyclopts import App

from obverse.cli import run
from obverse.cli.console import UsageError
from obverse.cli.training import Trained, export_command, fit_command, train_command
from obverse.data.patches import image_files
from obverse.errors import InputError, OutputExistsError, TrainingError
from obverse.fields import option
from obverse.method import Method, Training
from obverse.training.recipe import Inputs, Recipe, Sizes, read_recipe
from obverse.zoo import load_model_from, store_model

Capture = pytest.CaptureFixture[str]


@dataclass(frozen=True, kw_only=True)
class ToyInputs(Inputs):
    data: list[Path] = option(MISSING, "Files.")
    mirror: bool = option(False, "Left to right.")

    def check(self) -> None:
        for path in self.data:
            if not path.is_file():
                raise InputError(f"there is no file {path}")


@dataclass(frozen=True)
class ToyRecipe(Recipe):
    steps: int = option(10, "Steps.", low=1)
    lr: float = option(0.1, "Learning rate.", above=0)
    kind: str = option("a", "Of loss.", choices=("a", "b"))
    fast: bool = option(True, "Hurry.")
    middle: int | None = option(None, "Half way.", low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.middle is not None and self.middle > self.steps:
            raise TrainingError("the middle cannot be behind the end")


@dataclass(frozen=True)
class ToySizes(Sizes):
    width: int = option(4, "Channels.", low=1)
    blocks: tuple[int, int] = option((1, 2), "Of both parts.", low=0, high=9)
    seen: int = option(0, "What the data decide.", flag=False)


def train_toy(inputs: ToyInputs, out: Path, recipe: ToyRecipe, sizes: dict[str, Any], device: str) -> None:
    (out / "checkpoint.pt").write_text(json.dumps(asdict(recipe) | asdict(ToySizes(**sizes))))


def refuse_toy(inputs: ToyInputs, out: Path, recipe: ToyRecipe, sizes: dict[str, Any], device: str) -> None:
    raise InputError("no such model")


def export_toy(inputs: ToyInputs, checkpoint: Path, out: Path) -> dict[str, object]:
    config = {"codec": "toy", "mirror": inputs.mirror} | json.loads(checkpoint.read_text())
    return {
        "fingerprint": store_model(out, b"weights", config, "# toy").fingerprint.hex(),
        "summary": "a toy",
    }


def fit_toy(inputs: ToyInputs, out: Path, recipe: ToyRecipe) -> dict[str, object]:
    return {"fingerprint": store_model(out, b"weights", asdict(recipe), "# toy").fingerprint.hex()}


def toy(**training: str) -> Trained:
    declared = Training(inputs=":ToyInputs", recipe=":ToyRecipe", **training, help="Any files.")
    return Trained.of(
        Method(
            id="toy", package=__name__, summary="a toy", data="array", codec=":ToyCodec", training=declared
        )
    )


TRAINED = toy(sizes=":ToySizes", run=":train_toy", export=":export_toy")
FITTED = toy(fit=":fit_toy")
REFUSED = toy(sizes=":ToySizes", run=":refuse_toy", export=":export_toy")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("a.npy").write_bytes(b"a")
    return tmp_path


def train(*words: str, trained: Trained = TRAINED) -> dict[str, Any]:
    """The configuration of the model that a command makes."""
    make = fit_command if trained is FITTED else train_command
    app = App(result_action="return_value")
    app.default(make(trained))
    assert app(["--data", "a.npy", "--out", "run", *words], exit_on_error=False, print_error=False) == 0
    return dict(load_model_from(Path("run") if trained is FITTED else Path("run/model")).config)


DEFAULTS = {"steps": 10, "lr": 0.1, "kind": "a", "fast": True, "middle": None, "width": 4, "blocks": [1, 2]}


def test_every_field_is_a_flag_and_defaults_are_those_of_the_fields(folder: Path, capsys: Capture) -> None:
    assert train() == DEFAULTS | {"codec": "toy", "mirror": False, "seen": 0}
    assert "trained: run/model, model " in capsys.readouterr().err
    words = ["--steps=3", "--lr=0.5", "--kind=b", "--no-fast", "--middle=2", "--width=8", "--mirror"]
    given = {"steps": 3, "lr": 0.5, "kind": "b", "fast": False, "middle": 2, "width": 8, "blocks": [3, 4]}
    assert train(*words, "--blocks", "3", "4") == given | {"codec": "toy", "mirror": True, "seen": 0}


def test_a_model_that_wrote_files_is_kept_when_its_run_goes_on(folder: Path, capsys: Capture) -> None:
    train("--steps", "3")
    first = load_model_from(Path("run/model")).fingerprint
    train("--steps", "3")  # nothing new
    assert [path.name for path in Path("run").iterdir() if path.is_dir()] == ["model"]
    train("--steps", "5")
    assert load_model_from(Path(f"run/model-{first.hex()}")).fingerprint == first
    assert load_model_from(Path("run/model")).fingerprint != first
    assert "is kept in run/model-" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        {"steps": 7, "width": 9, "blocks": [5, 6]},
        {"model": {"width": 9, "blocks": [5, 6], "seen": 3}, "recipe": {"steps": 7}},
        {
            "model": {"width": 9, "blocks": [5, 6]},
            "phases": [{"recipe": {"steps": 2}}, {"recipe": {"steps": 7}}],
        },
    ],
    ids=["plain", "recipe", "phases"],
)
def test_a_recipe_from_a_file_and_flags_that_count_more(folder: Path, text: dict[str, Any]) -> None:
    Path("recipe.json").write_text(json.dumps(text))
    made = train("--recipe", "recipe.json", "--width", "2", "--lr", "0.2")
    assert (made["steps"], made["width"], made["blocks"], made["lr"]) == (7, 2, [5, 6], 0.2)
    assert made["seen"] == 0  # the data decide, not a file


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"step": 7}', "the training of toy has no option 'step'; did you mean 'steps'"),
        ("[1]", "is no recipe"),
        ("{", "is no recipe"),
        ('{"steps": "x"}', "recipe.json: steps must be a whole number from 1, not 'x'"),
        ('{"blocks": 3}', "blocks must be 2 values, each a whole number from 0 to 9, not 3"),
        ('{"blocks": [1, 2, 3]}', "blocks must be 2 values"),
        ('{"blocks": [1, "a"]}', "blocks must be 2 values"),
        ('{"width": null}', "width must be"),
        ('{"phases": []}', "is no recipe"),
        ('{"phases": [{"recipe": 7}]}', "is no recipe"),
    ],
)
def test_files_that_are_no_recipe(folder: Path, text: str, sentence: str) -> None:
    Path("recipe.json").write_text(text)
    with pytest.raises(TrainingError, match=sentence):
        read_recipe(Path("recipe.json"), "toy", ToyRecipe, ToySizes)
    with pytest.raises(TrainingError, match="is no recipe"):
        read_recipe(Path("gone.json"), "toy", ToyRecipe, ToySizes)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--steps", "0"], "--steps must be a whole number from 1, not 0"),
        (["--lr", "nan"], "--lr must be a number above 0, not nan"),
        (["--kind", "c"], "--kind must be one of a, b"),
        (["--width", "0"], "--width must be"),
        (["--blocks", "1", "10"], "--blocks must be 2 values"),
        (["--steps", "3", "--middle", "4"], "the middle cannot be behind the end"),
    ],
)
def test_what_flags_cannot_be(folder: Path, words: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        train(*words)
    assert not Path("run").exists()


def test_a_file_with_a_value_that_cannot_be(folder: Path) -> None:
    Path("recipe.json").write_text('{"steps": 0}')
    with pytest.raises(TrainingError, match="steps must be"):
        train("--recipe", "recipe.json")
    assert not Path("run").exists()


def test_data_are_looked_at_before_a_folder_is_made(folder: Path) -> None:
    Path("a.npy").unlink()
    with pytest.raises(InputError, match=r"no file a\.npy"):
        train()
    assert not Path("run").exists()


def test_export_knows_the_data_of_a_run(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("--mirror", "--steps", "3")
    app = App(result_action="return_value")
    app.default(export_command(TRAINED))
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")  # paths are kept whole
    assert app(["../run", "--out", "mine"]) == 0
    assert load_model_from(Path("mine")).config == load_model_from(Path("../run/model")).config
    capsys.readouterr()
    assert app(["../run/checkpoint.pt", "--out", "plain", "--no-mirror", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["summary"] == "a toy"
    assert not load_model_from(Path("plain")).config["mirror"]
    Path("../a.npy").rename("../b.npy")
    with pytest.raises(InputError, match="no file"):
        app(["../run", "--out", "x"])
    assert app(["../run", "--out", "x", "--data", "../b.npy"]) == 0
    Path("../run/inputs.json").unlink()
    with pytest.raises(InputError, match="give --data"):
        app(["../run", "--out", "y"])
    for damaged in ("{", '{"data": 5, "mirror": false}', '{"data": ["a"], "mirror": 1}', "[]"):
        Path("../run/inputs.json").write_text(damaged)
        with pytest.raises(InputError, match="does not say what the run learned from"):
            app(["../run", "--out", "y"])
    with pytest.raises(InputError, match="no checkpoint"):
        app([".", "--out", "y"])
    assert not Path("y").exists()


def test_what_is_fitted_in_one_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train("--steps", "3", trained=FITTED)["steps"] == 3
    with pytest.raises(OutputExistsError, match="--force"):
        train(trained=FITTED)
    assert train("--force", trained=FITTED)["steps"] == 10
    app = App(result_action="return_value")
    app.default(fit_command(FITTED))
    monkeypatch.setenv("OBVERSE_ZOO", str(folder / "zoo"))
    monkeypatch.setenv("XDG_DATA_HOME", str(folder / "home"))
    assert app(["--data", "a.npy"]) == 0
    assert [path.parent.name for path in folder.rglob("config.json")].count("a") == 1
    Path("vae.npy").write_bytes(b"")
    with pytest.raises(UsageError, match="give --out"):
        app(["--data", "vae.npy"])


def test_what_was_refused_before_a_run_began_is_not_what_it_learned_from(
    folder: Path,
) -> None:
    for flag in ("--mirror", "--no-mirror"):  # the second stands for a run that is stopped before its end
        with pytest.raises(InputError, match="no such model"):
            train(flag, trained=REFUSED)
    assert json.loads(Path("run/inputs.json").read_text())["mirror"] is False


def test_what_is_refused_leaves_a_run_as_it_was(folder: Path) -> None:
    train("--steps", "3")
    kept = Path("run/inputs.json").read_bytes()
    Path("b.npy").write_bytes(b"b")
    with pytest.raises(UsageError):
        train("--data", "b.npy", "--steps", "0")
    assert Path("run/inputs.json").read_bytes() == kept
    app = App(result_action="return_value")
    app.default(export_command(TRAINED))
    with pytest.raises(OutputExistsError, match="--force"):
        app(["run", "--out", "run/model"])
    assert app(["run", "--out", "run/model", "--force"]) == 0


# -- what is checked before anything is done ---------------------------------------------------------------


@pytest.mark.parametrize("given", ["1.5", "2.0000001", "-0.5"])
def test_whole_numbers_are_not_rounded(given, tmp_path, monkeypatch, capsys):
    """By any command: trainings, options of codecs, and flags that commands have of their own."""
    monkeypatch.chdir(tmp_path)
    for words, flag in (
        (["train", "wyner-ziv-trellis", "--data", "missing.npz", "--out", "m"], "--steps"),
        (["train", "wyner-ziv", "--data", "missing.npz", "--out", "m"], "--threads"),
        (["compress", "missing.png", "--codec", "image"], "--effort"),
    ):
        assert run([*words, flag, given]) == 2
        assert f"{flag} must be a whole number, not {given}" in capsys.readouterr().err
        assert run([*words, flag, "2.0"]) == 3  # which is one; then the file is missing
        assert "missing" in capsys.readouterr().err


@pytest.mark.parametrize("codec", ["wyner-ziv", "wyner-ziv-grid", "wyner-ziv-trellis", "features"])
def test_a_folder_that_cannot_be_written_is_said_before_anything_is_read(codec, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        words = ["train", codec, "--data", str(tmp_path / "missing.npz"), "--out", str(out)]
        if codec == "invariant":
            words += ["--labels", str(tmp_path / "missing.npy")]
        assert run(words) == 30
        assert "is no folder; write elsewhere" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_data_given_twice_count_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "b").mkdir()
    given = [Path("a"), tmp_path / "a", Path("b"), Path("a/below/.."), Path("link")]
    assert ToyInputs(data=given).data == [Path("a"), Path("b")]
    for name in ("a/1.png", "a/below/2.png", "b/3.png"):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in image_files([Path("a"), Path("a/below"), Path("b")])] == [
        "1.png",
        "2.png",
        "3.png",
    ]
