"""The segmenter that a command works with: from a checkpoint, or a method on an ImageNet encoder without training."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from fsseg import limits
from fsseg.errors import FssegError
from fsseg.experiment.files import find_experiment
from fsseg.experiment.home_paths import expand_configuration
from fsseg.experiment.parser import Parser, check_yaml
from fsseg.methods import Method
from fsseg.segmenter import Segmenter
from fsseg.untrusted.text import is_count

_DEFAULT: dict[str, Any] = {"class_path": "PANet", "init_args": {"encoder": {"class_path": "VGG16"}}}
_SIZE = 417  # PANet section 4.1


class Engine(NamedTuple):
    """A segmenter, and what a person is to be told of it."""

    segmenter: Segmenter
    described: str


class Chosen(NamedTuple):
    """The method that options choose.

    Attributes:
        parser: that read the options.
        config: their values, as ``config.model.method``.
    """

    parser: Parser
    config: Any


def read_method(given: Any, words: Sequence[str]) -> Chosen:
    """Read the options ``--model.method``; those of ``--config`` come first, so that the others win over them.

    Args:
        given: the other options; the experiment's size is taken where they have none.
        words: the options of the method.

    Raises:
        FssegError: one is wrong, there is no such experiment, or it names no method.
    """
    if given.ckpt_path and words:
        raise FssegError(f"--ckpt_path brings its method along: leave {words[0].partition('=')[0]} out.")
    stored = None
    if given.config:
        path = find_experiment(given.config)
        content = check_yaml(path)
        method = (content.get("model") or {}).get("method")
        if method is None:
            raise FssegError(f"--config {path} names no model.method.")
        stored = {"model": {"method": method}}
        images = (content.get("data") or {}).get("images") or {}
        size = images.get("test_size") or images.get("size")
        if is_count(size) and not _sizes(given):
            given.size = size
    parser = Parser(allow_abbrev=False)
    parser.add_subclass_arguments(Method, "model.method", required=False, default=_DEFAULT)
    return Chosen(parser, parser.parse_args(words, stored=stored))


def _sizes(given: Any) -> dict[str, int]:
    """The sizes that are asked for, by the way that an image is fitted to one."""
    sizes = {"square": given.size, "long_side": given.long_side, "tile": getattr(given, "tile", None)}
    return {fit: size for fit, size in sizes.items() if size is not None}


def engine(given: Any, chosen: Chosen) -> Engine:
    """The segmenter that options ask for.

    Args:
        given: the other options.
        chosen: the method, where no checkpoint brings one.

    Raises:
        FssegError: options that exclude each other, or a checkpoint or weights that cannot be read.
    """
    asked = _sizes(given)
    if len(asked) > 1:
        raise FssegError("--size, --long_side and --tile are three ways to show a picture: one of them is needed.")
    limits.check(vars(given), dict.fromkeys(("size", "long_side", "tile"), limits.SIDE))
    if given.ckpt_path is None:
        expand_configuration(chosen.config.model.method)
        limits.check_classes(chosen.config.model.method, "--model.method")
        torch.manual_seed(0)  # where weights are random, the next command is to have the same
        method = chosen.parser.instantiate(chosen.config).model.method
        fit, size = next(iter(asked.items()), ("square", _SIZE))
        source = f"no checkpoint: {_origin(method.encoder.weights)}"
        made = Segmenter(method, size, fit, given.device)  # type: ignore[arg-type]
        return Engine(made, f"{method.name}  {method.encoder.name}  ({source})")
    if given.config is not None:
        raise FssegError("--ckpt_path brings its method along: leave --config out.")
    loaded = Segmenter.load(given.ckpt_path, given.device)
    if asked and loaded.classes:
        raise FssegError(f"{given.ckpt_path} has learnt at a size: leave --size, --long_side and --tile out.")
    for fit, size in asked.items():
        loaded = Segmenter(loaded.method, size, fit, given.device)  # type: ignore[arg-type]
    return Engine(loaded, f"{loaded.method.name}  {loaded.method.encoder.name}  {given.ckpt_path}")


def _origin(weights: str | None) -> str:
    """Where an encoder's weights are from, in words."""
    if weights in (None, "none"):
        return "weights at random, for trying things out only"
    named = "ImageNet weights" if weights == "imagenet" else f"weights of {weights}"
    return f"{named}, not trained for few-shot segmentation"
