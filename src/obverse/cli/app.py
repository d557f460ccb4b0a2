"""The commands, by the place where each is: imported when it is asked for, so that one does not wait for another.

A command is a function; what its help says is its docstring. Methods add those that they declare, `obverse train ID`
and others. torch is imported by the commands that need it, when they run.
"""

from __future__ import annotations

from contextlib import suppress
from typing import get_args

from cyclopts import UNSET, App, ArgumentCollection

import obverse
from obverse.cli.console import UsageError
from obverse.cli.options import MAY_BE_EMPTY
from obverse.cli.training_help import export_help, train_help
from obverse.errors import exit_codes
from obverse.registry import list_methods

HELP = """Learned data compression as real codecs: smaller files, decoded exactly anywhere.

For example:

- `obverse compress photo.png` writes photo.obv
- `obverse decompress photo.obv` writes photo.png
- `obverse info photo.obv` shows what it holds

`obverse COMMAND --help` shows more.

"""


def whole_numbers(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses 1.5 where a whole number belongs, which would be rounded else. Raises UsageError."""
    for argument in arguments:
        kinds = {argument.hint, *get_args(argument.hint)}
        if int not in kinds or float in kinds:
            continue
        for token in argument.tokens:
            with suppress(ValueError):
                if not float(token.value).is_integer():
                    raise UsageError(f"{argument.name} must be a whole number, not {token.value}")


def no_empty_texts(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Refuses "" for a name, a file or a folder: it would mean what is used where none is given, or the current folder,
    and is most often a variable of a script that is not set. Raises UsageError."""
    for argument in arguments:
        if MAY_BE_EMPTY in getattr(argument.field_info.annotation, "__metadata__", ()):
            continue
        for token in argument.tokens:
            if token.value == "" and token.implicit_value is UNSET:
                raise UsageError(f"{token.keyword or argument.name} is empty: give a value, or leave it out")


app = App(
    name="obverse",
    config=[whole_numbers, no_empty_texts],
    help=HELP + exit_codes(),
    version=obverse.__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,  # `run` has its own sentence and exit code for it
)
train_app = App(name="train", help="Train a codec's model from data of your own.")
export_app = App(name="export", help="Turn a training run into a model that codes.")
app.command(train_app)
app.command(export_app)
for _name, _run in {
    "compress": "compress:compress",
    "decompress": "decompress:decompress",
    "info": "info:info",
    "list": "list:list_",
    "evaluate": "evaluate:evaluate",
    "limits": "limits:limits",
}.items():
    app.command(f"obverse.cli.{_run}", name=_name)
for _method in list_methods():
    if _method.training is not None:
        _help = train_help(_method, _method.training)
        train_app.command(f"obverse.cli.training:train {_method.id}", name=_method.id, help=_help)
        if _method.training.export is not None:
            _help = export_help(_method)
            export_app.command(f"obverse.cli.training:export {_method.id}", name=_method.id, help=_help)
    for _command in _method.commands:
        app.command(_method.where(_command.run), name=_command.name)


def load_commands() -> None:
    """Import the commands, so that their list can show the first line of each; those of trainings are known already."""
    for name in app:
        app[name]
