"""How far something is, on standard error: a bar on a terminal, a few plain lines in a log or a pipe.

rich is imported late: it asks typing for Union[float, int], and typing then gives that, order and all, to whoever asks
for Union[int, float]. Lightning does, and the command line would read --trainer.limit_test_batches 1 as 1.0, which
means all.
"""

import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
_LINES = 10  # of a step without a terminal
_FEW = 100  # items; counting fewer takes less than a second
_MANY = 1000  # files; reading fewer takes less than a second


def tell(line: str) -> None:
    """Print a line about progress, beside what a command prints as its result."""
    print(line, file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Whether a person watches."""
    return sys.stderr.isatty()


class Progress:
    """One long step; a context that takes the bar away at its end.

    Args:
        what: names the step.
        total: its size.
        unit: ``GB`` for numbers of bytes, or what is counted. Steps of few items print no lines.
        done: where it begins.
        shown: draw or print; another process does otherwise.
        terminal: draw a bar, or print a line for every tenth. Standard error decides where it is not given.
    """

    def __init__(
        self, what: str, total: float, unit: str = "", done: float = 0, shown: bool = True, terminal: bool | None = None
    ) -> None:
        self.what, self.total, self.unit, self.done = what, max(total, 1), unit, done
        self._lines = shown and (unit in ("", "GB") or total >= _FEW)
        self._begun, self._bar = time.monotonic(), None
        if shown and (on_terminal() if terminal is None else terminal):
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            texts = TextColumn("{task.description}"), TextColumn("{task.fields[amount]}")
            columns = (texts[0], BarColumn(), texts[1], TimeRemainingColumn())
            self._bar = Progress(*columns, console=_console(), transient=True)
            self._task = self._bar.add_task(what, total=self.total, completed=int(done), amount="")
            self._bar.start()

    @property
    def seconds(self) -> float:
        """Since the step began; never 0."""
        return max(time.monotonic() - self._begun, 1e-9)

    def to(self, done: float, words: str = "") -> None:
        """Show how much is done.

        Args:
            done: amount.
            words: that say so; amount and unit by default.
        """
        tenth = int(done * _LINES // self.total) > int(self.done * _LINES // self.total)
        self.done = done
        if self._bar:
            self._bar.update(self._task, completed=done, amount=words or self._amount())
        elif self._lines and tenth:
            tell(f"{self.what} {words or self._amount()}")

    def add(self, more: float) -> None:
        """Show that so much more is done."""
        self.to(self.done + more)

    def _amount(self) -> str:
        if self.unit != "GB":
            return f"{int(self.done):,} of {int(self.total):,} {self.unit}"
        speed = self.done / self.seconds / 1e6
        return f"{self.done / 1e9:.2f} of {self.total / 1e9:.2f} GB, {speed:.1f} MB/s"

    def end(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.end()


def tracked(items: Sequence[T], what: str) -> Iterable[T]:
    """The items, with a progress bar, or one line where there is no terminal, if they are many."""
    if len(items) < _MANY:
        return items
    if not on_terminal():
        tell(what)
        return items
    from rich.progress import track

    return track(items, what, console=_console(), transient=True)


def status(what: str) -> AbstractContextManager[object]:
    """A context that says what is being waited for."""
    if on_terminal():
        return _console().status(what)
    tell(what)
    return nullcontext()


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True)
