"""Files of segmenters, and segmenters from checkpoints.

Both files may be untrusted: they are read as data and build known classes only.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor, nn

from fsseg import atomic
from fsseg.encoders.base import Encoder, given_arguments
from fsseg.encoders.weights import without_pretrained_weights
from fsseg.errors import FssegError
from fsseg.methods.base import Method
from fsseg.segmenter.segmenter import Segmenter
from fsseg.segmenter.state import SegmenterState, changed, labels_of
from fsseg.segmenter.support_state import Support
from fsseg.segmenter.tiling import Canvas, Fit
from fsseg.untrusted import configuration
from fsseg.untrusted.card import checked, refuse_bomb
from fsseg.untrusted.text import is_count, is_line, shown

ENDING = ".fsseg"  # of files that `save` may overwrite
_VERSION = 1
_PLAIN = (bool, int, float, str, type(None))
_DEFAULT = 417  # pixels of a side, for a method that was trained at original sizes (PANet, section 4.1: 417)
_PREFIX = "method."  # of the method's tensors in a checkpoint


def save(segmenter: Segmenter, path: Path) -> None:
    """Write a segmenter to a file, atomically.

    Raises:
        FssegError: there are no classes, an argument of the method cannot be stored, or the file cannot be written.
    """
    check_place(path)
    content = content_of(segmenter)
    atomic.make_folder(path.parent)
    atomic.save(path, partial(torch.save, content))


def content_of(segmenter: Segmenter) -> dict[str, Any]:
    """What a file of `save` holds.

    Raises:
        FssegError: there are no classes, or an argument of the method cannot be stored.
    """
    state, number = segmenter.known
    if not state.names:
        raise FssegError("there are no classes to save: call learn(images, masks) first.")
    return {
        "fsseg_segmenter": _VERSION,
        "config": yaml.safe_dump({"model": {"method": description(segmenter.method)}}, sort_keys=False),
        "canvas": list(segmenter.canvas),
        "refine": segmenter.refine,
        "state_dict": segmenter.method.state_dict(),
        "classes": list(state.classes),
        "supports": {n: [list(s.feature), s.mask, list(s.size), s.image] for n, s in state.supports.items()},
        "next": number,
    }


def check_place(path: Path) -> None:
    """Refuse a path that `save` would refuse.

    Raises:
        FssegError: the path is a folder, or another file.
    """
    if not path.name or path.is_dir() or (path.exists() and path.suffix != ENDING):
        raise FssegError(f"{path} is no place to save to: give a new file, or one that ends with {ENDING}.")


def load(path: Path, device: str | torch.device | None) -> Segmenter:
    """A segmenter from a file of `save`, or one without classes from a checkpoint of `fsseg fit`.

    Raises:
        FssegError: the file is neither, or is broken.
    """
    content = _read(path)
    if not (isinstance(content, dict) and "fsseg_segmenter" in content):
        return of_checkpoint(path, content, device)
    _check_complete(path, content)
    method = _made(path, content["config"], content["state_dict"])
    try:
        refine = content.get("refine", False) is True
        segmenter = Segmenter(method, *Canvas(*content["canvas"]).checked(), device, refine)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise FssegError(f"{path} is a broken file of a segmenter: {shown(str(error))[:150]}.") from error
    segmenter.known = _state(path, content, segmenter)
    return segmenter


def load_state(segmenter: Segmenter, file: BytesIO) -> tuple[SegmenterState, int]:
    """The state in a file of `save`, for `Segmenter.known` of a segmenter with the same weights and canvas.

    Nothing that the file describes is built.

    Args:
        segmenter: gets no new state.
        file: its text is its name, for errors.

    Raises:
        FssegError: the file is broken, or of a segmenter with other weights or another canvas.
    """
    content, own = _read(file), segmenter.method.state_dict()
    if not (isinstance(content, dict) and "fsseg_segmenter" in content):
        raise FssegError(f"{file} is no file of a segmenter. Choose one that ends with {ENDING}.")
    _check_complete(file, content)
    theirs = content["state_dict"]
    same = own.keys() == theirs.keys() and all(_is_equal(value.cpu(), theirs[name]) for name, value in own.items())
    if not same or content["canvas"] != list(segmenter.canvas):
        raise FssegError(f"{file} is of another encoder, checkpoint or size: start `fsseg demo --ckpt_path` with it.")
    return _state(file, content, segmenter)


def _is_equal(one: Tensor, other: Tensor) -> bool:
    return (one.shape, one.dtype) == (other.shape, other.dtype) and torch.equal(one, other)


def _check_complete(path: Path | BytesIO, content: Mapping[str, Any]) -> None:
    if not _is_complete(content):
        raise FssegError(
            f"{path} is a broken file of a segmenter, or comes from a newer fsseg. Save it again, or upgrade."
        )


def _state(path: Path | BytesIO, content: Mapping[str, Any], segmenter: Segmenter) -> tuple[SegmenterState, int]:
    """State of a segmenter from a complete file, and the number of the next support."""
    try:
        supports = {
            n: Support(
                tuple(one.to(segmenter.device) for one in maps),
                mask.to(segmenter.device),
                (size[0], size[1]),
                None if image is None else image.to(segmenter.device),
            )
            for n, (maps, mask, size, image) in content["supports"].items()
        }
        with torch.inference_mode():
            _check_sizes(path, segmenter, supports.values())
            return changed(segmenter.method, SegmenterState(), content["classes"], supports), content["next"]
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise FssegError(f"{path} is a broken file of a segmenter: {shown(str(error))[:150]}.") from error


def _check_sizes(path: Path | BytesIO, segmenter: Segmenter, supports: Iterable[Support]) -> None:
    """Refuse supports whose shapes do not fit the method and the canvas, before a method fails on them."""
    size = segmenter.canvas.size
    image = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=segmenter.device)
    like = [one.shape[1:] for one in segmenter.method.encode(image)]
    parts = (3, size, size) if segmenter.method.masks_enter_encoder else None
    for support in supports:
        shown = None if support.image is None else tuple(support.image.shape[1:])
        maps = [one.shape[1:] for one in support.feature]
        if (maps, shown) != (like, parts) or support.mask.shape[1:] != (size, size):
            raise FssegError(f"{path} is a broken file of a segmenter: its supports do not fit its method and size.")


def of_checkpoint(path: Path, content: Any, device: str | torch.device | None) -> Segmenter:
    """A segmenter without classes, at the size of the checkpoint's tests.

    Args:
        path: path of the checkpoint.
        content: content of the checkpoint.
        device: see `Segmenter`.

    Raises:
        FssegError: the content is not a checkpoint of `fsseg fit`.
    """
    card, state = checked(str(path), content), content["state_dict"]
    own = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}
    images = card.trained["data"].get("images", {})
    size = images.get("test_size") or images.get("size") or _DEFAULT
    return Segmenter(_made(path, card.config, own), size if is_count(size) else _DEFAULT, device=device)


def description(made: nn.Module) -> dict[str, Any]:
    """Class path and arguments of a method or an encoder, as in an experiment's YAML.

    Raises:
        FssegError: an argument is neither an encoder, nor a method, nor a plain value.
    """
    kind = type(made)
    arguments = {name: _plain(f"{kind.__name__}'s {name}", value) for name, value in given_arguments(made).items()}
    return {"class_path": f"{kind.__module__}.{kind.__qualname__}", "init_args": arguments}


def _plain(what: str, value: Any) -> Any:
    if isinstance(value, Encoder | Method):
        return description(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(what, getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(what, part) for part in value]
    if isinstance(value, _PLAIN):
        return value
    raise FssegError(f"{what} is a {type(value).__name__}, which cannot be stored. Give a plain value.")


def _read(path: Path | BytesIO) -> Any:
    if isinstance(path, Path) and path.is_dir():
        raise FssegError(f"{path} is a folder; give the file of a checkpoint or of a segmenter.")
    refuse_bomb(path)
    if not isinstance(path, Path):
        path.seek(0)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise FssegError(f"{path}: no such file.") from error
    except Exception as error:  # torch.load raises many types on a broken file
        raise FssegError(
            f"{path} cannot be read: it is truncated, or neither a checkpoint nor a segmenter's file."
        ) from error


def _made(path: Path, config: str, state: Mapping[str, Tensor]) -> Method:
    """The method of a stored configuration, with its weights.

    Raises:
        FssegError: the configuration is broken or names an unknown class, or the weights do not fit the method.
    """
    stored = configuration.stored(config, f"the configuration in {path}", path.parent)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Method, "method", required=True)
    try:
        with configuration.known_classes_only(), without_pretrained_weights():
            built = parser.instantiate(parser.parse_object({"method": stored["model"]["method"]}))
        method: Method = built.method
        method.load_state_dict(state)
    except (ArgumentError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise FssegError(f"{path} does not hold the method that it describes: {shown(str(error))[:150]}.") from error
    return method


def _is_complete(content: Mapping[str, Any]) -> bool:
    """Whether a file has all entries that `save` writes, with their types."""
    state, supports, classes, canvas = (content.get(n) for n in ("state_dict", "supports", "classes", "canvas"))
    if not (
        is_count(content["fsseg_segmenter"])
        and content["fsseg_segmenter"] == _VERSION
        and isinstance(content.get("config"), str)
        and isinstance(state, dict)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items())
        and isinstance(classes, list)
        and all(name is None or (is_line(name) and name) for name in classes)
        and isinstance(canvas, list)
        and len(canvas) == 2
        and is_count(canvas[0])
        and canvas[1] in get_args(Fit)
        and isinstance(supports, dict)
        and is_count(content.get("next"))
        and all(is_count(number) and number < content["next"] for number in supports)
        and all(map(_is_support, supports.values()))
    ):
        return False
    known = labels_of(Support(tuple(maps), *rest) for maps, *rest in supports.values())
    return known == set(range(1, len(classes) + 1))


def _is_support(content: Any) -> bool:
    if not (isinstance(content, list) and len(content) == 4 and isinstance(content[0], list) and content[0]):
        return False
    maps, mask, size, image = content
    return (
        isinstance(mask, Tensor)
        and mask.ndim == 3
        and mask.dtype == torch.uint8
        and all(isinstance(one, Tensor) and one.ndim == 4 and one.is_floating_point() for one in maps)
        and all(len(one) == len(mask) for one in maps)
        and (image is None or (isinstance(image, Tensor) and image.dtype == torch.uint8 and len(image) == len(mask)))
        and isinstance(size, list)
        and len(size) == 2
        and all(map(is_count, size))
    )
