"""Ctrl-C and SIGTERM in a training: the step that it is in ends first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from obverse.interrupts import beginning, ending, heard, interrupt
from obverse.training.log import log


class Stopped(BaseException):
    """Ctrl-C or SIGTERM, at a place where all that a checkpoint holds is of one step."""


class Stop:
    """What the handler of signals leaves behind while it must not interrupt."""

    def __init__(self) -> None:
        self.asked = self.busy = False
        self.number = int(signal.SIGINT)

    def handle(self, number: int, frame: object) -> None:
        """The handler: end the step first; whoever asks a second time does not wait for it."""
        if not heard():  # the run is ending already
            return
        if self.busy and not self.asked:
            self.asked, self.number = True, number
            log("stopping after this step")
        elif self.busy:
            ending()
            raise interrupt(number)
        else:
            self.number = number
            ending()
            raise Stopped

    @contextmanager
    def put_off(self) -> Iterator[None]:
        """Around what must not be interrupted."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False

    def check(self) -> None:
        """Raise Stopped if a signal came meanwhile."""
        if self.asked:
            ending()
            raise Stopped


@contextmanager
def stopping() -> Iterator[Stop]:
    """Signals are put off to the end of a step. Handlers belong to the main thread: elsewhere nothing changes."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    beginning()
    before = {number: signal.signal(number, stop.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
