"""The argument parser: jsonargparse's errors in one line that a person can act on."""

import re
from typing import NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from fsseg.errors import FssegError


class Parser(LightningArgumentParser):
    """LightningCLI's parser, raising `FssegError` instead of printing its usage."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error as one line."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise FssegError(one_line(message))


def one_line(message: str) -> str:
    """Jsonargparse's message without its line breaks and repetitions."""
    text = " ".join(message.split())
    return re.sub(r"^Parser key \"?(.+?)\"?: ", r"--\1: ", text)
