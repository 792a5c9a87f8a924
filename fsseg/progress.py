"""Progress on standard error: a bar on a terminal, a few plain lines in a log or a pipe.

rich is imported late. It creates Union[float, int], and typing's cache then returns this order for Lightning's
Union[int, float] too: the command line would read ``trainer.limit_test_batches`` 1 as 1.0, which means all batches.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
_LINES = 10  # lines per step without a terminal
_FEW = 100  # items; fewer take less than a second and print no lines
_SMALL = 1e9  # bytes; smaller steps are shown in MB
_MANY = 1000  # files; reading fewer takes less than a second


_change: Callable[[str], str] = str  # see `shown_by`


@contextmanager
def shown_by(change: Callable[[str], str]) -> Iterator[None]:
    """Change all shown texts in the body, e.g. to the option names of the command line."""
    global _change
    before, _change = _change, change
    try:
        yield
    finally:
        _change = before


def as_shown(text: str) -> str:
    """A text as it is shown, see `shown_by`."""
    return _change(text)


def tell(line: str) -> None:
    """Print a line about progress to standard error; results go to standard output."""
    print(as_shown(line), file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Whether standard error is a terminal."""
    return sys.stderr.isatty()


class Progress:
    """Progress of one long step; a context manager that removes the bar at its end.

    Args:
        what: name of the step.
        total: size of the step.
        unit: ``GB`` for bytes, or the plural of the counted items. Steps with fewer than 100 items print no lines.
        done: amount done at the start.
        shown: draw or print; False in processes that stay silent.
        terminal: whether to draw a bar or to print a line per tenth; by default a terminal gets a bar.
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
        """Seconds since the start of the step; never 0."""
        return max(time.monotonic() - self._begun, 1e-9)

    def to(self, done: float, words: str = "") -> None:
        """Show the amount done.

        Args:
            done: amount done.
            words: text to show; amount and unit by default.
        """
        tenth = int(done * _LINES // self.total) > int(self.done * _LINES // self.total)
        self.done = done
        if self._bar:
            self._bar.update(self._task, completed=done, amount=words or self._amount())
        elif self._lines and tenth:
            tell(f"{self.what} {words or self._amount()}")

    def add(self, more: float) -> None:
        """Add to the amount done."""
        self.to(self.done + more)

    def _amount(self) -> str:
        if self.unit != "GB":
            return f"{int(self.done):,} of {int(self.total):,} {self.unit}"
        speed = self.done / self.seconds / 1e6
        if self.total < _SMALL:
            return f"{self.done / 1e6:.1f} of {self.total / 1e6:.1f} MB, {speed:.1f} MB/s"
        return f"{self.done / 1e9:.2f} of {self.total / 1e9:.2f} GB, {speed:.1f} MB/s"

    def end(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.end()


def tracked(items: Sequence[T], what: str) -> Iterable[T]:
    """The items, with a progress bar (one line without a terminal) if there are many."""
    if len(items) < _MANY:
        return items
    if not on_terminal():
        tell(what)
        return items
    from rich.progress import track

    return track(items, what, console=_console(), transient=True)


def status(what: str) -> AbstractContextManager[object]:
    """A context manager that shows what the command is waiting for."""
    if on_terminal():
        return _console().status(what)
    tell(what)
    return nullcontext()


def _console() -> "Console":
    from rich.console import Console

    return Console(stderr=True)
