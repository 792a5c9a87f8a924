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


class NoDownloadError(FssegError):
    """Weights cannot be downloaded."""


class TooFewImagesError(FssegError):
    """Classes have too few images for an episode.

    Args:
        lack: given and needed images, without a full stop.
        fix: how to fix the mistake, as a sentence.
        can_skip: whether enough classes have enough images, so that the others may be left out.
    """

    def __init__(self, lack: str, fix: str, can_skip: bool = False) -> None:
        super().__init__(f"{lack}. {fix}")
        self.lack, self.can_skip = lack, can_skip
