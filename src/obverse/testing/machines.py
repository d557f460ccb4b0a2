"""Other machines, as far as one can be them: settings of torch, and processes with other instruction sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from obverse.testing.example import ConformanceError, Example, Opened
from obverse.zoo import StoredModel

# variables of processes that stand for machines without wide vectors
ELSEWHERE: dict[str, dict[str, str]] = {
    "a processor without vectors": {
        "ATEN_CPU_CAPABILITY": "default",
        "NUMBA_CPU_NAME": "generic",
        "NUMBA_CPU_FEATURES": "",
        "NPY_DISABLE_CPU_FEATURES": "",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OMP_NUM_THREADS": "1",
    },
}
DECODE = """
import json, sys
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
from obverse.registry import codec_of_id
from obverse.container import read
from obverse.zoo import StoredModel
for folder in map(Path, sys.argv[1:]):
    container = read(folder / "file.obv")
    codec = codec_of_id(container.codec)
    if (folder / "model").exists():
        weights, config = (folder / "model").read_bytes(), json.loads((folder / "config").read_text())
        codec = type(codec)(StoredModel("given", weights, config, container.model))
    side = {"side_info": np.load(folder / "side.npy")} if (folder / "side.npy").exists() else {}
    np.save(folder / "decoded.npy", codec.decode(container, **side))
"""


def _torch_setting(enter: Callable[[Any], AbstractContextManager[Any]]) -> AbstractContextManager[Any]:
    """Of torch, where it is installed and was imported; a codec without torch has no use for it."""
    if "torch" not in sys.modules:
        return nullcontext()
    import torch

    return enter(torch)


@contextmanager
def _threads(torch: Any, count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _without_onednn(torch: Any, nnpack: bool) -> Iterator[None]:
    before = torch._C._get_nnpack_enabled()
    # the public torch.backends.mkldnn.flags warns about settings of other devices
    torch._C._set_mkldnn_enabled(False)
    torch._C._set_nnpack_enabled(nnpack)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(True)
        torch._C._set_nnpack_enabled(before)


@contextmanager
def _default_dtype(torch: Any, name: str) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, name))
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _low_precision(torch: Any) -> Iterator[None]:
    """float32 products in bfloat16, where a library and the processor can."""
    kinds = [getattr(torch.backends.mkldnn, name, None) for name in ("conv", "matmul")]
    held: list[tuple[Any, str]] = [(kind, kind.fp32_precision) for kind in kinds if kind is not None]
    for kind, _ in held:
        kind.fp32_precision = "bf16"
    try:
        yield
    finally:
        for kind, before in held:
            kind.fp32_precision = before


@contextmanager
def _deterministic(torch: Any) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextmanager
def _memory_format(torch: Any, name: str) -> Iterator[None]:
    """Convolutions see images and weights in this layout, whatever a codec keeps them in."""
    from torch.overrides import TorchFunctionMode

    convolutions = {torch.conv2d, torch.conv_transpose2d}

    def laid_out(value: Any) -> Any:
        four = isinstance(value, torch.Tensor) and value.dim() == 4
        return value.contiguous(memory_format=getattr(torch, name)) if four else value

    class Layout(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, arguments: Any = (), keywords: Any = None
        ) -> Any:
            if function in convolutions:
                arguments = [laid_out(value) for value in arguments]
            return function(*arguments, **(keywords or {}))

    with Layout():
        yield


SETTINGS: dict[str, Callable[[Any], AbstractContextManager[Any]]] = {
    "one thread": lambda torch: _threads(torch, 1),
    "two threads": lambda torch: _threads(torch, 2),
    "oneDNN off": lambda torch: _without_onednn(torch, False),
    "oneDNN off, NNPACK on": lambda torch: _without_onednn(torch, True),
    "float64 as the default type": lambda torch: _default_dtype(torch, "float64"),
    "float16 as the default type": lambda torch: _default_dtype(torch, "float16"),
    "bfloat16 products": _low_precision,
    "another default device": lambda torch: torch.device("meta"),
    "autocast": lambda torch: torch.autocast("cpu", torch.bfloat16),
    "inference mode": lambda torch: torch.inference_mode(),
    "gradients": lambda torch: torch.enable_grad(),
    "deterministic algorithms": _deterministic,
    "channels last": lambda torch: _memory_format(torch, "channels_last"),
    "channels first": lambda torch: _memory_format(torch, "contiguous_format"),
}


def setting(name: str) -> AbstractContextManager[Any]:
    """Run with this one of SETTINGS."""
    return _torch_setting(SETTINGS[name])


def check_other_processes(examples: Sequence[Example]) -> None:
    """Files written here decode to the same in processes with other instruction sets and one thread.

    One process decodes all examples, since it compiles for its own machine.

    Raises:
        ConformanceError: naming the examples that do not.
    """
    opened = [Opened(example) for example in examples]
    for machine, variables in ELSEWHERE.items():
        with TemporaryDirectory() as name:
            folders = [Path(name) / str(number) for number in range(len(opened))]
            for it, folder in zip(opened, folders, strict=True):
                folder.mkdir()
                _store(it, folder)
            # kernels compiled for that machine are kept apart from those for this one
            environment = os.environ | {"NUMBA_CACHE_DIR": str(Path(name) / "numba")} | variables
            command = [sys.executable, "-c", DECODE, *map(str, folders)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                raise ConformanceError(f"on {machine} decoding fails: {done.stderr}")
            wrong = [
                str(it.example)
                for it, folder in zip(opened, folders, strict=True)
                if not it.example.same(np.load(folder / "decoded.npy"), it.decoded)
            ]
        if wrong:
            raise ConformanceError(f"on {machine} other values are decoded: {', '.join(wrong)}")


def _store(it: Opened, folder: Path) -> None:
    """What the process needs; a model as its weights and configuration."""
    (folder / "file.obv").write_bytes(it.file)
    if it.side:
        np.save(folder / "side.npy", it.side["side_info"])
    model = getattr(it.codec, "model", None)
    if isinstance(model, StoredModel):
        (folder / "model").write_bytes(model.weights)
        (folder / "config").write_text(json.dumps(model.config))
