"""The card of a checkpoint: what it says of itself, checked, since whoever made the file wrote what they liked."""

import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fsseg.errors import FssegError
from fsseg.untrusted.text import BrokenTextError, is_count, is_line, load_yaml

_SELECTIONS = ("last", "base_val", "novel_val", "by hand")
_GENERATOR = len(torch.get_rng_state())  # bytes
_SLACK = 1 << 20  # bytes


def refuse_bomb(path: str) -> None:
    """Refuse a checkpoint that unpacks to more than it is: torch stores tensors as they are.

    Raises:
        FssegError: something in it is compressed.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return  # torch says what is wrong with it
    if sum(member.file_size for member in members) > sum(member.compress_size for member in members) + _SLACK:
        raise FssegError(f"{path} is compressed, which no checkpoint of torch is: it is not read.")


def read_card(path: str) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        FssegError: no file, a truncated one, or one that fsseg did not write.
    """
    refuse_bomb(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise FssegError(f"--ckpt_path {path}: no such file.") from error
    except Exception as error:  # torch raises nearly anything on a broken file
        raise FssegError(
            f"--ckpt_path {path} cannot be read: it is truncated or no checkpoint. Use an earlier one."
        ) from error
    return checked(path, checkpoint)


def checked(path: str, checkpoint: Any) -> dict[str, Any]:
    """A checkpoint's card, with its step and the shapes of its tensors.

    Args:
        path: of the checkpoint.
        checkpoint: its content.

    Raises:
        FssegError: `fsseg fit` did not write it, or not so.
    """
    card = checkpoint.get("fsseg") if isinstance(checkpoint, dict) else None
    if not isinstance(card, dict) or not {"config", "dataset", "fold", "trained_on"} <= card.keys():
        raise FssegError(f"--ckpt_path {path} is no checkpoint of `fsseg fit`.")
    state, step = checkpoint.get("state_dict"), checkpoint.get("global_step")
    whole = (
        is_line(checkpoint.get("pytorch-lightning_version"))
        and is_count(step)
        and isinstance(state, Mapping)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in state.items())
        and is_line(card["dataset"])
        and is_count(card["fold"])
        and isinstance(card["trained_on"], list)
        and all(map(is_line, card["trained_on"]))
        and card.get("selection", "by hand") in _SELECTIONS
        and _is_random(random_states(checkpoint))
    )
    if not whole or not isinstance(state, Mapping) or not _is_experiment(card["config"]):
        raise FssegError(f"--ckpt_path {path} is a broken checkpoint: what it says of itself is not what fsseg writes.")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    return {**card, "step": step, "shapes": shapes, "processes": len(random_states(checkpoint))}


def random_states(checkpoint: Mapping[str, Any]) -> list[Any]:
    """Of the generators of each process; a checkpoint of before there was one for each has the first's."""
    states = checkpoint.get("random", {})
    return states if isinstance(states, list) else [states]


def _is_random(states: list[Any]) -> bool:
    """Whether states of random generators are some; the GPU's depends on the GPU."""
    return all(isinstance(state, Mapping) for state in states) and all(
        isinstance(part, Tensor) and part.dtype == torch.uint8 and (name == "cuda" or len(part) == _GENERATOR)
        for state in states
        for name, part in state.items()
    )


def _is_experiment(text: Any) -> bool:
    """Whether a configuration has what a test asks it for."""
    try:
        config: Any = load_yaml(text) if isinstance(text, str) else {}
        method = config["model"]["method"]
        options = method.get("init_args") or {}
        encoder = options.get("encoder") or {}
        return (
            isinstance(method["class_path"], str)
            and isinstance(encoder, dict)
            and isinstance(encoder.get("init_args") or {}, dict)
            and isinstance(config["data"], dict)
            and isinstance(config["trainer"], dict)
            and is_count(config["data"]["shot"], 1)
            and is_count(config["seed_everything"])
        )
    except (BrokenTextError, KeyError, TypeError, AttributeError):
        return False
