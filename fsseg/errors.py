"""The exceptions whose messages are written for users."""

from typing import ClassVar

# Exit codes of the command line: a fault, a user's mistake, a signal (128 plus its number), Ctrl-C.
FAILED, USAGE, SIGNALLED, INTERRUPTED = 1, 2, 128, 130


class FssegError(Exception):
    """A mistake that the user can fix: one line says what was given, what is needed and how to fix the mistake.

    The command line prints only the message and exits with the code of the class.
    """

    code: ClassVar[int] = USAGE


class DivergedError(FssegError):
    """Training diverged; its weights are not worth saving."""


class MachineError(FssegError):
    """A fault of the machine, e.g. a full disk; the same command can succeed once the fault is fixed."""

    code = FAILED


class UnreadableError(FssegError):
    """An image file or a mask file is missing or broken."""
