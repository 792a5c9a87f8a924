"""Tests of one checkpoint under several protocols, or on several data sets: a refused one does not lose the others."""

from collections.abc import Sequence
from pathlib import Path

from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.experiment.session import settled
from fsseg.experiment.testing import evaluate
from fsseg.progress import as_shown
from fsseg.results.outcomes import Outcome


def outcome_of(name: str, words: Sequence[str]) -> Outcome:
    """Test with the words of a command line; a refused test gives the reason."""
    try:
        with settled("test", words) as c:
            return Outcome(name, evaluate(c, name).table)
    except FssegError as error:
        return Outcome(name, None, as_shown(str(error)))


def write(outcomes: Sequence[Outcome], folder: Path, name: str, texts: tuple[str, str, str]) -> None:
    """Print the common table, and write it beside the folders of the tests.

    Args:
        outcomes: outcomes of all tests.
        folder: folder of the tests' folders.
        name: name of the files.
        texts: the table for a terminal, as Markdown and as JSON.
    """
    shown, markdown, json = texts
    atomic.write_text(folder / f"{name}.md", markdown)
    atomic.write_text(folder / f"{name}.json", json)
    print(f"\n{as_shown(shown)}\n\n  table     {folder}/{name}.md  {name}.json")
    print(f"  each      {folder}/{{{','.join(o.name for o in outcomes if o.table)}}}/")
