"""Option names as the command line writes them. The library names an argument `data.way`; its option is --data.way."""

import re

_NAMES = "out|ckpt_path|seed_everything|untrained|resume|config|size|way|shot"  # options without a section
_OPTION = re.compile(rf"`((?:data|model|trainer|protocol|checkpoint)(?:\.[^`]+)?|{_NAMES})`")


def with_dashes(text: str) -> str:
    """Replace each option name in backticks by the option; other words in backticks, e.g. commands, stay."""
    return _OPTION.sub(r"--\1", text)
