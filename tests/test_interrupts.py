"""Signals are raised once, and told apart."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from obverse import interrupts
from obverse.interrupts import Terminated, ending, heard, interrupts_raised_once


def test_each_signal_is_its_own_error_and_a_second_one_is_not_heard() -> None:
    for number, kind in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)):
        before = signal.getsignal(number)
        cleaned = False
        with interrupts_raised_once():
            signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))  # ignored in a shell's background
            with pytest.raises(kind) as stopped:
                try:
                    os.kill(os.getpid(), number)
                finally:
                    os.kill(os.getpid(), number)
                    cleaned = True
        assert cleaned and type(stopped.value) is kind
        assert signal.getsignal(number) is before


def test_after_the_grace_signals_are_heard_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(interrupts.time, "monotonic", lambda: now[0])
    with interrupts_raised_once():
        assert heard()
        ending()
        assert not heard()
        now[0] += interrupts.GRACE
        assert heard()
        ending()
    with interrupts_raised_once():  # another command
        assert heard()


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts_raised_once():
            os.kill(os.getpid(), signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_change_nothing() -> None:
    seen = []

    def work() -> None:
        with interrupts_raised_once():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
