"""What decides the result of a training run, said once: its data, its recipe, the sizes of its networks.

    class FlowInputs(Inputs):   data: Path = option(MISSING, "32x32 colour images: ...")        --data
    class FlowRecipe(Recipe):   lr: float = option(3e-3, "Learning rate of Adam.", above=0)     --lr
    class FlowConfig(Sizes):    width: int = option(64, "Channels of the prior's features.")    --width

`obverse train ID` has a flag for each field, and `--recipe FILE` takes them from a JSON file: that of another run, or
one with fields and values. What is given by a flag counts more, and what is given nowhere is the field's default.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from obverse.container import write_atomically
from obverse.errors import InputError, TrainingError
from obverse.fields import Fields, check_names

RECIPE, INPUTS = "recipe.json", "inputs.json"


def each_once(paths: Iterable[Path | str]) -> list[Path]:
    """The paths in their order, those that lead to the same place once."""
    found: dict[Path, Path] = {}
    for path in paths:
        found.setdefault(Path(path).resolve(), Path(path))
    return [*found.values()]


class Recipe(Fields):
    """Base of recipes.

    Raises:
        TrainingError: for a value that cannot be.
    """

    error: ClassVar[type[TrainingError]] = TrainingError


class Sizes(Fields):
    """Base of the sizes of networks, which a model's configuration holds too.

    Fields that the data decide have `flag=False`.

    Raises:
        InputError: for a value that cannot be.
    """

    error: ClassVar[type[InputError]] = InputError


@dataclass(frozen=True, kw_only=True)
class Inputs(Recipe):
    """Base of what runs learn from: paths, and how they are read. A run keeps them in `inputs.json`.

    A path that a list holds twice counts once.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for about in self.described():
            paths = getattr(self, about.name)
            if about.kind is Path and isinstance(paths, list):
                object.__setattr__(self, about.name, each_once(paths))

    def check(self) -> None:
        """Check that all is there, before torch is imported and a folder is made.

        Raises:
            InputError: for what is not there.
        """

    @property
    def model_name(self) -> str:
        """What a model of these data is called where no folder is given: that of the first data."""
        data = vars(self)["data"]
        return Path(data[0] if isinstance(data, list) else data).resolve().stem

    def store(self, run: Path) -> None:
        """Write them into the folder of the run, paths as whole ones."""
        values = {about.name: _plain(getattr(self, about.name)) for about in self.described()}
        write_atomically(run / INPUTS, json.dumps(values, indent=2).encode(), overwrite=True)

    @classmethod
    def of_run(cls, run: Path, given: Mapping[str, Any]) -> Self:
        """Those of a run, but for what is given here.

        Raises:
            InputError: where neither says what is needed.
        """
        try:
            values = json.loads((run / INPUTS).read_text())
            stored = {field.name: _typed(field.hint, values[field.name]) for field in cls.described()}
            for field in cls.described():
                field.check(stored[field.name], InputError)
        except FileNotFoundError:
            stored = {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError, InputError) as error:
            raise InputError(f"{run / INPUTS} does not say what the run learned from: {error}") from error
        values = stored | dict(given)
        for field in cls.described():
            if field.required and field.name not in values:
                raise InputError(
                    f"{run} does not say what it learned from: give --{field.name.replace('_', '-')}"
                )
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _typed(hint: Any, value: Any) -> Any:
    """Of a JSON value what the field had: paths again, and tuples."""
    if isinstance(value, list):
        typed = [Path(one) if "Path" in str(hint) else one for one in value]
        return tuple(typed) if "tuple" in str(hint) else typed
    return Path(value) if isinstance(value, str) and "Path" in str(hint) else value


def read_recipe(path: Path, what: str, *classes: type[Fields]) -> list[dict[str, Any]]:
    """The values of a recipe file for each of the classes.

    Args:
        path: recipe.json of a run (its last phase counts), or a JSON object of fields and values.
        what: whose recipe it is, for errors.
        classes: a recipe, and sizes; a field of a plain file goes to the first class that has it.

    Raises:
        TrainingError: it cannot be read, or holds a field that none of the classes has.
    """
    try:
        text = json.loads(path.read_text())
        if "phases" in text:
            text = dict(text.get("model", {})) | dict(text["phases"][-1]["recipe"])
        elif isinstance(text.get("recipe"), dict):
            text = dict(text.get("model", {})) | text["recipe"]
        if not isinstance(text, dict):
            raise ValueError("no fields and values")
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise TrainingError(
            f"{path} is no recipe ({error}): give recipe.json of a run, or a JSON object of fields and values"
        ) from error
    known = {field.name: field for kind in reversed(classes) for field in kind.described()}
    check_names(text, known, f"{path}: the training of {what}", TrainingError)
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    for kind in classes:
        values = {
            field.name: _typed(field.hint, text[field.name])
            for field in kind.described()
            if field.name in text and field.name not in taken and field.about.flag
        }
        taken |= {field.name for field in kind.described()}
        for field in kind.described():
            if field.name in values:
                try:
                    field.check(values[field.name], TrainingError)
                except TrainingError as error:
                    raise TrainingError(f"{path}: {error}") from None
        found.append(values)
    return found
