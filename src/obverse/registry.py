"""Finds what is declared: the methods of `obverse.codecs`, and those of installed packages. There are no lists.

A third party declares a codec as the built-in ones do, and names the declaration by an entry point of its own package
(docs/how-to/add-a-codec.md):

    [project.entry-points."obverse.codecs"]
    my-codec = "my_package:METHOD"
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from obverse.codec import Codec, SideInformed
from obverse.container.header import CODEC_ID
from obverse.errors import CodecNameError, DeclarationError, ModelError
from obverse.method import Method

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from obverse.zoo import StoredModel

GROUP = "obverse.codecs"


@dataclass(frozen=True)
class CodecEntry:
    """A codec that can be opened: its id, what it is for, and the package that brings it."""

    id: str
    summary: str
    package: str


@cache
def built_in_methods() -> dict[str, Method]:
    """The declarations of `obverse.codecs` by id, in the order of ids.

    Raises:
        DeclarationError: for a folder that declares nothing, and for two declarations of one id.
    """
    import obverse.codecs

    found: dict[str, Method] = {}
    for module in pkgutil.iter_modules(obverse.codecs.__path__, "obverse.codecs."):
        if not module.ispkg:
            continue
        package = importlib.import_module(module.name)
        declared = [value for value in vars(package).values() if isinstance(value, Method)]
        if not declared:
            raise DeclarationError(f"{module.name} declares no Method")
        for method in declared:
            if method.id in found:
                raise DeclarationError(
                    f"{found[method.id].package} and {method.package} both declare {method.id!r}"
                )
            found[method.id] = method
    return dict(sorted(found.items()))


def list_codecs() -> list[CodecEntry]:
    """All codecs that can be opened here, by id; built-in ones cannot be replaced."""
    entries = [CodecEntry(method.id, method.summary, "obverse") for method in built_in_methods().values()]
    for entry in _third_party():
        entries.append(CodecEntry(entry.name, _summary(entry), _package(entry)))
    return sorted(entries, key=lambda entry: (entry.id, entry.package))


def list_methods() -> list[Method]:
    """All declarations that can be loaded, by id; `list_codecs` names those that cannot be as well."""
    found = dict(built_in_methods())
    for entry in _third_party():
        try:
            found.setdefault(entry.name, find_method(entry.name))
        except DeclarationError:
            continue  # told when it is asked for
    return sorted(found.values(), key=lambda method: method.id)


def find_method(codec_id: str) -> Method:
    """The declaration of the codec of this id.

    Raises:
        CodecNameError: where there is none; it lists the codecs that there are.
        DeclarationError: for a package that is not right.
    """
    if codec_id in built_in_methods():
        return built_in_methods()[codec_id]
    if CODEC_ID.fullmatch(codec_id) is None:
        raise CodecNameError(f"{codec_id[:80]!r} is no codec id: ids have 1 to 64 of a-z, 0-9 and -")
    found = [entry for entry in _third_party() if entry.name == codec_id]
    if not found:
        from obverse.zoo import own_models

        ids = list(dict.fromkeys(entry.id for entry in list_codecs()))
        close = difflib.get_close_matches(codec_id, [*ids, *shipped_models(), *own_models()], 1)
        hint = f"did you mean {close[0]!r}?" if close else "install the package that brings it"
        raise CodecNameError(f"there is no codec {codec_id!r} here (there are: {', '.join(ids)}); {hint}")
    if len(found) > 1:
        packages = " and ".join(sorted(map(_package, found)))
        raise DeclarationError(f"{packages} both bring a codec {codec_id!r}; uninstall one of them")
    return _declared(found[0])


def default_codec(data: str) -> str:
    """The id of the codec for this kind of data where nobody names one: "image" for images, say.

    Raises:
        CodecNameError: for a kind of data of which no codec is the default.
    """
    for method in built_in_methods().values():
        if method.default and method.data == data:
            return method.id
    raise CodecNameError(f"no codec is the default for the kind of data {data!r}: name one")


def codec_of_file(name: str | Path) -> str | None:
    """The id of the codec for files of this name where nobody names one; None where that is the one for images.

    Args:
        name: of the file.
    """
    suffix = Path(name).suffix.lower()
    for method in built_in_methods().values():
        if suffix in method.files:
            return method.id
    return None


def shipped_models() -> dict[str, str]:
    """The names of the models that are in the package, each with the id of its codec."""
    return {name: method.id for method in built_in_methods().values() for name in method.models}


def open_codec(name: str | Path) -> Codec:
    """The codec of this id, or that of a trained model, ready to use.

    Args:
        name: a codec id, the name of a model that is installed, or the folder of a model, with a slash ("./model") or
            as a Path. Ids and names come first, so that no folder takes their place.

    Raises:
        CodecNameError: where there is none; it lists the codecs that there are.
        ModelError: for a damaged model.
        DeclarationError: for a package that is not right.
    """
    from obverse.zoo import CONFIG, is_folder, load_model, load_model_from, missing_home, model_names

    if is_folder(name):
        folder = Path(name)
        if folder.is_dir() and not (folder / CONFIG).exists():
            raise CodecNameError(
                f"the folder {name} holds no model (there is no {CONFIG} in it): name another one"
            )
        if not folder.is_dir():
            raise CodecNameError(
                f"there is no folder {name}: name that of a model, or a codec (obverse list)"
            )
        return codec_with(load_model_from(folder))
    name = str(name)
    if name not in _ids() and name in model_names():
        return codec_with(load_model(name))
    try:
        return codec_of_id(name)
    except CodecNameError as error:
        if name and "\0" not in name and (Path(name) / CONFIG).is_file():
            raise CodecNameError(
                f"there is no codec or model {name}, but a folder with a model: name it with a slash, ./{name}"
            ) from None
        raise CodecNameError(f"{error}{missing_home()}") from None


def open_model(name_or_folder: str | Path) -> Codec:
    """The codec with the model that `--model` names: as `open_codec`, and a folder counts without a slash too, unless
    there is a codec or an installed model of that name.

    Raises:
        CodecNameError: where there is none of this name.
        ModelError: for a damaged model, and for a codec that has none of its own.
    """
    from obverse.zoo import is_folder, stored_model

    if is_folder(name_or_folder) or name_or_folder not in _ids():
        return codec_with(stored_model(name_or_folder))
    codec = open_codec(name_or_folder)
    if codec.fingerprint is None:
        raise ModelError(
            f"{codec.id!r} is a codec that has no model of its own: name one of its models, or the folder of one"
        )
    return codec


def codec_with(model: StoredModel) -> Codec:
    """The codec of a model, with it.

    Raises:
        ModelError: where the model is of a codec that is not installed, or says of none.
        DeclarationError: for a package that is not right.
    """
    try:
        codec = codec_of_id(model.codec)
    except CodecNameError as error:
        if "codec" not in model.config:
            problem = "does not say which codec it is of: make or install it again"
        else:
            problem = (
                f"is of the codec {model.codec[:80]!r}, which is not here: install the package that brings it, or make "
                "the model again"
            )
        raise ModelError(f"the model {model.name!r} {problem}") from error
    return type(codec)(model)


@cache
def codec_of_id(codec_id: str) -> Codec:
    """The codec of this id, with its first model, and nothing else: what a file names is looked for here only.

    Raises:
        CodecNameError: where there is none.
        DeclarationError: for a package that is not right.
    """
    method = find_method(codec_id)
    codec = method.resolve(method.codec)
    if not (isinstance(codec, type) and issubclass(codec, Codec)):
        raise DeclarationError(
            f"{method.codec!r} of {method.package} is no Codec: derive it from obverse.Codec"
        )
    if getattr(codec, "method", None) is not method:
        raise DeclarationError(
            f"the class {codec.__name__} of the codec {codec_id!r} must say `method = ` its declaration"
        )
    if issubclass(codec, SideInformed) != method.side_info:
        raise DeclarationError(
            f"the codec {codec_id!r} of {method.package} declares side_info={method.side_info}, but "
            f"{codec.__name__} {'is no' if method.side_info else 'is a'} SideInformed: change the one or the other"
        )
    try:
        return codec()
    except TypeError as error:
        raise DeclarationError(f"the codec {codec_id!r} of {method.package} is not whole: {error}") from error


def _declared(entry: EntryPoint) -> Method:
    """What a package's entry point names, if that is a declaration of its id."""
    package = _package(entry)
    try:
        method = entry.load()
    except Exception as error:  # whatever a package raises when it is imported
        raise DeclarationError(
            f"the codec {entry.name!r} of the package {package} cannot be loaded: {error}"
        ) from error
    if isinstance(method, type) and issubclass(method, Codec):
        raise DeclarationError(
            f"the package {package} names the class of its codec {entry.name!r}: its entry point must name a "
            "declaration, an obverse.Method (docs/how-to/add-a-codec.md)"
        )
    if not isinstance(method, Method) or method.id != entry.name:
        raise DeclarationError(
            f"the entry point {entry.name!r} of the package {package} does not lead to a Method of that id"
        )
    return method


def entry_points(group: str) -> Iterable[EntryPoint]:
    """What the installed packages declare. Imported only here: it takes a third as long as `import obverse`."""
    from importlib import metadata

    return metadata.entry_points(group=group)


def _third_party() -> list[EntryPoint]:
    return [entry for entry in entry_points(group=GROUP) if entry.name not in built_in_methods()]


def _ids() -> set[str]:
    return {*built_in_methods(), *(entry.name for entry in _third_party())}


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else entry.module


def _summary(entry: EntryPoint) -> str:
    """What the declaration says, or where it cannot be loaded, the package."""
    try:
        return _declared(entry).summary
    except DeclarationError:
        known = entry.dist is not None and "Summary" in entry.dist.metadata
        return entry.dist.metadata["Summary"] if known and entry.dist else ""
