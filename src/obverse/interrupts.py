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


class Once:
    """Whether a signal is to be heard: not within GRACE of one that was."""

    def __init__(self) -> None:
        self._last = float("-inf")

    def __call__(self) -> bool:
        now = time.monotonic()
        heard = now - self._last >= GRACE
        if heard:
            self._last = now
        return heard


@contextmanager
def interrupts_raised_once() -> Iterator[None]:
    """Around a whole command. Handlers belong to the main thread: elsewhere nothing changes.

    A signal that is ignored from outside, as Ctrl-C is by what a shell runs in the background, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    once = Once()

    def handle(number: int, frame: object) -> None:
        if once():
            raise interrupt(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def ignore_interrupts() -> None:
    """From now on, in this process."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
