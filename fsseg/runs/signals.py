"""Signals that stop a command: the command saves its work, prints a line, and exits with 128 + the signal's number.

scancel, docker stop and kill send SIGTERM. A closing terminal sends SIGHUP. Batch systems send SIGUSR1, SIGUSR2 or
SIGXCPU shortly before the end of a job's time. Lightning would save its own file at SIGUSR1 and exit with code 0 at
SIGTERM. Lightning does not replace an existing handler of SIGUSR1, and `over_lightning` restores ours of SIGTERM.
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
_TOGETHER = 1.0  # seconds; timeout and srun send one signal twice, to the process and to its group


class Stopped(KeyboardInterrupt):
    """A signal, its argument, stops the command; a KeyboardInterrupt, so that every signal acts like Ctrl-C."""


class _Listener:
    """Receives the signals of one command."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None  # the first one
        self.gently: Callable[[], None] | None = None  # called by the first signal in place of raising
        self._process, self._last = os.getpid(), 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a forked process, which runs no command
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
    """Raise `Stopped` at a signal while a command runs; ignored signals (nohup) stay ignored."""
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
    """Restore our handler of SIGTERM: Lightning's handler communicates with processes that may be computing."""
    if _current is not None and signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _current)


def gently(stop: Callable[[], None] | None) -> None:
    """Call ``stop`` at the first signal in place of raising `Stopped`; None restores the default."""
    if _current is not None:
        _current.gently = stop


def received() -> bool:
    """Whether the command has received a signal."""
    return _current is not None and _current.received is not None


def say_stopped(resumes: bool) -> int:
    """Print that the command was stopped.

    Args:
        resumes: Whether the same command resumes its work.

    Returns:
        The exit code.
    """
    number = _current.received if _current is not None and _current.received else signal.SIGINT
    name = "" if number == signal.SIGINT else f" The signal was {number.name}."
    if leads():
        print(f"fsseg: stopped.{name}{' The same command resumes there.' if resumes else ''}", file=sys.stderr)
    return SIGNALLED + number
