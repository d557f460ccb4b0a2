"""The settings of torch that codecs compute under, whatever the program around them has set.

A program may have another default type, automatic mixed precision, reduced precision of float32 products, or kernels
that are not exact. A codec that took these over would write files that only the same settings can read, or fail in the
middle. So every public method of a codec runs within `known_settings` (`obverse.codec.Codec` sees to that).

Default type, precision and kernels belong to the process: while one thread is within, all others see the known ones.
What was set comes back when the last thread leaves.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import ContextDecorator, ExitStack
from typing import Any

_lock = threading.Lock()
_within = 0  # threads
_restore: list[Callable[[], None]] = []


class known_settings(ContextDecorator):
    """Run under the settings that codecs are made for: float32 as the default type, on the CPU, no autocast, float32
    products in full precision, no NNPACK.

    A context, and a decorator. Nothing happens where torch was not imported, so that nothing was set; and within
    another one, which every layer of a network is.
    """

    def __enter__(self) -> None:
        torch = sys.modules.get("torch")
        if torch is None or _here.known:
            _here.entered.append(None)
            return
        stack = ExitStack()
        if torch.is_autocast_enabled("cpu"):
            stack.enter_context(torch.autocast("cpu", enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        _enter_process(torch)
        stack.callback(_leave_process)
        _here.entered.append(stack)
        _here.known = True

    def __exit__(self, *error: object) -> None:
        stack = _here.entered.pop()
        if stack is not None:
            _here.known = False
            stack.close()


class _Here(threading.local):
    """Of one thread: whether its settings are the known ones, and what each context that it is in has to undo."""

    def __init__(self) -> None:
        self.known = False
        self.entered: list[ExitStack | None] = []


_here = _Here()


def _enter_process(torch: Any) -> None:
    global _within
    with _lock:
        if _within == 0:
            _set(torch)
        _within += 1


def _leave_process() -> None:
    global _within
    with _lock:
        _within -= 1
        if _within == 0:
            while _restore:
                _restore.pop()()


def _set(torch: Any) -> None:
    dtype = torch.get_default_dtype()
    if dtype != torch.float32:
        torch.set_default_dtype(torch.float32)
        _restore.append(lambda: torch.set_default_dtype(dtype))
    if torch._C._get_nnpack_enabled():  # the public flags warn, and are not there in every version
        torch._C._set_nnpack_enabled(False)
        _restore.append(lambda: torch._C._set_nnpack_enabled(True))
    onednn = torch.backends.mkldnn
    for kind in ("conv", "matmul"):
        of_kind = getattr(onednn, kind, None)  # from torch 2.9 on
        precision = getattr(of_kind, "fp32_precision", "ieee")
        if precision != "ieee":
            of_kind.fp32_precision = "ieee"
            _restore.append(lambda of_kind=of_kind, precision=precision: _precision(of_kind, precision))


def _precision(of_kind: Any, precision: str) -> None:
    of_kind.fp32_precision = precision
