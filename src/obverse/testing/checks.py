"""The promises of a codec, each a check of one opened example."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from obverse.codec import Predicts, Rated, Reconstructs, Recovers, SideInformed, compress, decompress
from obverse.container import Container, Limits, describe, read, write
from obverse.container.samples import samples_checksum
from obverse.data.image_writing import write_photo
from obverse.data.images import Photo, photo_of
from obverse.data.kinds import Kind
from obverse.errors import (
    DamagedError,
    DecodeError,
    InputError,
    LimitError,
    ModelError,
    ObverseError,
    OptionError,
    SideInformationError,
    UnknownCodecError,
    WrongModelError,
)
from obverse.fields import Options
from obverse.testing.damage import Seeded, damaged, hostile
from obverse.testing.example import Opened
from obverse.testing.machines import SETTINGS, setting

TIGHT = Limits(pixels=2**22, memory=2**28, items=2**16)  # what a hostile file may ask for
NOTHING = Limits(pixels=0, memory=0, items=0)
MOST_POSITIONS = 400  # of a file at which it is cut, and at which bits are flipped
DAMAGED_FILES = 60
FINGERPRINT = 8
NONSENSE: tuple[Any, ...] = (
    None, object(), "nonsense", b"bytes", [], {}, [[1, 2], [3]], np.zeros(()), np.zeros((0, 3)), np.zeros((2, 0, 3)),
    np.array([np.nan]), np.array([[np.inf, 1.0]]), np.zeros((1, 1, 1, 1, 1)), np.array(["text"]), np.array([None]),
    np.zeros(3, complex), np.zeros(3, "datetime64[s]"),
)  # fmt: skip


def check_declaration(it: Opened) -> None:
    """What the method declares is there, and is what the class does."""
    method = it.codec.method
    it.require(method.id == it.example.codec == it.codec.id, "the codec has the id that it declares")
    it.require(method.summary and "\n" not in method.summary, "the summary is one line")
    it.require(issubclass(method.options_class, Options), "its options derive from obverse.Options")
    it.require(method.resolve(method.codec) is type(it.codec), "it declares its class")
    it.require(method.kind is not None, "it declares a kind of data")
    it.require(method.side_info == it.side_informed, "side_info says whether it is SideInformed")
    it.require(method.side_info == bool(it.side), "the example has side information where the codec needs it")
    training = method.training.references if method.training is not None else ()
    for reference in (method.facts, *training, *(command.run for command in method.commands)):
        if reference is not None:
            it.require(callable(method.resolve(reference)), f"{reference} can be called")


def check_round_trip(it: Opened) -> None:
    """encode, write, read, decode: the same file and the same data each time, and none of the input changed."""
    before = _copy(it.data)
    first = it.file
    it.require(_equal(it.data, before), "encode leaves the data as they are")
    named = (it.codec.id, *it.codec.method.also_writes)
    it.require(it.container.codec in named, "the file names its codec")
    it.require(it.container.model == it.codec.fingerprint, "the file names its model")
    it.require(write(it.codec.encode(it.data, it.options)) == first, "the same data make the same file")
    it.require(
        read(first) == it.container or write(read(first)) == first, "the file is read as it was written"
    )
    again = it.decode(read(first))
    it.require(np.array_equal(again, it.decoded, equal_nan=True), "a file decodes to the same each time")
    if it.codec.method.lossless:
        wanted = it.data.array() if isinstance(it.data, Photo) else np.asarray(it.data)
        it.require(it.decoded.dtype == wanted.dtype, "the data come back in their type")
        if it.example.error:
            off = float(np.abs(it.decoded.astype(np.float64) - wanted).max())
            it.require(
                0 < off <= it.example.error, "the data come back within the error, and it is made use of"
            )
        else:
            it.require(np.array_equal(it.decoded, wanted), "the data come back as they were")
        checked = it.container.samples == samples_checksum(it.decoded)
        plain = it.payload >= it.decoded.nbytes
        it.require(checked or plain, "the file has a checksum of its samples, or the samples as they are")
        other = replace(it.container, version=2, samples=samples_checksum(it.decoded) ^ 1)
        _raises(it, "samples with another checksum", DamagedError, lambda: it.decode(other))
    if it.installed:
        name = it.example.model or it.example.codec
        packed = compress(it.data, codec=str(name), **it.example.options)
        it.require(packed == first, "compress makes the same file")
        it.require(
            np.array_equal(decompress(first, **it.side), it.decoded, equal_nan=True), "decompress reads it"
        )


def check_threads(it: Opened) -> None:
    """One codec is used by several threads at once."""
    with ThreadPoolExecutor(2) as pool:
        several = list(pool.map(lambda _: it.decode(read(it.file)), range(2)))
    it.require(all(it.example.same(one, it.decoded) for one in several), "two threads decode the same")


def check_options(it: Opened) -> None:
    """Options are those that are declared, and all that is wrong with them is an OptionError."""
    _raises(it, "an option that there is not", OptionError, lambda: it.codec.options(no_such_option=1))
    _raises(
        it,
        "metadata that are no mapping",
        InputError,
        lambda: it.codec.encode(it.data, it.codec.options(metadata=3)),
    )
    for option in it.codec.method.options_class.described():
        it.require(option.about.help, f"the option {option.name} says what it is")
        if option.kind is not None:
            made = partial(it.codec.options, **{option.name: object()})
            _raises(it, f"{option.name}: no value", OptionError, made)


def check_metadata(it: Opened) -> None:
    """A user's own values are kept in the file."""
    kept = {"title": "Æther", "number": -7, "raw": b"\0"}
    options = it.codec.options(**dict(it.example.options) | {"metadata": kept})
    container = read(write(it.codec.encode(it.data, options)))
    it.require(container.metadata == kept, "metadata come back")
    without = replace(container, metadata=it.container.metadata)
    it.require(write(without) == it.file, "metadata change nothing else")


def check_rate(it: Opened) -> None:
    """What the model predicts is what the file weighs, within 1 % for streams above 10 kB, some bytes below."""
    if not isinstance(it.codec, Rated):
        it.require(it.codec.fingerprint is None, "a codec with a model has rate_bits")
        return
    bits = it.codec.rate_bits(it.data, it.options)
    it.require(bits.ndim == 1 and bits.dtype == np.float64, "rate_bits is (n,) float64")
    it.require(bool((bits >= 0).all()) and bool(np.isfinite(bits).all()), "no item costs less than nothing")
    messages = max(1, len(it.container.sections) + len(it.container.items or ()))
    apart, slack = abs(float(bits.sum()) - 8 * it.payload), 0.01 * 8 * it.payload + 8 * 12 * messages
    slack += 3 * it.example.rate_noise * math.sqrt(len(bits))
    it.require(apart <= slack, f"rate_bits {bits.sum():.0f} and the file's {8 * it.payload} bits agree")


def check_settings(it: Opened) -> None:
    """The same is decoded, and all else that the codec can do works, with other threads, kernels and types.

    A codec without loss writes the same file too.
    """
    for name in SETTINGS:
        with setting(name):
            other = it.decode(read(it.file))
            check_capabilities(it)
            again = write(it.codec.encode(it.data, it.options)) if it.codec.method.lossless else it.file
        it.require(it.example.same(other, it.decoded), f"with {name} the same is decoded")
        it.require(again == it.file, f"with {name} the same file is written")


def check_cut(it: Opened) -> None:
    """A file that ends too early is an error, wherever it was cut."""
    for length in _positions(len(it.file)):
        _raises(it, f"cut to {length} bytes", DecodeError, lambda: read(it.file[:length]))  # noqa: B023


def check_flipped(it: Opened) -> None:
    """A changed bit is noticed, wherever it is."""
    for place in _positions(len(it.file)):
        changed = bytearray(it.file)
        changed[place] ^= 1 << place % 8

        def decode(blob: bytes = bytes(changed)) -> None:
            container = read(blob)
            if (container.codec, container.model) == (it.container.codec, it.container.model):
                it.decode(container)

        _raises(it, f"bit {place % 8} of byte {place} changed", DecodeError, decode)


def check_hostile(it: Opened) -> None:
    """Headers and structures that cannot be, with checksums that hold: an error of ours, or an array."""
    for what, container in hostile(it.container):
        _survives(it, what, container)


def check_damaged(it: Opened) -> None:
    """Bytes that no encoder wrote, with checksums that hold: an error of ours, or an array."""
    for seed in range(DAMAGED_FILES):
        _survives(it, f"damage {seed}", damaged(it.container, Seeded(seed)))


def check_limits(it: Opened) -> None:
    """A file may not ask for more than the limits allow."""
    _raises(it, "limits of nothing", LimitError, lambda: it.decode(it.container, NOTHING))


def check_other_model(it: Opened) -> None:
    """Files of another model, and of another codec, are refused by name."""
    if it.codec.fingerprint is not None:
        other = write(replace(it.container, model=bytes(FINGERPRINT)))
        _raises(it, "another model's file", WrongModelError, lambda: decompress(other, **it.side))
    unknown = write(replace(it.container, codec="no-such-codec"))
    _raises(it, "an unknown codec's file", UnknownCodecError, lambda: decompress(unknown, **it.side))


def check_side_information(it: Opened) -> None:
    """Side information is asked for where it is needed, checked, and refused where it is not."""
    codec = it.codec
    if not isinstance(codec, SideInformed):
        if it.installed:
            _raises(
                it, "no use for it", SideInformationError, lambda: decompress(it.file, side_info=it.decoded)
            )
        return
    side = it.side["side_info"]
    for what, other in (
        ("none", None),
        ("too short", side[:-1]),
        ("no numbers", np.array(["x"])),
        ("nonsense", object()),
    ):
        _raises(
            it, f"side information: {what}", SideInformationError,
            partial(codec.decode, it.container, side_info=other),
        )  # fmt: skip


def check_input(it: Opened) -> None:
    """What the codec does not code is refused with a sentence."""
    for nonsense in NONSENSE:
        try:
            it.codec.encode(nonsense, it.options)
        except InputError as error:
            it.require(str(error), f"{nonsense!r} is refused with a sentence")
        except LimitError:
            pass
        except Exception as error:
            it.require(False, f"{nonsense!r} is an InputError, not {type(error).__name__}: {error}")


def check_info(it: Opened) -> None:
    """`obverse info` says what the file holds, from its header alone."""
    facts = describe(it.file)
    it.require(
        facts["codec"] == it.codec.id and facts["file_bytes"] == len(it.file), "describe reads the file"
    )
    method = it.codec.method
    if method.facts is not None:
        for name, text in dict(method.resolve(method.facts)(facts)).items():
            it.require(isinstance(name, str) and isinstance(text, str) and text, "facts are names and texts")
        for what, container in hostile(replace(it.container, sections={}, items=None)):
            header = facts | {"config": container.config, "shape": list(container.shape)}
            try:
                method.resolve(method.facts)(header)
            except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
                pass  # told without facts
            except Exception as error:
                it.require(False, f"facts of a header ({what}) raise {type(error).__name__}: {error}")


def check_recovery(it: Opened) -> None:
    """Of a file that was cut, what is whole comes back, and the rest is named."""
    if not isinstance(it.codec, Recovers) or len(it.container.items or ()) < 2:
        return
    whole, missing = it.codec.recover(it.file)
    it.require(np.array_equal(whole, it.decoded) and not missing, "a whole file is recovered whole")
    part, missing = it.codec.recover(it.file[: -len((it.container.items or (b"",))[-1]) // 2])
    it.require(missing and all(isinstance(sentence, str) for sentence in missing), "what is missing is said")
    it.require(part.dtype == whole.dtype and part.shape[1:] == whole.shape[1:], "the rest has the same type")


def check_capabilities(it: Opened) -> None:
    """Predictions and reconstructions have the shapes that they should."""
    count = 1 if np.ndim(it.data) == len(it.container.shape) - 1 else len(it.decoded)
    if isinstance(it.codec, Predicts):
        scores = it.codec.predict(it.container)
        it.require(
            scores.ndim == 2 and bool(np.isfinite(scores).all()), "predict gives finite scores (n, classes)"
        )
        it.require(np.array_equal(scores, it.codec.predict(it.container)), "predictions are repeated")
    if isinstance(it.codec, Reconstructs):
        try:
            rebuilt = it.codec.reconstruct(it.container)
        except InputError:
            return  # a model that cannot
        it.require(len(rebuilt) == count or rebuilt.shape == it.container.shape, "each item is reconstructed")


def check_command_line(it: Opened) -> None:
    """`obverse compress`, `info` and `decompress` do what the functions do."""
    from obverse.cli import run

    if not it.installed:
        return
    flags = [
        word
        for option in it.codec.method.options_class.described()
        if option.about.flag and (value := it.example.options.get(option.name)) not in (None, False)
        for word in ([_flag(option.name)] if value is True else [_flag(option.name), str(value)])
    ]
    unseen = set(it.example.options) - {
        o.name for o in it.codec.method.options_class.described() if o.about.flag
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = store(it.codec.kind, it.data, folder)
        target = folder / f"out{it.codec.method.suffix}"
        side = (
            ["--side-info", str(store(it.codec.kind, it.side["side_info"], folder, "side"))]
            if it.side
            else []
        )
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            codec = str(it.example.model or it.example.codec)
            code = run(["compress", str(source), "--codec", codec, "-o", str(folder / "x.obv"), *flags])
            it.require(code == 0, f"obverse compress ends with {code}: {said.getvalue()}")
            code = run(["info", str(folder / "x.obv")])
            it.require(code == 0 and it.codec.id in said.getvalue(), f"obverse info ends with {code}")
            code = run(["decompress", str(folder / "x.obv"), "-o", str(target), *side])
            it.require(code == 0, f"obverse decompress ends with {code}: {said.getvalue()}")
        it.require(target.stat().st_size > 0, "a file is written")
        if not unseen:
            it.require((folder / "x.obv").read_bytes() == it.file, "the command makes the same file")


CHECKS: tuple[Callable[[Opened], None], ...] = (
    check_declaration, check_round_trip, check_threads, check_options, check_metadata, check_rate, check_settings,
    check_cut, check_flipped, check_hostile, check_damaged, check_limits, check_other_model, check_side_information,
    check_input, check_info, check_recovery, check_capabilities, check_command_line,
)  # fmt: skip


def store(kind: Kind, data: Any, folder: Path, name: str = "data") -> Path:
    """A file of this data, as a user would have it: an image, arrays under names, or one array.

    Args:
        kind: of the data.
        data: what `encode` takes.
        folder: where the file is written.
        name: of the file, without its suffix.
    """
    if isinstance(data, dict | tuple):
        path = folder / f"{name}.npz"
        arrays = data if isinstance(data, dict) else dict(zip(("mean", "std"), data, strict=True))
        np.savez(path, **arrays)
    elif ".npy" in kind.read:
        path = folder / f"{name}.npy"
        np.save(path, data)
    elif ".png" not in kind.read:
        path = folder / f"{name}{min(kind.written or ())}"
        path.write_bytes(kind.save(data, path.name))
    else:
        path = folder / f"{name}.png"
        path.write_bytes(write_photo(photo_of(data, exact=True), "x.png", exact=True))
    return path


def _survives(it: Opened, what: str, container: Container) -> None:
    """The container, as far as it can be written, is decoded or refused."""
    try:
        container = read(write(container))
        decoded = it.decode(container, TIGHT)
    except ObverseError as error:
        it.require(not isinstance(error, ModelError), f"{what}: the file is at fault, not the model: {error}")
        return
    except Exception as error:
        it.require(False, f"{what}: {type(error).__name__}: {error}")
        return
    if decoded.dtype.kind == "f":
        it.require(bool(np.isfinite(decoded).all()), f"{what}: what is decoded is finite")


def _raises(it: Opened, what: str, kind: type[ObverseError], action: Callable[[], Any]) -> None:
    try:
        action()
    except kind as error:
        it.require(str(error), f"{what}: an error has a sentence")
    except Exception as error:
        it.require(False, f"{what}: {kind.__name__}, not {type(error).__name__}: {error}")
    else:
        it.require(False, f"{what}: {kind.__name__} is raised")


def _positions(length: int) -> range:
    """Some hundred places of a file, spread evenly; all of a short one."""
    return range(0, length, max(1, math.ceil(length / MOST_POSITIONS)))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _copy(data: Any) -> Any:
    if hasattr(data, "__array__") and not isinstance(data, Photo):
        return np.array(data)
    if isinstance(data, Photo):
        return replace(data, pixels=data.pixels.copy())
    return (
        {k: np.copy(v) for k, v in data.items()}
        if isinstance(data, dict)
        else tuple(np.copy(part) for part in data)
    )


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Photo):
        return np.array_equal(a.array(), b.array())
    if isinstance(a, dict):
        return all(np.array_equal(a[name], b[name]) for name in b)
    if isinstance(a, tuple):
        return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    return np.array_equal(a, b)
