"""Frozen encoders by name or path: which library reads which.

    module:function, .pt, .pt2, .onnx, folder ──► load_encoder ──► FrozenEncoder

`load_encoder` takes a Python function, `module:function`, a TorchScript or torch.export file, an ONNX file, or the
folder of a Hugging Face vision model; each needs its own library, which is imported then. What TorchScript and
torch.export write are programs, which are loaded only where the user says that they are trusted.
"""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from obverse.by_name import imported, is_name
from obverse.errors import InputError, MissingExtraError
from obverse.integrations.frozen_encoder import FrozenEncoder, Function, explained, take_in
from obverse.integrations.hugging_face import hugging_face_encoder
from obverse.integrations.image_input import InputFormat
from obverse.trust import require_trust

TORCHSCRIPT = {".pt", ".pth", ".ts", ".torchscript", ".jit"}
EXPORTED, ONNX = ".pt2", ".onnx"


def load_encoder(
    source: str | Path | Function,
    inputs: InputFormat | None = None,
    fingerprint: bytes | None = None,
    trust: bool = False,
) -> FrozenEncoder:
    """The encoder behind a function, `module:function`, or the path of a model.

    Args:
        source: one of these.
        inputs: how images become its input; by default what the model says itself (Hugging Face), pixels from 0 to 1
            (TorchScript, torch.export, ONNX, torch modules), or the images as they are (functions).
        fingerprint: that of a function, 32 bytes; else it is that of its attribute `fingerprint`, or None.
        trust: whether a TorchScript or torch.export file may be loaded. It may run any code of whoever made it.

    Raises:
        InputError: where there is no encoder, a file of it is damaged, or is a program that is not trusted.
        MissingExtraError: where the library that runs it is not installed.
    """
    if callable(source):
        return _of_function(source, inputs, fingerprint)
    text = str(source)
    path = Path(text)
    if path.is_dir():
        return hugging_face_encoder(path, inputs)
    if is_name(text) and not path.exists():
        return _of_function(_imported(text), inputs, fingerprint, text)
    if not path.is_file():
        raise InputError(f"there is no encoder {text}: give a file, a folder, or module:function")
    if path.suffix.lower() == ONNX:
        return _onnx(path, inputs)
    if path.suffix.lower() == EXPORTED:
        return _torch_file(path, inputs, trust, exported=True)
    if path.suffix.lower() in TORCHSCRIPT:
        return _torch_file(path, inputs, trust, exported=False)
    raise InputError(
        f"{text} is no encoder: it is told by its name, .onnx, .pt2 (torch.export) or {', '.join(sorted(TORCHSCRIPT))} "
        "(TorchScript), or is the folder of a Hugging Face model"
    )


def _imported(text: str) -> Function:
    found = imported(text, "encoder")
    if not callable(found):
        raise InputError(f"the encoder {text} is not a function")
    return found  # type: ignore[no-any-return]


# -- Python ------------------------------------------------------------------------------------------------------


def _of_function(
    function: Function, inputs: InputFormat | None, given: bytes | None, name: str = ""
) -> FrozenEncoder:
    name = name or str(getattr(function, "__qualname__", type(function).__name__))
    if hasattr(function, "state_dict") and hasattr(function, "eval"):
        return FrozenEncoder(
            _quiet(function), name, given or module_fingerprint(function), inputs or InputFormat()
        )
    found = given or getattr(function, "fingerprint", None)
    if found is not None and (not isinstance(found, bytes) or len(found) != 32):
        raise InputError(f"the fingerprint of the encoder {name} must be the 32 bytes of a SHA-256")
    return FrozenEncoder(function, name, found, inputs)


def _quiet(module: Any) -> Function:
    """A torch module as a function of arrays, in evaluation mode."""
    import torch

    # an exported program is in evaluation mode for good, and says so when it is asked
    if not hasattr(module, "graph_module") and type(module).__name__ != "GraphModule":
        module.eval()

    def run(batch: Any) -> Any:
        with torch.inference_mode():
            return module(torch.from_numpy(np.asarray(batch)))

    return run


def module_fingerprint(module: Any) -> bytes:
    """SHA-256 of the weights of a torch module: names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not hasattr(tensor, "detach"):
            continue  # extra state of a module, which is no weight
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)};".encode())
        import torch

        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


# -- files -------------------------------------------------------------------------------------------------------


def _torch_file(path: Path, inputs: InputFormat | None, trust: bool, exported: bool) -> FrozenEncoder:
    kind = "torch.export" if exported else "TorchScript"
    require_trust(trust, path, f"is a {kind} program")
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated, yet it is what people have
            module = torch.export.load(path).module() if exported else torch.jit.load(str(path), "cpu")
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        if _is_pickled(path):
            raise InputError(
                f"{path} holds weights or a pickled module (torch.save), not a program: write the encoder with "
                "torch.jit.save or torch.export.save, or name a function that makes it (module:function)"
            ) from error
        raise InputError(
            f"{path} is not a {kind} file ({why}); write it with torch.{'export' if exported else 'jit'}.save"
        ) from error
    return FrozenEncoder(
        explained(_quiet(module), path), path.name, _weights_of(path), inputs or InputFormat()
    )


def _is_pickled(path: Path) -> bool:
    """Whether torch.save wrote it: an archive with a pickle, and without the constants of a TorchScript program."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return False
    return "data.pkl" in names and "constants.pkl" not in names


def _weights_of(path: Path) -> bytes:
    """Of the file's bytes, and of weights that an ONNX file keeps beside itself; not of the file's name."""
    digest = hashlib.sha256()
    beside = [p for p in (path.with_name(path.name + s) for s in (".data", "_data")) if p.is_file()]
    for part in [path, *beside]:
        take_in(digest, part)
    return digest.digest()


def _onnx(path: Path, inputs: InputFormat | None) -> FrozenEncoder:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("ONNX encoders need onnxruntime: pip install 'obverse[onnx]'") from None
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        raise InputError(f"{path} is not an ONNX model: {error}") from error
    name = session.get_inputs()[0].name

    def run(batch: Any) -> Any:
        try:
            return session.run(None, {name: batch})[0]
        except Exception as error:  # its errors have no common base class
            raise RuntimeError(str(error)) from error

    return FrozenEncoder(explained(run, path), path.name, _weights_of(path), inputs or InputFormat())
