"""The context in which a command runs: its configuration is checked, and errors of libraries become one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from fsseg.experiment.arguments import last
from fsseg.experiment.configuration import Configuration, read
from fsseg.runs import folders
from fsseg.runs.library_errors import plain_errors, quieten, restoring
from fsseg.runs.lock import locked
from fsseg.runs.resume import left_to_do


@contextmanager
def settled(command: str, words: Sequence[str]) -> Iterator[Configuration]:
    """The checked configuration of a command; errors of libraries in the body become one line.

    The folder of a resumed command is locked before its files are read.
    """
    quieten()
    resume, out = "--resume" in words, last(words, "--out")
    try:
        with plain_errors(), restoring(), locked(Path(out)) if resume and out else nullcontext():
            found = left_to_do(command, out, last(words, "--ckpt_path")) if resume else None
            yield read(command, words, found)
    finally:
        folders.forget()
