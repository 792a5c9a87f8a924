"""Flags of a command line, before the parser reads it."""

from fsseg.errors import FssegError


def value_of(arguments: list[str], name: str) -> str | None:
    """Value of a flag, in either form, the last one given."""
    return without(arguments, name)[1]


def without(arguments: list[str], name: str) -> tuple[list[str], str | None]:
    """The arguments without a flag, and its value, the last one given; None where it is not."""
    kept, value, position = [], None, 0
    while position < len(arguments):
        word = arguments[position]
        if word.startswith(f"{name}="):
            value = word.partition("=")[2]
        elif word == name and position + 1 < len(arguments):
            position += 1
            value = arguments[position]
        elif word == name:
            raise FssegError(f"{name} needs a value.")
        else:
            kept.append(word)
        position += 1
    return kept, value
