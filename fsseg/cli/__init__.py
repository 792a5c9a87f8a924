"""The command line. Nothing here imports torch before a command needs it."""

import logging
import os
import re
import sys
from collections.abc import Sequence

from fsseg import __version__
from fsseg.cli.dashes import with_dashes
from fsseg.cli.help import BARE, COMMANDS, GROUPS, OTHERS, check_action, command_help, group_help, module_of, overview
from fsseg.errors import FAILED, SIGNALLED, FssegError
from fsseg.experiment import option_names
from fsseg.experiment.files import did_you_mean
from fsseg.experiment.home_paths import expand_arguments
from fsseg.machine_errors import machine_error, reader_has_gone
from fsseg.progress import as_shown, shown_by
from fsseg.runs.ranks import leads
from fsseg.runs.signals import listening, received, say_stopped

_SIGPIPE = 13  # a constant, because Windows has no SIGPIPE; with pipefail, a shell sees that the output is cut
# Commands that resume when they are given again; fit and test print how.
_RESUMING = ("predict", "benchmark", "sweep", "prepare", "fetch")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Errors are one line on standard error. The exit code is 2 for a wrong input, 1 for an error of the machine, and 128
    plus the signal's number for a signal.
    """
    arguments = expand_arguments(sys.argv[1:] if argv is None else argv)
    _replace_characters()
    _print_log()
    with listening(), shown_by(with_dashes):
        try:
            code = _run(arguments)
        except BaseException as error:
            if not (received() or isinstance(error, KeyboardInterrupt)):
                raise
        else:
            if not received():
                return code
        return say_stopped(resumes=bool(set(arguments[:2]) & set(_RESUMING)))


def _replace_characters() -> None:
    """Print ``?`` for characters that the terminal's encoding lacks; standard error escapes them by default."""
    if reconfigure := getattr(sys.stdout, "reconfigure", None):
        reconfigure(errors="replace")


class _Lines(logging.Handler):
    """Prints log messages on standard error; a warning gets the prefix ``note:``."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line on the present standard error, which a test may replace.

        A record with the attribute ``of_each_process`` is printed by the first process only.
        """
        if getattr(record, "of_each_process", False) and not leads():
            return
        note = "note: " if record.levelno >= logging.WARNING else ""
        print(f"{note}{as_shown(record.getMessage())}", file=sys.stderr, flush=True)


def _print_log() -> None:
    """Print the library's log on standard error once, independent of other packages' handlers."""
    log = logging.getLogger("fsseg")
    log.handlers, log.propagate = [_Lines()], False
    log.setLevel(logging.INFO)


def _run(arguments: list[str]) -> int:
    try:
        return _dispatch(arguments)
    except SystemExit as end:  # of the parser after --print_config and --help_all; of Lightning after Ctrl-C
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from end
        return int(end.code or 0)
    except Exception as error:
        if reader_has_gone(error):
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the interpreter's last flush
            return SIGNALLED + _SIGPIPE
        if received():
            return FAILED
        refused = error if isinstance(error, FssegError) else machine_error(error)
        if refused is None:
            raise
        return _refuse(refused)


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"fsseg {__version__}")
        return 0
    command = arguments[0]
    if command in GROUPS:
        return _run_group(command, arguments[1:])
    if command not in COMMANDS or " " in command:
        raise FssegError(f"no command {command!r}.{did_you_mean(command, COMMANDS)} Commands: {', '.join(COMMANDS)}.")
    if {"-h", "--help"} & set(arguments) or (command in OTHERS and command not in BARE and len(arguments) == 1):
        print(command_help(command))
        return 0
    if command in OTHERS:
        code: int = module_of(command).run(arguments[1:])
        return code
    option_names.refuse_unknown(arguments)
    from fsseg.experiment.commands import run

    return run(_with_all_help(arguments))


def _run_group(group: str, arguments: list[str]) -> int:
    if not arguments or {"-h", "--help"} & set(arguments):
        print(group_help(group, arguments))
        return 0
    check_action(group, arguments[0])
    code: int = module_of(group).run(_with_all_help(arguments))
    return code


def _with_all_help(arguments: list[str]) -> list[str]:
    """Words for the parser, whose own ``--help`` lists all options."""
    return ["--help" if word == "--help_all" else word for word in arguments]


def _refuse(error: FssegError) -> int:
    from fsseg.untrusted.text import shown

    message = str(error)
    # The error of a data loader's worker is part of the text of a traceback.
    if "Original Traceback" in message:
        message = re.split(r"fsseg\.errors\.\w+: ", message.rstrip())[-1]
    print(f"fsseg: {shown(as_shown(message))}", file=sys.stderr)  # one line, even if a file's content is in the message
    return error.code
