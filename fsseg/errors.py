"""The one exception that a person is meant to read."""


class FssegError(Exception):
    """A mistake a user can mend: the message says what was given, what is needed and how to mend it, in one line.

    The command line prints the message alone and exits with code 2.
    """


class DivergedError(FssegError):
    """Training has gone wrong, so that what it has made of the weights is not worth keeping."""


FAILED, USAGE, INTERRUPTED = 1, 2, 130  # exit codes of the command line: of jobs, a mistake of the user's, Ctrl-C
