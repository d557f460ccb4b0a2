"""What a method declares: all that the rest of Obverse knows of it before it is used.

    codecs/flow/__init__.py     METHOD = Method(id="flow", package=__name__, codec="codec:FlowCodec", ...)
           ▲                                                       │
           └── the registry scans for these                        └── imported when the codec is opened

A package that declares is light to import: it names its classes and functions, in the form "module:name" with the
module's place under the package (":name" is in the package itself), and they are imported when they are needed.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from obverse.container.header import CODEC_ID
from obverse.data.kinds import KINDS, Kind
from obverse.errors import DeclarationError
from obverse.fields import Options


@dataclass(frozen=True)
class Command:
    """A command that a method adds to `obverse`.

    Attributes:
        name: on the command line.
        run: "module:function", whose docstring is the help, or "module:app".
    """

    name: str
    run: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """How models of a codec are trained: `obverse train ID` and `obverse export ID` are made of it.

    Either `run` trains in a folder, and `export` makes the model of it, at the end of a run or of what it has come to;
    or `fit` makes the model in minutes, and there is no `obverse export ID`.

    Attributes:
        inputs: "module:Class", an `obverse.training.recipe.Inputs`: what a run learns from.
        recipe: "module:Class", an `obverse.training.recipe.Recipe`: every number that decides the result.
        run: "module:function", (inputs, out, recipe, sizes, device) -> None: trains in the folder `out`, going on from
            its checkpoint. sizes are those that were given, by name.
        export: "module:function", (inputs, checkpoint, out) -> facts: makes the model of a run in the folder `out`;
            "fingerprint" is among the facts, and "summary", if there is more to say when the training ends.
        fit: "module:function", (inputs, out, recipe) -> facts, the same: makes the model in the folder `out`.
        sizes: "module:Class", an `obverse.training.recipe.Sizes` of the networks; None where the recipe has them.
        help: a sentence or two, on what the data must be.
        examples: lines for the help.
    """

    inputs: str
    recipe: str
    run: str | None = None
    export: str | None = None
    fit: str | None = None
    sizes: str | None = None
    help: str = ""
    examples: tuple[str, ...] = ()

    @property
    def references(self) -> tuple[str, ...]:
        """All that it names."""
        named = (self.inputs, self.recipe, self.sizes, self.run, self.export, self.fit)
        return tuple(reference for reference in named if reference is not None)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One codec of one method of compression, declared.

    Attributes:
        id: the name in the file header and on the command line, 1 to 64 of a-z, 0-9 and -; it stays as it is for good.
        package: of the declaration, `__name__`.
        summary: one line for `obverse list`.
        data: the kind of data, a key of `obverse.data.kinds.KINDS`, or "module:KIND" for one of the package's own.
        codec: "module:Class".
        paper: who described the method; "" for one of our own.
        suffix: what a decoded file is called when nobody says ('.png').
        lossless: whether the data come back as they were.
        side_info: whether decoding needs side information; a codec that has no use for it refuses it.
        base: whether files may be coded against data that the receiver has too, which decoding then needs: they are
            given as side information.
        default: whether it is the codec for its kind of data where nobody names one.
        files: suffixes of files that `obverse compress` codes with it where nobody names a codec (".safetensors").
        models: names of the shipped models; the first codes where none is named. None for a codec that needs none.
        builds_on: ids of the codecs whose code or model this one imports.
        also_writes: ids of those among them whose files it writes where they suit the data better, and decodes.
        options: "module:Class", a dataclass of `obverse.fields`; None for a codec without options.
        facts: "module:function", header -> what `obverse info` says of a file; None for nothing but the header.
        parts: "module:function", (ItemReader, limits) -> a row for each part of a file, which `obverse info` shows;
            None for files that are one thing.
        training: how its models are trained; None for what is not trained.
        commands: further commands.
    """

    id: str
    package: str
    summary: str
    data: str
    codec: str
    paper: str = ""
    suffix: str = ".npy"
    lossless: bool = False
    side_info: bool = False
    base: bool = False
    default: bool = False
    files: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    builds_on: tuple[str, ...] = ()
    also_writes: tuple[str, ...] = ()
    options: str | None = None
    facts: str | None = None
    parts: str | None = None
    training: Training | None = None
    commands: tuple[Command, ...] = ()

    def __post_init__(self) -> None:
        if CODEC_ID.fullmatch(self.id) is None:
            raise DeclarationError(
                f"{self.package} declares {self.id!r}, which is no id: ids have 1 to 64 of a-z, 0-9 and -"
            )

    def resolve(self, reference: str) -> Any:
        """What "module:name" names, imported.

        Raises:
            DeclarationError: where it is not there.
        """
        module, _, name = self.where(reference).partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise DeclarationError(
                f"the codec {self.id!r} of {self.package} declares {reference!r}, which cannot be loaded: {error}"
            ) from error

    @property
    def module(self) -> str:
        """Where its codec is, which is imported when it is opened."""
        return self.where(self.codec).partition(":")[0]

    @property
    def kind(self) -> Kind:
        """How files of its data are read and written.

        Raises:
            DeclarationError: where there is no such kind of data.
        """
        kind = KINDS.get(self.data) or (self.resolve(self.data) if ":" in self.data else None)
        if not isinstance(kind, Kind):
            raise DeclarationError(
                f"the codec {self.id!r} of {self.package} declares the kind of data {self.data!r}, which there is not: "
                f"there are {', '.join(KINDS)}"
            )
        return kind

    @property
    def options_class(self) -> type[Options]:
        """The class of its options.

        Raises:
            DeclarationError: where it is not there.
        """
        return self.resolve(self.options) if self.options is not None else Options

    def where(self, reference: str) -> str:
        """The reference with the whole name of its module."""
        module, _, name = reference.partition(":")
        return f"{self.package}.{module}:{name}" if module else f"{self.package}:{name}"
