"""The card of a checkpoint, the record of its training; checked, since the file may be another person's."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fsseg.errors import FssegError
from fsseg.protocols.protocol import Chosen
from fsseg.untrusted.records import Natural, convert
from fsseg.untrusted.text import BrokenTextError, is_count, is_line, load_yaml

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


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a checkpoint says of itself, stored in it as ``fsseg``.

    Attributes:
        version: of fsseg.
        config: the training's configuration, as YAML.
        dataset: name of the data set.
        fold: of the training.
        trained_on: names of the base classes.
        selection: how the checkpoint was chosen.
    """

    version: str
    config: str
    dataset: str
    fold: Natural
    trained_on: list[str]
    selection: Chosen = "by hand"

    @cached_property
    def trained(self) -> dict[str, Any]:
        """The training's configuration."""
        config: dict[str, Any] = load_yaml(self.config)
        return config


@dataclass(frozen=True, kw_only=True)
class CheckpointCard(Card):
    """A card with facts about the rest of the checkpoint.

    Attributes:
        step: of the training.
        shapes: of the weights, by name.
        processes: of the training.
    """

    step: Natural
    shapes: dict[str, tuple[Natural, ...]]
    processes: Natural


def read_card(path: str) -> CheckpointCard:
    """The card of a checkpoint's file.

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


def checked(path: str, checkpoint: Any) -> CheckpointCard:
    """The card of a checkpoint's content.

    Args:
        path: of the checkpoint, for errors.
        checkpoint: its content.

    Raises:
        FssegError: `fsseg fit` did not write it, or a part of it is broken.
    """
    card = checkpoint.get("fsseg") if isinstance(checkpoint, dict) else None
    if not isinstance(card, dict) or not {"config", "dataset", "fold", "trained_on"} <= card.keys():
        raise FssegError(f"--ckpt_path {path} is no checkpoint of `fsseg fit`.")
    states = random_states(checkpoint)
    try:
        found = convert(
            {
                **card,
                "step": checkpoint.get("global_step"),
                "shapes": {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()},
                "processes": len(states),
            },
            CheckpointCard,
            free=("config", "shapes"),
        )
        tensors = all(isinstance(tensor, Tensor) for tensor in checkpoint["state_dict"].values())
        whole = tensors and is_line(checkpoint["pytorch-lightning_version"]) and _is_random(states)
    except (BrokenTextError, KeyError, TypeError, AttributeError):
        whole = False
    if not whole or not _is_experiment(found):
        raise FssegError(f"--ckpt_path {path} is a broken checkpoint: what it says of itself is not what fsseg writes.")
    return found


def random_states(checkpoint: Mapping[str, Any]) -> list[Any]:
    """Random states, one per process; none in a checkpoint that Lightning wrote on its own."""
    states = checkpoint.get("random", {})
    return states if isinstance(states, list) else [states]


def _is_random(states: list[Any]) -> bool:
    """Whether states of random generators are some; the GPU's depends on the GPU."""
    return all(isinstance(state, Mapping) for state in states) and all(
        isinstance(part, Tensor) and part.dtype == torch.uint8 and (name == "cuda" or len(part) == _GENERATOR)
        for state in states
        for name, part in state.items()
    )


def _is_experiment(card: Card) -> bool:
    """Whether a configuration has what a test asks it for."""
    try:
        config = card.trained
        method = config["model"]["method"]
        options = method.get("init_args") or {}
        encoder = options.get("encoder") or {}
        return (
            isinstance(method["class_path"], str)
            and isinstance(encoder, dict)
            and isinstance(encoder.get("init_args") or {}, dict)
            and isinstance(config["data"], dict)
            and all(isinstance(config["data"].get(group, {}), dict) for group in ("images", "episodes", "loading"))
            and isinstance(config["trainer"], dict)
            and is_count(config["data"]["shot"], 1)
            and is_count(config["seed_everything"])
        )
    except (BrokenTextError, KeyError, TypeError, AttributeError):
        return False
