"""Worker processes: each does one piece of work after the other, with one thread and what it needs loaded once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar, cast

from obverse.interrupts import interrupts_raised_once
from obverse.threads import ONE_THREAD, PASSIVE

Work = TypeVar("Work")
Result = TypeVar("Result")

PATIENCE = 5.0  # seconds that workers which are told to end have for what they clean up


class WorkerDied(Exception):
    """A worker ended in the middle of its work: the system killed it."""


class Workers(Generic[Work, Result]):
    """Processes that call one function.

    They end when this process does, however that ends. Ctrl-C is heard by this process alone, which ends them.

    Args:
        do: called in the workers, where it comes by pickling. It raises nothing.
        count: of processes.
        modules: imported once for all of them, where the system can fork a process that has no threads.
    """

    def __init__(self, do: Callable[[Work], Result], count: int, modules: Sequence[str] = ()):
        self._do, self._count = do, count
        forks = "forkserver" in multiprocessing.get_all_start_methods()
        self._context: Any = multiprocessing.get_context("forkserver" if forks else "spawn")
        if forks:
            self._context.set_forkserver_preload([__name__, *modules])
        self._busy: dict[Connection, tuple[BaseProcess, int]] = {}
        self._processes: list[BaseProcess] = []

    def results(self, work: Sequence[Work]) -> Generator[tuple[int, Result | WorkerDied], None, None]:
        """(number of the work, what `do` returned) in the order in which they are done.

        The workers are ended when this is, whatever ends it.
        """
        left = iter(range(len(work)))
        try:
            for number in [next(left) for _ in range(min(self._count, len(work)))]:
                self._give(*self._start(), number, work[number])
            while self._busy:
                for connection in cast("list[Connection]", wait([*self._busy])):
                    process, number = self._busy.pop(connection)
                    result: Result | WorkerDied
                    try:
                        result = connection.recv()
                    except (EOFError, OSError):
                        process.join()
                        result = WorkerDied(_how(process.exitcode))
                    following = next(left, None)
                    if following is None:
                        connection.close()  # which ends the worker
                    elif isinstance(result, WorkerDied):
                        connection.close()
                        self._give(*self._start(), following, work[following])
                    else:
                        self._give(connection, process, following, work[following])
                    yield number, result
        finally:
            self._end()

    def _start(self) -> tuple[Connection, BaseProcess]:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there, self._do), daemon=True)
        with (
            _environment(ONE_THREAD | PASSIVE),
            _interrupt_blocked(),
        ):  # both are the worker's from its first moment
            process.start()
        there.close()
        self._processes.append(process)
        return here, process

    def _give(self, connection: Connection, process: BaseProcess, number: int, work: Work) -> None:
        self._busy[connection] = process, number
        with suppress(OSError):  # it has died: that is found when its result is awaited
            connection.send(work)

    def _end(self) -> None:
        for connection, (process, _) in self._busy.items():
            process.terminate()
            connection.close()
        deadline = time.monotonic() + PATIENCE
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


def _serve(connection: Connection, do: Callable[[Any], Any]) -> None:
    """What a worker does until nobody gives it work, or SIGTERM."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal sends Ctrl-C to all; who started this one ends it
    with suppress(EOFError, OSError, KeyboardInterrupt), interrupts_raised_once():
        while True:
            connection.send(do(connection.recv()))


def _how(exit_code: int | None) -> str:
    """In words."""
    if exit_code is not None and exit_code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


@contextmanager
def _interrupt_blocked() -> Iterator[None]:
    """Ctrl-C is put off here, and never heard by processes that are started meanwhile, which inherit that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which lets it through again when it starts a process of its own
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """What processes that are started meanwhile have."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
