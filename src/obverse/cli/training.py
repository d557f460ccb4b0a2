"""`obverse train ID` and `obverse export ID`, made of what a method's `Training` declares.

Each field of the inputs, the recipe and the sizes is a flag. A module attribute "train ID" is the command of that
codec, made when it is asked for, so that the help of one does not load what the others are made of.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from cyclopts import Group, Parameter

from obverse.cli.console import UsageError, human, say, to_json
from obverse.cli.console import out as show
from obverse.cli.options import Device, Force, Json, set_threads
from obverse.container.files import make_folder
from obverse.errors import InputError, TrainingError
from obverse.fields import Fields, OptionField
from obverse.method import Method, Training
from obverse.registry import built_in_methods, find_method, shipped_models
from obverse.training.lock import only_run
from obverse.training.recipe import INPUTS, Inputs, Recipe, Sizes, read_recipe
from obverse.zoo import WEIGHTS, check_new_model, load_model_from, models_home

CHECKPOINT, MODEL = "checkpoint.pt", "model"  # in the folder of a run

Made = TypeVar("Made", bound=Fields)


@dataclass(frozen=True)
class Trained:
    """What a method declares of its training, imported. sizes: None where the recipe has them."""

    method: Method
    training: Training
    inputs: type[Inputs]
    recipe: type[Recipe]
    sizes: type[Sizes] | None

    @classmethod
    def of(cls, method: Method) -> Trained:
        """Its classes; its functions are imported when they are called."""
        training = cast(Training, method.training)
        sizes = None if training.sizes is None else method.resolve(training.sizes)
        return cls(method, training, method.resolve(training.inputs), method.resolve(training.recipe), sizes)

    @property
    def id(self) -> str:
        """Of the codec."""
        return self.method.id

    def call(self, reference: str | None, *given: Any) -> Any:
        """What one of the functions returns. Raises DeclarationError."""
        return self.method.resolve(cast(str, reference))(*given)

    @property
    def classes(self) -> list[type[Fields]]:
        """Of the recipe and of the sizes."""
        return [self.recipe] if self.sizes is None else [self.recipe, self.sizes]


def __getattr__(name: str) -> Callable[..., int]:
    verb, _, codec = name.partition(" ")
    if verb not in ("train", "export") or not codec:
        raise AttributeError(name)
    trained = Trained.of(find_method(codec))
    if verb == "export":
        return export_command(trained)
    return train_command(trained) if trained.training.fit is None else fit_command(trained)


def train_command(trained: Trained) -> Callable[..., int]:
    """`obverse train ID` for what trains in a folder of its own."""
    flags = _flags("RecipeFlags", [("Recipe", trained.recipe), ("Networks", trained.sizes)])
    inputs = _flags("InputFlags", [("Data", trained.inputs)], required=True)
    none = flags()

    def command(
        *,
        inputs: Any,
        out: Annotated[Path, Parameter(help="Folder for checkpoint, recipe, logs, and the model in it.")],
        recipe: Annotated[
            Path | None,
            Parameter(help="Take the recipe from this file: recipe.json of a run. Flags count more."),
        ] = None,
        flags: Any = none,
        device: Device = "auto",
        threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
        json: Json = False,
    ) -> int:
        found = _inputs(trained, _given(inputs))
        values, sizes = _recipe(trained, recipe, _given(flags))
        set_threads(threads)
        found.check()
        make_folder(out)
        with only_run(out):
            goes_on = (out / CHECKPOINT).exists() and (out / INPUTS).exists()
            if not goes_on:  # else those that it has stay until it has gone on
                found.store(out)
            trained.call(trained.training.run, found, out, values, sizes, device)
            found.store(out)
            facts = _exported(trained, found, out)
        more = f", {facts['summary']}" if facts.get("summary") else ""
        if json:
            show(to_json(facts))
        else:
            say(f"trained: {out / MODEL}, model {facts['fingerprint']}{more}")
        return 0

    return _described(command, trained, inputs, flags)


def fit_command(trained: Trained) -> Callable[..., int]:
    """`obverse train ID` for what makes a model in one go."""
    flags = _flags("RecipeFlags", [("Recipe", trained.recipe)])
    inputs = _flags("InputFlags", [("Data", trained.inputs)], required=True)
    none = flags()

    def command(
        *,
        inputs: Any,
        out: Annotated[
            Path | None,
            Parameter(help="Folder for the model; by default among yours, under the name of the data."),
        ] = None,
        recipe: Annotated[
            Path | None,
            Parameter(
                help="Take the recipe from this file, a JSON object of fields and values. Flags count more."
            ),
        ] = None,
        flags: Any = none,
        threads: Annotated[int | None, Parameter(help="CPU threads; all by default.")] = None,
        force: Force = False,
        json: Json = False,
    ) -> int:
        found = _inputs(trained, _given(inputs))
        values, _ = _recipe(trained, recipe, _given(flags))
        set_threads(threads)
        folder = _folder_of(found, out)
        check_new_model(folder, force)
        found.check()
        facts = {"model": str(folder)} | trained.call(trained.training.fit, found, folder, values)
        more = f", {facts['summary']}" if facts.get("summary") else ""
        show(to_json(facts) if json else f"{folder}: model {facts['fingerprint']}{more}")
        return 0

    return _described(command, trained, inputs, flags)


def _exported(trained: Trained, inputs: Inputs, out: Path) -> dict[str, Any]:
    """The model of a run in `out`/model. One of an earlier end of the run, whose files name it, is kept beside."""
    model = out / MODEL
    if not (model / WEIGHTS).exists():
        return cast("dict[str, Any]", trained.call(trained.training.export, inputs, out / CHECKPOINT, model))
    before = load_model_from(model).fingerprint.hex()
    kept = out / f"{MODEL}-{before}"
    shutil.copytree(model, kept, dirs_exist_ok=True)
    facts = trained.call(trained.training.export, inputs, out / CHECKPOINT, model)
    if facts["fingerprint"] == before:
        shutil.rmtree(kept)
    else:
        say(f"the model of before is kept in {kept}: files that it wrote are read with it")
    return cast("dict[str, Any]", facts)


def _described(command: Any, trained: Trained, inputs: Any, flags: Any) -> Callable[..., int]:
    command.__annotations__ |= {
        "inputs": Annotated[inputs, Parameter(name="*")],
        "flags": Annotated[flags, Parameter(name="*")],
    }
    command.__name__ = f"train {trained.id}"
    return cast("Callable[..., int]", command)


def _folder_of(inputs: Inputs, out: Path | None) -> Path:
    """Where a model goes. Raises UsageError for a name by which it would never be found."""
    if out is not None:
        return out
    name = inputs.model_name
    if not name.strip(".") or name in shipped_models() or name in built_in_methods():
        raise UsageError(f"a model called {name!r} would not be found by its name: give --out")
    return models_home() / name


def export_command(trained: Trained) -> Callable[..., int]:
    """`obverse export ID`."""
    inputs = _flags("InputFlags", [("Data, where it is no longer where the run found it", trained.inputs)])
    none = inputs()

    def command(
        run: Annotated[Path, Parameter(help="The folder of a training run, or the checkpoint in it.")],
        /,
        *,
        out: Annotated[Path, Parameter(help="Folder for the model: weights, config, card.")],
        inputs: Any = none,
        force: Force = False,
        json: Json = False,
    ) -> int:
        check_new_model(out, force)
        checkpoint = run / CHECKPOINT if run.is_dir() else run
        if not checkpoint.is_file():
            raise InputError(f"there is no checkpoint {checkpoint}: give the folder of a run")
        given = _given(inputs)
        _check(trained.inputs, given)
        found = trained.inputs.of_run(checkpoint.parent, given)
        found.check()
        facts = trained.call(trained.training.export, found, checkpoint, out)
        weights = max(out.glob("model.safetensors*"), key=lambda path: path.stat().st_mtime)
        facts.setdefault("bytes", weights.stat().st_size)
        line = f"{out}: model {facts['fingerprint']}, {human(int(facts['bytes']))}"
        show(to_json(facts) if json else line)
        return 0

    command.__annotations__ |= {"inputs": Annotated[inputs, Parameter(name="*")]}
    command.__name__ = f"export {trained.id}"
    return command


def _flags(name: str, groups: Sequence[tuple[str, type[Fields] | None]], required: bool = False) -> Any:
    """A dataclass with a field for each flag, None where it was not given. required: whether those that must be
    given have no default."""
    found: dict[str, tuple[str, Any, Any]] = {}
    for order, (title, kind) in enumerate(groups):
        for about in kind.described() if kind is not None else ():
            if about.about.flag and about.name not in found:
                needed = required and about.required
                entry = field() if needed else field(default=None)
                parameter = _parameter(about, Group(title, sort_key=order + 1), needed)
                found[about.name] = (about.name, parameter, entry)
    fields = sorted(found.values(), key=lambda entry: entry[2].default is not MISSING)
    made = make_dataclass(name, fields)
    made.__module__ = __name__  # "types" otherwise, and cyclopts looks into no class of the standard library
    return made


def _parameter(about: OptionField, group: Group, needed: bool) -> Any:
    """The annotated type of a flag."""
    default = about.default
    shown = "" if about.required or default is None or default == () else f" [default: {_shown(default)}]"
    kind: Any = str if about.about.parse else about.hint
    name = ["--" + about.name.replace("_", "-")]
    more = [about.about.short] if about.about.short else []
    negative = name[0].replace("--", "--no-", 1) if about.kind is bool else ""
    parameter = Parameter(
        name=name + more, help=about.about.help + shown, group=group, negative=negative, show_default=False
    )
    return Annotated[kind if needed else kind | None, parameter]


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _given(flags: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(flags).items() if value is not None}


def _inputs(trained: Trained, given: dict[str, Any]) -> Inputs:
    _check(trained.inputs, given)
    return _made(trained.inputs, given)


def _made(kind: type[Made], given: dict[str, Any]) -> Made:
    """Of what was given. Raises UsageError for values that do not go together."""
    try:
        return kind(**given)
    except (InputError, TrainingError) as error:
        raise UsageError(str(error)) from None


def _recipe(trained: Trained, path: Path | None, given: dict[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """The recipe, and the sizes that were given, from file and flags."""
    parts: list[dict[str, Any]] = [{} for _ in trained.classes]
    if path is not None:
        parts = read_recipe(path, trained.id, *trained.classes)
    for kind, values in zip(trained.classes, parts, strict=True):
        names = {about.name for about in kind.described()}
        own = {name: given.pop(name) for name in [*given] if name in names}
        _check(kind, own)
        values |= own
    return _made(trained.recipe, parts[0]), parts[1] if len(parts) > 1 else {}


def _check(kind: type[Fields], given: dict[str, Any]) -> None:
    """Raises UsageError for what a flag cannot be; texts that need it are parsed here."""
    for about in kind.described():
        if about.name not in given:
            continue
        flag = "--" + about.name.replace("_", "-")
        try:
            if about.about.parse:
                given[about.name] = about.about.parse(given[about.name])
            about.check(given[about.name])
        except InputError as error:
            raise UsageError(f"{flag}{str(error).removeprefix(about.name)}") from None
