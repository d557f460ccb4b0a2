"""Ctrl-C and SIGTERM: each is raised once, and what is cleaned up then is not disturbed by a second."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

GRACE = 2.0  # seconds in which a second signal is not heard: whoever presses Ctrl-C twice wants it once


class Terminated(KeyboardInterrupt):
    """SIGTERM: cleans up as Ctrl-C does, and is told apart at the end."""


def interrupt(number: int) -> type[KeyboardInterrupt]:
    """What a signal is raised as."""
    return Terminated if number == signal.SIGTERM else KeyboardInterrupt


_ends_since = float("-inf")  # when the last signal was raised


def beginning() -> None:
    """What a signal is to end begins."""
    global _ends_since
    _ends_since = float("-inf")


def ending() -> None:
    """A signal is raised: for a while others are not heard, so that what it ends can be cleaned up."""
    global _ends_since
    _ends_since = time.monotonic()


def heard() -> bool:
    """Whether a signal that comes now is to be raised."""
    return time.monotonic() - _ends_since >= GRACE


@contextmanager
def interrupts_raised_once() -> Iterator[None]:
    """Around a whole command. Handlers belong to the main thread: elsewhere nothing changes.

    A signal that is ignored from outside, as Ctrl-C is by what a shell runs in the background, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    beginning()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _raise(number: int, frame: object) -> None:
    if heard():
        ending()
        raise interrupt(number)


def ignore_interrupts() -> None:
    """From now on, in this process."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
