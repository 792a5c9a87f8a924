"""The command line. Nothing here imports torch before a command needs it."""

import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module

from fsseg import __version__
from fsseg.cli.help import (
    BARE,
    COMMANDS,
    DATA_COMMANDS,
    OTHERS,
    check_data_command,
    command_help,
    data_help,
    did_you_mean,
    find_experiment,
    overview,
)
from fsseg.errors import INTERRUPTED, FssegError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; a mistake of the user's is one line on standard error and exit code 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(arguments)
    except FssegError as error:
        return _refuse(error)
    except SystemExit as end:  # the parser's, after --print_config and --help-all; Lightning's, after Ctrl-C
        if not isinstance(end.__context__, KeyboardInterrupt):
            return int(end.code or 0)
        print("fsseg: stopped.", file=sys.stderr)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("fsseg: stopped.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of `fsseg --help | head` has gone
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the interpreter's last flush
        return 0


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"fsseg {__version__}")
        return 0
    command = arguments[0]
    if command == "data":
        return _run_data(arguments[1:])
    if command not in COMMANDS:
        known = [*COMMANDS, *DATA_COMMANDS]
        raise FssegError(f"no command {command!r}.{did_you_mean(command, known)} Commands: {', '.join(known)}.")
    if {"-h", "--help"} & set(arguments) or (command in OTHERS and command not in BARE and len(arguments) == 1):
        print(command_help(command))
        return 0
    if command in OTHERS:
        code: int = import_module(f"fsseg.cli.{command}").run(arguments[1:])
        return code
    from fsseg.cli.commands import run

    return run(arrange(arguments))


def _run_data(arguments: list[str]) -> int:
    if not arguments or {"-h", "--help"} & set(arguments):
        print(data_help())
        return 0
    check_data_command(arguments[0])
    from fsseg.cli.data import run

    return run(arrange(arguments))


def arrange(arguments: list[str]) -> list[str]:
    """Configuration files first, since a file read after a flag would silently win over it."""
    command, *rest = ["--help" if a == "--help-all" else a for a in arguments]
    files, flags, position = [], [], 0
    while position < len(rest):
        word = rest[position]
        name, _, value = word.partition("=")
        if name not in ("-c", "--config"):
            flags.append(word)
        elif "=" in word:
            files += ["--config", find_experiment(value)]
        else:
            if position + 1 == len(rest):
                raise FssegError("--config needs a file, e.g. --config experiments/quickstart.yaml.")
            position += 1
            files += ["--config", find_experiment(rest[position])]
        position += 1
    return [command, *files, *flags]


def _refuse(error: FssegError) -> int:
    from fsseg.safe import shown

    message = str(error)
    # An error in a data loader's worker arrives inside the text of its traceback.
    if "Original Traceback" in message:
        message = re.split(r"fsseg\.errors\.\w+: ", message.rstrip())[-1]
    print(f"fsseg: {shown(message)}", file=sys.stderr)  # on one line, whatever a file had in it
    return error.code
