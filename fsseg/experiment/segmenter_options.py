"""Builds the segmenter of a command: from a checkpoint, or an untrained method with an ImageNet encoder."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from fsseg import limits
from fsseg.encoders.names import NAMES
from fsseg.errors import FssegError
from fsseg.experiment.arguments import flag
from fsseg.experiment.files import find_experiment
from fsseg.experiment.home_paths import expand_configuration
from fsseg.experiment.parser import Parser, check_yaml
from fsseg.methods import Method
from fsseg.segmenter import Segmenter
from fsseg.segmenter.default_method import ENCODER, SIZE, SMALLER, default_method
from fsseg.untrusted.text import is_count


def _default() -> dict[str, Any]:
    """The method without options: the best one without training in docs/10-your-own-pictures.md."""
    named = NAMES[ENCODER]
    built = {"class_path": named.kind.__name__, "init_args": dict(named.arguments)}
    return {"class_path": "KernelDensityRatio", "init_args": {"encoder": built}}


class Engine(NamedTuple):
    """A segmenter and its description for the terminal."""

    segmenter: Segmenter
    described: str


class Chosen(NamedTuple):
    """The method that options choose.

    Attributes:
        parser: Parser of the options.
        config: Values of the options, as ``config.model.method``.
        is_default: Whether no option chooses a method or an encoder.
    """

    parser: Parser
    config: Any
    is_default: bool


def read_method(given: Any, words: Sequence[str]) -> Chosen:
    """Read the options ``--model.method``, which override the method of ``--config``.

    Args:
        given: The other options; they get the experiment's image size if they have none.
        words: Words of the options of the method.

    Raises:
        FssegError: An option is wrong, or the experiment is missing or names no method.
    """
    of_encoder = {"--encoder": given.encoder, "--encoder_weights": given.encoder_weights}
    asked = [option for option, value in of_encoder.items() if value is not None]
    if given.ckpt_path and (asked or words):
        raise FssegError(f"--ckpt_path decides the method: leave {flag((*asked, *words)[0])} out.")
    names = ("--model.method.encoder", "--model.method.encoder.weights")
    short = [word for name, value in zip(names, of_encoder.values(), strict=True) if value for word in (name, value)]
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
    parser.add_subclass_arguments(Method, "model.method", required=False, default=_default())
    every = [*short, *words]
    return Chosen(parser, parser.parse_args(every, stored=stored), not (every or stored or given.ckpt_path))


def _sizes(given: Any) -> dict[str, int]:
    """The given sizes by the way in which images are resized."""
    sizes = {"square": given.size, "long_side": given.long_side, "tile": getattr(given, "tile", None)}
    return {fit: size for fit, size in sizes.items() if size is not None}


def engine(given: Any, chosen: Chosen) -> Engine:
    """Build the segmenter.

    Args:
        given: The options that are not the method's.
        chosen: The method that is used without a checkpoint.

    Raises:
        FssegError: Options exclude each other, or a checkpoint or weights cannot be read.
    """
    asked = _sizes(given)
    if len(asked) > 1:
        raise FssegError("--size, --long_side and --tile are three ways to resize an image: give one of them.")
    limits.check(vars(given), dict.fromkeys(("size", "long_side", "tile"), limits.SIDE), "--{}")
    if given.ckpt_path is None:
        expand_configuration(chosen.config.model.method)
        limits.check_arguments(chosen.config.model.method, "model.method")
        torch.manual_seed(0)  # random weights are the same in each command
        method = _built(chosen)
        fit, size = next(iter(asked.items()), ("square", SIZE))
        source = f"no checkpoint: {_origin(method.encoder.weights)}"
        made = Segmenter(method, size, fit, given.device, not given.no_refine, given.thorough)  # type: ignore[arg-type]
        return Engine(made, f"{method.name}  {method.encoder.name}  ({source})")
    if given.config is not None:
        raise FssegError("--ckpt_path decides the method: leave --config out.")
    loaded = Segmenter.load(given.ckpt_path, given.device)
    if asked and loaded.classes:
        raise FssegError(f"{given.ckpt_path} has supports of a fixed size: leave --size, --long_side and --tile out.")
    for fit, size in asked.items():
        loaded = Segmenter(loaded.method, size, fit, given.device)  # type: ignore[arg-type]
    loaded.refine, loaded.thorough = not given.no_refine, given.thorough
    return Engine(loaded, f"{loaded.method.name}  {loaded.method.encoder.name}  {given.ckpt_path}")


def _built(chosen: Chosen) -> Method:
    """The method; the default one has a smaller encoder if its own cannot be downloaded."""
    if not chosen.is_default:
        method: Method = chosen.parser.instantiate(chosen.config).model.method
        return method
    return default_method(f"--encoder {SMALLER} --encoder_weights FILE")


def _origin(weights: str | None) -> str:
    """Description of the source of an encoder's weights."""
    if weights in (None, "none"):
        return "random weights, for trials only"
    named = "pretrained weights" if weights == "pretrained" else f"weights of {weights}"
    return f"{named}, not trained for few-shot segmentation"
