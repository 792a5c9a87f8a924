"""Option names as the command line writes them. The library names an argument `data.way`; its option is --data.way."""

import re

_NAMES = "out|ckpt_path|seed_everything|untrained|resume|config|size|way|shot"  # options without a section
_OPTION = re.compile(rf"`((?:data|model|trainer|protocol|checkpoint)(?:\.[^`]+)?|{_NAMES})`")


def with_dashes(text: str) -> str:
    """Replace each option name in backticks by the option; other words in backticks, e.g. commands, stay."""
    return _OPTION.sub(r"--\1", text)


def with_data_options(text: str) -> str:
    """Replace option names by those of `fsseg data` and `fsseg check`, whose options have no sections."""
    text = with_dashes(text).replace(
        "give --data.episodes.pairs any, or --protocol.pairs any in a test", "give --pairs any"
    )
    for known in ("--data.dataset.", "--protocol."):
        text = text.replace(known, "--")
    return text.replace("--data.root", "--root")
