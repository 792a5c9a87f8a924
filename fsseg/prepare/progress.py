"""How far a long step is: a bar on a terminal, a line for every tenth elsewhere; and what the disk says."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fsseg import atomic

if TYPE_CHECKING:
    from rich.progress import Progress

_LINES = 10  # of a step without a terminal
_FEW = 100  # images or files; fewer take less than a second
_GIGA = 1e9
ROOM = "The same command goes on where it was."  # once there is room on the disk


class Told:
    """Tells of steps on standard error.

    Args:
        terminal: draw a bar; otherwise print lines. Asked of standard error where it is not given.
    """

    def __init__(self, terminal: bool | None = None) -> None:
        self.terminal = sys.stderr.isatty() if terminal is None else terminal

    @contextmanager
    def step(self, what: str, total: float, unit: str) -> Iterator["Step"]:
        """A step of known size: ``unit`` is ``GB`` for numbers of bytes, or what is counted."""
        step = Step(what, max(total, 1.0), unit, self._bar() if self.terminal else None)
        try:
            yield step
        finally:
            step.end()

    def say(self, what: str) -> None:
        """A line, if there is something to say."""
        if what:
            print(f"note: {what}", file=sys.stderr, flush=True)

    def _bar(self) -> "Progress":
        from rich.console import Console  # late, see `fsseg.datasets.images.status`
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[told]}"),
            TimeRemainingColumn(),
        ]
        return Progress(*columns, console=Console(stderr=True), transient=True)


class Step:
    """One step; see `Told.step`."""

    def __init__(self, what: str, total: float, unit: str, bar: "Progress | None") -> None:
        self.what, self.total, self.unit, self.bar = what, total, unit, bar
        self.done, self._tenths = 0.0, 0
        self._start = time.monotonic()
        if bar:
            self._task = bar.add_task(what, total=total, told="")
            bar.start()

    def to(self, done: float) -> None:
        """So much is done."""
        self.done = done
        if self.bar:
            self.bar.update(self._task, completed=done, told=self._told())
        elif (self.unit == "GB" or self.total >= _FEW) and (tenths := int(done * _LINES // self.total)) > self._tenths:
            self._tenths = tenths
            print(f"{self.what}: {self._told()}", file=sys.stderr, flush=True)

    def add(self, more: float) -> None:
        """So much more is done."""
        self.to(self.done + more)

    def _told(self) -> str:
        if self.unit != "GB":
            return f"{int(self.done):,} of {int(self.total):,} {self.unit}"
        speed = self.done / max(time.monotonic() - self._start, 1e-9)
        return f"{self.done / _GIGA:.2f} of {self.total / _GIGA:.2f} GB, {speed / 1e6:.1f} MB/s"

    def end(self) -> None:
        """Take the bar away."""
        if self.bar:
            self.bar.stop()


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """What the operating system refuses while a folder is written to, as one line.

    Raises:
        FssegError: in place of OSError.
    """
    try:
        yield
    except OSError as error:
        raise atomic.failure(error, error.filename or folder, ROOM) from error
