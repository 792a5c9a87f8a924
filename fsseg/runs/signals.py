"""Signals that ask a command to end: it stops where nothing is lost, says so, and exits with 128 + the signal's number.

SIGTERM comes from scancel, docker stop and kill, SIGHUP from a terminal that closes, SIGUSR1, SIGUSR2 and SIGXCPU from
batch systems shortly before the time of a job is over. Lightning would save a file of its own at SIGUSR1 and end with
exit code 0 at SIGTERM; it leaves SIGUSR1 to a handler that is there already, and `over_lightning` takes SIGTERM back.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from fsseg.errors import SIGNALLED
from fsseg.runs.ranks import leads

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU")
STOPPING = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))
_TOGETHER = 1.0  # seconds; timeout and srun send a signal to a process and to its group, which is one wish to stop


class Stopped(KeyboardInterrupt):
    """A signal, its argument, asks the command to end. Whatever a Ctrl-C may interrupt, any other signal may."""


class _Listener:
    """Receives the signals of one command."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None  # the first one
        self.gently: Callable[[], None] | None = None  # what the first one does in place of raising
        self._process, self._last = os.getpid(), 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a copy of the process, which is nobody's command
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        first, before, self._last = self.received is None, self._last, time.monotonic()
        if not first and self._last - before < _TOGETHER:
            return
        if first:
            self.received = signal.Signals(number)
            if self.gently is not None:
                self.gently()
                return
        raise Stopped(self.received)


_current: _Listener | None = None


@contextmanager
def listening() -> Iterator[None]:
    """Stop at a signal, by `Stopped`, while a command runs; what the process ignores (nohup) stays ignored."""
    global _current
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    outer, _current = _current, _Listener()
    replaced = {number: signal.getsignal(number) for number in STOPPING}
    ours = [number for number, handler in replaced.items() if handler not in (signal.SIG_IGN, None)]
    try:
        for number in ours:
            signal.signal(number, _current)
        yield
    finally:
        for number in ours:
            signal.signal(number, replaced[number])
        _current = outer


def over_lightning() -> None:
    """Take SIGTERM back from Lightning, whose handler broadcasts to other processes in the middle of their work."""
    if _current is not None and signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _current)


def gently(stop: Callable[[], None] | None) -> None:
    """Let the first signal do something in place of raising `Stopped`, until this is called with None."""
    if _current is not None:
        _current.gently = stop


def received() -> bool:
    """Whether the command is asked to end."""
    return _current is not None and _current.received is not None


def say_stopped(goes_on: bool) -> int:
    """Say that the command was stopped.

    Args:
        goes_on: whether the same command goes on where it was.

    Returns:
        its exit code.
    """
    number = _current.received if _current is not None and _current.received else signal.SIGINT
    said = "" if number == signal.SIGINT else f" The signal was {number.name}."
    if leads():
        print(f"fsseg: stopped.{said}{' The same command goes on from there.' if goes_on else ''}", file=sys.stderr)
    return SIGNALLED + number
