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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_lock = threading.Lock()
_within = 0  # threads, and their calls within calls
_restore: list[Callable[[], None]] = []


@contextmanager
def known_settings() -> Iterator[None]:
    """Run under the settings that codecs are made for: float32 as the default type, on the CPU, no autocast, float32
    products in full precision, no NNPACK. Nothing happens where torch was not imported, so nothing was set."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with ExitStack() as of_this_thread:
        if torch.is_autocast_enabled("cpu"):
            of_this_thread.enter_context(torch.autocast("cpu", enabled=False))
        if torch.get_default_device().type != "cpu":
            of_this_thread.enter_context(torch.device("cpu"))
        with of_the_process(torch):
            yield


@contextmanager
def of_the_process(torch: Any) -> Iterator[None]:
    """The part of `known_settings` that all threads share."""
    global _within
    with _lock:
        if _within == 0:
            _set(torch)
        _within += 1
    try:
        yield
    finally:
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
