"""Trained models as data: one folder a model, with `model.safetensors.xz`, `config.json` and `card.md`.

The weights' name is that of their first form; `packing.py` has the other, and says which one a file is.

Models ship in this folder; those that a user trains lie in `models_home()`, or wherever `--out` said. A model
is asked for by its name or its folder when compressing, and found by its fingerprint when decompressing.

A text with a slash is a folder, any other a name: that of a child of `OBVERSE_ZOO`, if that is set, of a shipped model,
or of one of the user's, in this order. So nothing that lies in the working folder takes the place of a shipped model,
and no name leads out of these three. `OBVERSE_ZOO` is how a model that `obverse export` made is tried before it ships.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from obverse.container.files import check_folder, make_folder, new_file, remove_file
from obverse.errors import CodecNameError, ModelError, OutputExistsError
from obverse.zoo.packing import LARGEST, pack, unpack

WEIGHTS, CONFIG, CARD = "model.safetensors.xz", "config.json", "card.md"
FINGERPRINT = 8  # bytes
LARGEST_CONFIG = 2**22  # bytes


@dataclass(frozen=True)
class StoredModel:
    """Weights as the bytes of a safetensors file, the configuration, and the fingerprint that its files name.

    That is of weights and configuration; where an encoder was trained for the decoder of an earlier model, it is that
    model's ("decoder" in the configuration), so that whoever has either decodes the files of both.
    """

    name: str
    weights: bytes
    config: dict[str, Any]
    fingerprint: bytes

    @property
    def codec(self) -> str:
        """The id of the codec whose model this is: what the configuration says, or the model's name."""
        return str(self.config.get("codec", self.name))

    def fingerprint_at(self, key: str) -> bytes | None:
        """That of another model, which the configuration has in hex; None where it has none.

        Raises:
            ModelError: for what is no fingerprint.
        """
        text = self.config.get(key)
        if text is None:
            return None
        try:
            found = bytes.fromhex(text)
        except (TypeError, ValueError):
            found = b""
        if len(found) != FINGERPRINT:
            raise ModelError(f"the model {self.name} is damaged: {text!r:.40} is no fingerprint")
        return found

    @property
    def replaces(self) -> tuple[bytes, ...]:
        """Fingerprints of the models that this one was converted of: what they wrote, this one reads."""
        listed = self.config.get("replaces", ())
        try:
            return tuple(map(bytes.fromhex, listed)) if isinstance(listed, list) else ()
        except (ValueError, TypeError):
            return ()


def models_home() -> Path:
    """Where models that a user trains are kept: OBVERSE_ZOO, or obverse/models in the user's data folder."""
    override = os.environ.get("OBVERSE_ZOO")
    if override:
        return Path(override)
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    # a user without an entry has no home, and ~ stays as it is: then this is a place where nothing is, or can be made
    return Path(data if os.path.isabs(data) else os.devnull) / "obverse" / "models"


def missing_home() -> str:
    """What to add where a model is not found, and OBVERSE_ZOO names no folder to find it in; "" where it does."""
    override = os.environ.get("OBVERSE_ZOO")
    return (
        f"; OBVERSE_ZOO names {override}, which is no folder"
        if override and not Path(override).is_dir()
        else ""
    )


def is_folder(name_or_folder: str | Path) -> bool:
    """Whether it is meant as a folder, not as a name: a path, or a text with a slash.

    Raises:
        CodecNameError: for what is neither.
    """
    if isinstance(name_or_folder, Path):
        return True
    if not isinstance(name_or_folder, str):
        raise CodecNameError(
            f"codecs and models are named by a text, or a folder as a Path, not {name_or_folder!r}"
        )
    return any(mark in name_or_folder for mark in {"/", os.sep, os.altsep or os.sep})


def model_folder(name: str) -> Path:
    """Where model `name` is stored: a folder of `OBVERSE_ZOO`, the shipped one, or one of the user's.

    Raises:
        ModelError: for what is no name.
    """
    if not name or is_folder(name) or name.startswith(".") or "\0" in name or ":" in name:
        raise ModelError(
            f"{name[:80]!r} is no name of a model: a folder is named with a slash, as ./{name[:80]}"
        )
    shipped = Path(__file__).parent / name
    own = models_home() / name
    if (own / WEIGHTS).exists() and (os.environ.get("OBVERSE_ZOO") or not (shipped / WEIGHTS).exists()):
        return own
    return shipped


def load_model(name: str) -> StoredModel:
    """Read a model by its name.

    Raises:
        ModelError: when it is not there, or the name is none.
    """
    return load_model_from(model_folder(name))


def load_model_from(folder: Path) -> StoredModel:
    """Read a model by its folder.

    Raises:
        ModelError: when it is not there or damaged.
    """
    weights, config_bytes = _file(folder, WEIGHTS, LARGEST), _file(folder, CONFIG, LARGEST_CONFIG)
    try:
        raw = unpack(weights)
    except ValueError as error:
        raise ModelError(_damaged(folder)) from error
    return _stored(folder, raw, _config(folder, config_bytes), config_bytes)


def _stored(folder: Path, weights: bytes, config: dict[str, Any], config_bytes: bytes) -> StoredModel:
    """A model whose decoder is that of another one, by its configuration, has that one's fingerprint."""
    own = fingerprint(weights, config_bytes)
    model = StoredModel(folder.resolve().name, weights, config, own)
    decoder = model.fingerprint_at("decoder")
    return model if decoder is None else replace(model, fingerprint=decoder)


def _file(folder: Path, name: str, most: int) -> bytes:
    """One file of a model. What is no file, a fifo among it, is not opened: that would wait for ever.

    Raises:
        ModelError: for what is not there, cannot be read, is no ordinary file, or is larger than `most` bytes.
    """
    path = folder / name
    try:
        if path.exists() and not path.is_file():
            raise ModelError(f"{path} is not an ordinary file; make or install the model again")
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > most:
                raise ModelError(_damaged(folder))
            return file.read()
    except OSError as error:
        raise ModelError(_not_there(folder, error)) from error


def _config(folder: Path, data: bytes | None = None) -> dict[str, Any]:
    """What the configuration in a folder says; `data` is what is in its file. Raises ModelError."""
    try:
        config = json.loads(_file(folder, CONFIG, LARGEST_CONFIG) if data is None else data)
    except (ValueError, RecursionError) as error:
        raise ModelError(_damaged(folder)) from error
    if not isinstance(config, dict):
        raise ModelError(_damaged(folder))
    return config


def _damaged(folder: Path) -> str:
    return f"the model {folder.resolve().name!r} in {folder} is damaged; make or install it again"


def _not_there(folder: Path, error: OSError) -> str:
    """Why nothing can be read of a folder, and what to do."""
    shipped = Path(__file__).parent
    if folder.parent == shipped and folder.is_dir():
        return f"the model {folder.name!r} of the package cannot be read: {error.strerror}; reinstall obverse"
    if not folder.is_dir():
        return f"there is no folder {folder}: name that of a model"
    lacking = [file for file in (WEIGHTS, CONFIG) if not (folder / file).exists()]
    if lacking:
        return f"the folder {folder} holds no model (there is no {lacking[0]} in it): name another one"
    return f"the model in {folder} cannot be read: {error.strerror}; name another folder"


def stored_model(name_or_folder: str | Path) -> StoredModel:
    """Read the model that `--model` names: by a name that is installed, or else by its folder, also without a slash.

    Raises:
        CodecNameError: when there is none of this name; it lists the models that there are.
        ModelError: when the folder holds none, or it is damaged.
    """
    if not is_folder(name_or_folder) and str(name_or_folder) in model_names():
        return load_model(str(name_or_folder))
    if is_folder(name_or_folder) or (Path(name_or_folder) / CONFIG).exists():
        return load_model_from(Path(name_or_folder))
    name = str(name_or_folder)
    model_folder(name)  # whether it can be one
    close = difflib.get_close_matches(name, model_names(), 1)
    more = f"did you mean {close[0]!r}?" if close else "name one of these, or the folder of one (./model)"
    raise CodecNameError(
        f"there is no model {name!r} here (there are: {', '.join(sorted(model_names()))}); {more}{missing_home()}"
    )


def find_model(codec: str, wanted: bytes) -> StoredModel | None:
    """The model of this codec with this fingerprint, among the shipped ones and the user's; or one that was converted
    of it; or None."""
    converted = None
    for folder in _model_folders():
        try:
            if _codec_of(folder) == codec:
                model = load_model_from(folder)
                if model.fingerprint == wanted:
                    return model
                if wanted in model.replaces:
                    converted = converted or model
        except ModelError:
            continue  # a broken model beside the one looked for is not this file's concern
    return converted


def find_tune(codec: str, base: bytes, tune: str) -> StoredModel | None:
    """The model of this codec that is this tune of the model of this fingerprint, or None."""
    for folder in _model_folders():
        try:
            config = _config(folder)
            if (config.get("codec"), config.get("base"), config.get("tune")) == (codec, base.hex(), tune):
                return load_model_from(folder)
        except ModelError:
            continue  # a broken model beside the one looked for is not this one's concern
    return None


def own_models() -> dict[str, str]:
    """Names of the models in `models_home()`, each with the id of its codec."""
    found = {}
    for folder in _model_folders(shipped=False):
        try:
            found[folder.name] = _codec_of(folder)
        except ModelError:
            continue
    return found


def model_names() -> set[str]:
    """Names of all models that are installed, the shipped ones and the user's."""
    return {folder.name for folder in _model_folders()}


def _model_folders(shipped: bool = True) -> Iterator[Path]:
    for base in (models_home(), Path(__file__).parent)[: 2 if shipped else 1]:
        if base.is_dir():
            yield from sorted(path.parent for path in base.glob(f"*/{WEIGHTS}"))


def _codec_of(folder: Path) -> str:
    return str(_config(folder).get("codec", folder.name))


def check_new_model(folder: Path, force: bool = False) -> None:
    """Check that a model can be stored in a folder: before the long work of making it.

    Args:
        folder: which need not be there.
        force: whether a model in it may be replaced.

    Raises:
        OutputExistsError: there is one, or part of one, or a folder of another program's model.
        OutputError: it cannot be written.
    """
    if not force and any((folder / file).exists() for file in (WEIGHTS, CONFIG, CARD)):
        raise OutputExistsError(
            f"{folder} holds a model, whose files could not be read any more; choose another --out, or use --force"
        )
    check_folder(folder)


def store_model(
    folder: Path, weights: bytes, config: dict[str, Any], card: str, packed: bytes | None = None
) -> StoredModel:
    """Write a model's three files, all of this model: where that is cut off, there is the earlier model, or none.

    Args:
        folder: made if it is not there.
        weights: the bytes of a safetensors file.
        config: plain values; its "codec" is the id of the codec.
        card: the text of card.md.
        packed: the weights behind `pack`, where that is made already.

    Returns:
        The model as it would be loaded.

    Raises:
        OutputError: where the folder cannot be made, or a file not be written.
    """
    text = json.dumps(config, indent=2).encode()
    contents = {CONFIG: text, CARD: card.encode(), WEIGHTS: pack(weights) if packed is None else packed}
    make_folder(folder)
    with ExitStack() as stack:  # the last that is opened gets its name first, the configuration at the end
        for name, data in contents.items():
            file = stack.enter_context(new_file(folder / name, overwrite=True))
            file.write(data)
            file.flush()  # where the disk is full, the earlier model stays
        # without a configuration there is no model, so that new weights never lie beside an old one
        remove_file(folder / CONFIG)
    return _stored(folder, weights, json.loads(text), text)


def fingerprint(weights: bytes, config: bytes) -> bytes:
    """8 bytes that change with any change of a model: the start of a SHA-256."""
    return hashlib.sha256(hashlib.sha256(weights).digest() + config).digest()[:FINGERPRINT]
