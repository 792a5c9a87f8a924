"""Help of class options: lists the classes, or completes the words that jsonargparse's help of one class needs."""

import inspect
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fsseg.datasets.base import Dataset
from fsseg.encoders import NAMES, Encoder
from fsseg.experiment.arguments import flags
from fsseg.experiment.option_errors import below
from fsseg.methods import Method

_ENCODER = "--model.method.encoder.help"
_BASES: dict[str, Any] = {"--model.method.help": Method, _ENCODER: Encoder, "--data.dataset.help": Dataset}


def listing(words: Sequence[str]) -> str | None:
    """The classes of an option whose help is asked for without a class; None if no such help is asked for."""
    asked = [word for word, then in pairwise([*words, "--"]) if word in _BASES and then.startswith("--")]
    if not asked:
        return None
    option = asked[0].removesuffix(".help")
    kinds = sorted({kind.__name__: kind for kind in below(_BASES[asked[0]])}.items())
    width = max(len(name) for name, _ in kinds)
    lines = [f"  {name:{width}}  {(inspect.getdoc(kind) or '').partition(chr(10))[0]}" for name, kind in kinds]
    names = [f"\nand by name, with their arguments: {', '.join(NAMES)}"] if asked[0] == _ENCODER else []
    more = [f"\noptions of one: {option}.help {kinds[0][0]}    your own: {option} MODULE.CLASS"]
    return "\n".join([f"{option}:", *lines, *names, *more])


def with_method(words: Sequence[str], configured: bool) -> list[str]:
    """Words with a method in front if they ask for the help of an encoder and nothing names a method."""
    needed = _ENCODER in flags(words) and not configured and "--model.method" not in flags(words)
    return ["--model.method=PANet", *words] if needed else [*words]
