"""The flags of `obverse compress` that codecs declare: all their options, each once, told by codec in the help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Group, Parameter

from obverse.cli.console import UsageError
from obverse.errors import DeclarationError, OptionError
from obverse.fields import OptionField, Options
from obverse.method import Method
from obverse.registry import list_methods


def _declared() -> Iterator[tuple[Method, type[Options]]]:
    for method in list_methods():
        try:
            yield method, method.options_class
        except DeclarationError:
            continue  # told when the codec is opened


def _flags() -> dict[str, list[tuple[str, OptionField, type[Options]]]]:
    """Name of an option -> the codecs that have it, each with its field."""
    found: dict[str, list[tuple[str, OptionField, type[Options]]]] = {}
    for method, options in _declared():
        for option in options.described():
            if option.about.flag:
                found.setdefault(option.name, []).append((method.id, option, options))
    return found


def _parameter(uses: list[tuple[str, OptionField, type[Options]]]) -> Any:
    """The annotated type of a flag."""
    first = uses[0][1]
    helps: dict[str, list[str]] = {}
    for codec, option, _ in uses:
        helps.setdefault(option.about.help, []).append(codec)
    told = [text if len(helps) == 1 else f"{', '.join(codecs)}: {text}" for text, codecs in helps.items()]
    one_of = "one of" if first.name in uses[0][2].one_of else ""
    codecs = ", ".join(dict.fromkeys(codec for codec, _, _ in uses))
    name = "--" + first.name.replace("_", "-")
    kind: Any = str if first.about.parse else first.kind
    return Annotated[
        kind | None,
        Parameter(
            name=[name, first.about.short] if first.about.short else [name],
            help=" ".join(told),
            group=Group(f"Codec {codecs}" + (f" ({one_of})" if one_of else ""), sort_key=1 if one_of else 2),
            negative="",
        ),
    ]


if TYPE_CHECKING:

    class CodecFlags:
        """A field for each option of a codec, None where it was not given."""

else:
    CodecFlags = make_dataclass(
        "CodecFlags", [(name, _parameter(uses), field(default=None)) for name, uses in _flags().items()]
    )
    # "types" otherwise, and cyclopts looks into no class of the standard library
    CodecFlags.__module__ = __name__
NO_FLAGS = CodecFlags()


def given_options(flags: Any, method: Method) -> dict[str, Any]:
    """The options that were given, as values. Raises UsageError for those that the codec does not have."""
    has = {option.name: option for option in method.options_class.described()}
    options: dict[str, Any] = {}
    for name, value in vars(flags).items():
        if value is None:
            continue
        if name not in has:
            others = dict.fromkeys(codec for codec, _, _ in _flags()[name])
            raise UsageError(
                f"codec {method.id!r} has no use for --{name.replace('_', '-')}, which is of {', '.join(others)}: "
                "leave it out, or choose one of these (--codec)"
            )
        parse = has[name].about.parse
        try:
            options[name] = parse(value) if parse else value
        except OptionError as error:
            raise UsageError(f"--{name.replace('_', '-')}: {error}") from None
    return options
