"""Options said once: a dataclass whose fields know their help and range. Flags, checks, errors and docs come from it.

Options of codecs are such dataclasses, and so are the recipes of trainings, the sizes of networks and what runs learn
from (`obverse.training.recipe`).

class FlowOptions(Options):
    segment: int = option(250, "Images of a message.", low=1, high=1000)

FlowOptions(segment=0)                     OptionError: segment must be a whole number from 1 to 1000, not 0
FlowOptions.of("flow", {"segmnt": 5})      OptionError: the codec 'flow' has no option 'segmnt'; did you mean 'segment'?
obverse compress --codec flow --segment 5  the same field, as a flag
"""

from __future__ import annotations

import difflib
import numbers
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Self

from obverse.container.limits import Limits
from obverse.errors import ObverseError, OptionError

MOST = 2**63  # whole numbers below this are those that libraries take


@dataclass(frozen=True)
class About:
    """What a field says of itself; the arguments of `option`.

    Attributes:
        help: one sentence, as `--help` shows it.
        low: the smallest value.
        high: the largest value.
        above: a lower bound that is excluded.
        below: an upper bound that is excluded.
        choices: the values of a text.
        short: a short flag, "-q".
        parse: what makes a value of the text of a flag, where that is more than its type says.
        flag: whether the command line has it.
        compared: values at which codecs are compared.
    """

    help: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] | None = None
    short: str | None = None
    parse: Callable[[str], Any] | None = None
    flag: bool = True
    compared: tuple[float, ...] = ()


def option(default: Any, help: str, **about: Any) -> Any:
    """A field of an options class.

    Args:
        default: `dataclasses.MISSING` for what must be given.
        help: one sentence, as `--help` shows it.
        **about: what else `About` has.
    """
    return field(default=default, metadata={"about": About(help, **about)})


@dataclass(frozen=True)
class OptionField:
    """A field as readers of the declaration see it.

    Attributes:
        kind: int, float, str, bool or Path, or None for what is not checked.
        several: whether it is a tuple or a list of these.
        count: of a tuple of so many.
        form: a class that values are of, where that is all that is checked: Limits, a mapping, a function.
    """

    name: str
    kind: type | None
    default: Any
    about: About
    hint: Any = None
    several: bool = False
    count: int | None = None
    form: type | None = None

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is MISSING

    def check(self, value: Any, error: type[ObverseError] = OptionError) -> None:
        """Check a value of the field.

        Args:
            value: what was given.
            error: what is raised.

        Raises:
            OptionError: or the error given, for a value of another kind, or out of range.
        """
        if (self.kind is self.form is None) or (value is None and self.default is None):
            return
        if not self._fits(value):
            raise error(f"{self.name} must be {self.expected}, not {value!r}")

    def _fits(self, value: Any) -> bool:
        if self.form is not None:
            return isinstance(value, self.form)
        if not self.several:
            return self._fits_one(value)
        fits = isinstance(value, list | tuple) and self.count in (None, len(value))
        return fits and all(self._fits_one(one) for one in value)

    def _fits_one(self, value: Any) -> bool:
        about = self.about
        if self.kind is Path:
            return isinstance(value, str | Path)
        if self.kind is bool or self.kind is str:
            return isinstance(value, self.kind) and (about.choices is None or value in about.choices)
        number = numbers.Integral if self.kind is int else numbers.Real
        if isinstance(value, bool) or not isinstance(value, number):
            return False
        size = (
            int(value) if isinstance(value, numbers.Integral) else float(value)
        )  # whole numbers compare exactly
        if self.kind is int and abs(size) >= MOST:
            return False
        return (
            abs(size) <= sys.float_info.max  # whole numbers above it are no floats
            and (about.low is None or size >= about.low)
            and (about.high is None or size <= about.high)
            and (about.above is None or size > about.above)
            and (about.below is None or size < about.below)
        )

    def of_text(self, text: str) -> Any:
        """The value that a text stands for.

        Raises:
            OptionError: where it stands for none of this kind; whether it is in range is for `check`.
        """
        if self.about.parse is not None:
            return self.about.parse(text)
        if self.kind is bool and text in ("true", "false"):
            return text == "true"
        try:
            if self.kind in (int, float, str, Path):
                return self.kind(text)
        except ValueError:
            pass
        raise OptionError(f"{self.name} must be {self.expected}, not {text!r}")

    @property
    def expected(self) -> str:
        """What a value must be, in words."""
        about = self.about
        if self.form is not None:
            return {Callable: "a function", Mapping: "values under names"}.get(
                self.form, f"a {self.form.__name__}"
            )
        if self.several:
            one = replace(self, several=False).expected
            return f"{self.count or 'a list'}{' of' * (self.count is None)} values, each {one}"
        if about.choices is not None:
            return "one of " + ", ".join(about.choices)
        if self.kind is bool:
            return "True or False"
        if self.kind is str or self.kind is Path:
            return "a path" if self.kind is Path else "a text"
        number = f"a {'whole ' if self.kind is int else ''}number"
        if about.low is not None and about.high is not None:
            return f"{number} from {about.low} to {about.high}"
        parts = {"from": about.low, "above": about.above, "at most": about.high, "below": about.below}
        limits = " and ".join(f"{word} {value}" for word, value in parts.items() if value is not None)
        return f"{number} {limits}".strip()


class Fields:
    """Base of dataclasses all of whose fields are made by `option`: values are checked when one is made."""

    error: ClassVar[type[ObverseError]] = OptionError  # what a wrong value raises
    one_of: ClassVar[tuple[str, ...]] = ()  # of these at most one may be given

    def __post_init__(self) -> None:
        for about in self.described():
            about.check(getattr(self, about.name), self.error)
        given = [name for name in self.one_of if getattr(self, name) is not None]
        if len(given) > 1:
            raise self.error(
                f"give one of {', '.join(self.one_of[:-1])} and {self.one_of[-1]}, not {len(given)}"
            )

    @classmethod
    def checked(cls, what: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """The values, if all of them are fields.

        Args:
            what: whose they are, for errors.
            given: values by name.

        Raises:
            ObverseError: the class's error, for a name that is not known.
        """
        check_names(given, [about.name for about in cls.described()], what, cls.error)
        return dict(given)

    @classmethod
    def described(cls) -> tuple[OptionField, ...]:
        """Its fields, in order."""
        return _described(cls)  # type: ignore[arg-type]  # mypy takes the hash of instances for that of the class


@dataclass(frozen=True, kw_only=True)
class Options(Fields):
    """What every codec takes.

    Attributes:
        metadata: plain values under names, kept in the file.
    """

    metadata: Mapping[str, Any] | None = option(None, "KEY=TEXT to store in the file.", flag=False)

    @property
    def kept(self) -> dict[str, Any]:
        """The metadata as a container takes them."""
        return dict(self.metadata or {})

    @classmethod
    def of(cls, codec: str, given: Mapping[str, Any]) -> Self:
        """The options of these names and values.

        Args:
            codec: id, for errors.
            given: values by name.

        Raises:
            OptionError: for an option that there is not, or a value that it cannot have.
        """
        return cls(**cls.checked(f"the codec {codec!r}", given))


@dataclass(frozen=True, kw_only=True)
class LimitedOptions(Options):
    """For codecs that check the size of what they are given.

    Attributes:
        limits: what may be coded; `Limits.unlimited()` for data that you trust.
    """

    limits: Limits | None = option(None, "What may be coded.", flag=False)


def check_names(
    given: Iterable[str], known: Collection[str], what: str, error: type[ObverseError] = OptionError
) -> None:
    """Check that all names are known.

    Args:
        given: the names.
        known: those that there are.
        what: whose options they are.
        error: what is raised.

    Raises:
        OptionError: or the error given, for a name that is not known, with what may have been meant.
    """
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known)}"
            raise error(f"{what} has no option {name!r}; {hint}")


@cache
def _described(options: type[Fields]) -> tuple[OptionField, ...]:
    return tuple(_fields(options))


def _fields(options: type[Fields]) -> Iterator[OptionField]:
    hints = typing.get_type_hints(options)
    for entry in fields(options):  # type: ignore[arg-type]  # the subclasses are dataclasses
        kinds = [kind for kind in _members(hints[entry.name]) if kind is not types.NoneType]
        about, hint = entry.metadata["about"], hints[entry.name]
        one = kinds[0] if len(kinds) == 1 else None
        several, count = typing.get_origin(one) in (tuple, list), None
        if several:
            elements = typing.get_args(one)
            open_ended = typing.get_origin(one) is list or elements[-1] is Ellipsis
            one, count = elements[0], None if open_ended else len(elements)
        kind = one if one in (int, float, str, bool, Path) else None
        form = None if kind or several else typing.get_origin(one) or one
        form = form if isinstance(form, type) and form is not Any else None
        several = several and kind is not None
        yield OptionField(entry.name, kind, entry.default, about, hint, several, count, form)


def _members(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def parse_bytes(text: str) -> int:
    """'40k', '1.5M', '40000' -> bytes (k = 1,000, Ki = 1,024).

    Raises:
        OptionError: for what is not a number of bytes of at least 1.
    """
    units = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
    body = text.strip().lower().removesuffix("b")
    number = body.rstrip("kmgi")
    try:
        value = float(number) * units[body[len(number) :]]
    except (ValueError, KeyError):
        raise OptionError(f"{text!r} is not a number of bytes such as 40000, 40k or 1.5M") from None
    if not 1 <= value < 2**62:
        raise OptionError(f"{text!r} is not a number of bytes of at least 1")
    return int(value)
