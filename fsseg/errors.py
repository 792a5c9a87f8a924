"""The exceptions that a person is meant to read."""

from typing import ClassVar

# Exit codes of the command line: of a fault, of a mistake of the user's, of a signal (plus its number), of Ctrl-C.
FAILED, USAGE, SIGNALLED, INTERRUPTED = 1, 2, 128, 130


class FssegError(Exception):
    """A mistake a user can mend: the message says what was given, what is needed and how to mend it, in one line.

    The command line prints the message alone and exits with the class's code.
    """

    code: ClassVar[int] = USAGE


class DivergedError(FssegError):
    """Training has gone wrong, so that what it has made of the weights is not worth keeping."""


class MachineError(FssegError):
    """A fault of the machine and nobody's mistake, e.g. a full disk; the same command may well do when it is mended."""

    code = FAILED


class UnreadableError(FssegError):
    """A file of an image or a mask is missing or broken."""
