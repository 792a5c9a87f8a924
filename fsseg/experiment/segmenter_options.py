"""The segmenter that a command works with: from a checkpoint, or a method on an ImageNet encoder without training."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from fsseg import limits
from fsseg.errors import FssegError
from fsseg.experiment.files import find_experiment
from fsseg.experiment.home_paths import expand_configuration
from fsseg.experiment.parser import Parser, check_yaml
from fsseg.methods import Method
from fsseg.segmenter import Segmenter
from fsseg.untrusted.text import is_count, load_yaml

_DEFAULT: dict[str, Any] = {"class_path": "PANet", "init_args": {"encoder": {"class_path": "VGG16"}}}
_SIZE = 417  # PANet section 4.1


class Engine(NamedTuple):
    """A segmenter, and what a person is to be told of it."""

    segmenter: Segmenter
    described: str


def add_options(parser: Parser) -> None:
    """Options that choose the method, its weights, and the size at which pictures are shown to it."""
    parser.add_argument("--ckpt_path", type=str | None, default=None)
    parser.add_argument("--config", type=str | None, default=None)
    parser.add_subclass_arguments(Method, "model.method", required=False, default=_DEFAULT)
    parser.add_argument("--size", type=int | None, default=None)
    parser.add_argument("--long_side", "--long-side", type=int | None, default=None)
    parser.add_argument("--tile", type=int | None, default=None)
    parser.add_argument("--device", type=str | None, default=None)


def with_experiment(arguments: Sequence[str]) -> list[str]:
    """Arguments with the method of ``--config`` in front, so that other options win over it.

    Raises:
        FssegError: no such file, or it names no method.
    """
    flags = {word.partition("=")[0] for word in arguments}
    if "--ckpt_path" in flags and (named := sorted(flag for flag in flags if flag.startswith("--model"))):
        raise FssegError(f"--ckpt_path brings its method along: leave {named[0]} out.")
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--config=") else [word])]
    if "--config" not in words:
        return list(arguments)
    place = words.index("--config") + 1
    if place == len(words):
        raise FssegError("--config needs a file, e.g. --config experiments/panet_voc_1shot.yaml.")
    path = find_experiment(words[place])
    check_yaml(path)
    content = load_yaml(Path(path).read_text(encoding="utf-8"))
    method = (content.get("model") or {}).get("method")
    if method is None:
        raise FssegError(f"--config {path} names no model.method.")
    images = (content.get("data") or {}).get("images") or {}
    size = images.get("test_size") or images.get("size")
    asked = {word.partition("=")[0].replace("-", "_") for word in words}
    sized = [f"--size={size}"] if is_count(size) and not asked & {"__size", "__long_side", "__tile"} else []
    return [f"--model.method={json.dumps(method)}", *sized, *arguments]


def engine(given: Any, parser: Parser) -> Engine:
    """The segmenter that options ask for.

    Args:
        given: parsed options.
        parser: that parsed them.

    Raises:
        FssegError: options that exclude each other, or a checkpoint or weights that cannot be read.
    """
    sizes = {"square": given.size, "long_side": given.long_side, "tile": given.tile}
    asked = {fit: size for fit, size in sizes.items() if size is not None}
    if len(asked) > 1 and not (given.config and len(asked) == 2):
        raise FssegError("--size, --long-side and --tile are three ways to show a picture: one of them is needed.")
    limits.check(vars(given), dict.fromkeys(("size", "long_side", "tile"), limits.SIDE))
    if given.ckpt_path is None:
        expand_configuration(given.model.method)
        limits.check_classes(given.model.method, "--model.method")
        torch.manual_seed(0)  # where weights are random, the next command is to have the same
        method = parser.instantiate(given).model.method
        fit, size = next(iter(asked.items()), ("square", _SIZE))
        source = f"no checkpoint: {_origin(method.encoder.weights)}"
        made = Segmenter(method, size, fit, given.device)  # type: ignore[arg-type]
        return Engine(made, f"{method.name}  {method.encoder.name}  ({source})")
    if given.config is not None:
        raise FssegError("--ckpt_path brings its method along: leave --config out.")
    loaded = Segmenter.load(given.ckpt_path, given.device)
    if asked and loaded.classes:
        raise FssegError(f"{given.ckpt_path} has learnt at a size: leave --size, --long-side and --tile out.")
    for fit, size in asked.items():
        loaded = Segmenter(loaded.method, size, fit, given.device)  # type: ignore[arg-type]
    return Engine(loaded, f"{loaded.method.name}  {loaded.method.encoder.name}  {given.ckpt_path}")


def _origin(weights: str | None) -> str:
    """Where an encoder's weights are from, in words."""
    if weights in (None, "none"):
        return "weights at random, for trying things out only"
    named = "ImageNet weights" if weights == "imagenet" else f"weights of {weights}"
    return f"{named}, not trained for few-shot segmentation"
