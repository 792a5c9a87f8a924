"""The card of a checkpoint: the checked record of its training. The file may be untrusted."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsseg.errors import FssegError
from fsseg.protocols.protocol import Chosen
from fsseg.untrusted.records import Natural, convert
from fsseg.untrusted.text import BrokenTextError, is_count, is_line, load_yaml

_GENERATOR = len(torch.get_rng_state())  # bytes of a CPU generator's state
_SLACK = 1 << 20  # bytes by which unpacked members may exceed packed ones


def refuse_bomb(path: str | Path | BytesIO) -> None:
    """Refuse a compressed checkpoint, which could unpack to any size: torch stores tensors uncompressed.

    Raises:
        FssegError: the checkpoint is compressed.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return  # torch.load reports what is wrong with the file
    if sum(member.file_size for member in members) > sum(member.compress_size for member in members) + _SLACK:
        raise FssegError(f"{path} is compressed; torch's checkpoints are not. Use an uncompressed checkpoint.")


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the weights of a training have seen.

    Attributes:
        dataset: name of the data set.
        fold: fold of the training.
        trained_on: names of the base classes.
    """

    dataset: str
    fold: Natural
    trained_on: list[str]

    def __str__(self) -> str:
        return f"{len(self.trained_on)} classes of {self.dataset} fold {self.fold}"


@dataclass(frozen=True, kw_only=True)
class Earlier(Training):
    """An earlier training, from whose weights a later training started.

    Attributes:
        step: training step of the weights.
        recipe: digest of the training's options, see `fsseg.runs.test_description.recipe`.
        digest: digest of the checkpoint's content.
    """

    step: Natural
    recipe: str
    digest: str


def seen(earlier: Sequence[Training]) -> str:
    """What weights have seen, in words, the latest training first."""
    return ", before ".join(dict.fromkeys(str(training) for training in reversed(earlier)))


@dataclass(frozen=True, kw_only=True)
class Origin:
    """File of an authors' code that weights were imported from.

    Attributes:
        code: method of the code, in its paper's name.
        file: name of the file.
        sha256: SHA-256 of the file, in hexadecimal digits.
    """

    code: str
    file: str
    sha256: str

    def __str__(self) -> str:
        return f"imported from {self.file} of {self.code}'s code, SHA-256 {self.sha256[:12]}"


@dataclass(frozen=True, kw_only=True)
class Card(Training):
    """Record of a training, stored in its checkpoints as ``fsseg``.

    Attributes:
        version: version of fsseg.
        config: configuration of the training, as YAML.
        selection: how the checkpoint was selected.
        earlier: trainings that the weights had been through before, oldest first; empty without a warm start.
        origin: file of an authors' code that holds the weights; None if fsseg trained them.
    """

    version: str
    config: str
    selection: Chosen = "by hand"
    earlier: list[Earlier] = field(default_factory=list)
    origin: Origin | None = None

    @cached_property
    def trained(self) -> dict[str, Any]:
        """Configuration of the training."""
        config: dict[str, Any] = load_yaml(self.config)
        return config


@dataclass(frozen=True, kw_only=True)
class CheckpointCard(Card):
    """A card with properties of the checkpoint.

    Attributes:
        step: training step of the checkpoint.
        shapes: shape of each weight, by name.
        processes: number of processes of the training.
        resumable: whether the optimiser's state is there, without which no training resumes.
    """

    step: Natural
    shapes: dict[str, tuple[Natural, ...]]
    processes: Natural
    resumable: bool = True


def read_card(path: str, option: str = "`ckpt_path`") -> CheckpointCard:
    """The checked card of a checkpoint file.

    Args:
        path: of the checkpoint.
        option: that gives the path, for errors.

    Raises:
        FssegError: the file is missing or truncated, or fsseg did not write it.
    """
    refuse_bomb(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise FssegError(f"{option} {path}: no such file.") from error
    except Exception as error:  # torch raises nearly anything on a broken file
        raise FssegError(
            f"{option} {path} cannot be read: the file is truncated or no checkpoint. Use an earlier one."
        ) from error
    return checked(path, checkpoint, option)


def checked(path: str, checkpoint: Any, option: str = "`ckpt_path`") -> CheckpointCard:
    """The checked card of a loaded checkpoint.

    Args:
        path: of the checkpoint, for errors.
        checkpoint: the loaded content.
        option: that gives the path, for errors.

    Raises:
        FssegError: `fsseg fit` did not write the checkpoint, or a part of it is broken.
    """
    card = checkpoint.get("fsseg") if isinstance(checkpoint, dict) else None
    if not isinstance(card, dict) or not {"config", "dataset", "fold", "trained_on"} <= card.keys():
        raise FssegError(f"{option} {path} is no checkpoint of `fsseg fit`.")
    states = random_states(checkpoint)
    try:
        found = convert(
            {
                **card,
                "step": checkpoint.get("global_step"),
                "shapes": {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()},
                "processes": len(states),
                "resumable": bool(checkpoint.get("optimizer_states")),
            },
            CheckpointCard,
            free=("config", "shapes"),
        )
        tensors = all(isinstance(tensor, Tensor) for tensor in checkpoint["state_dict"].values())
        valid = tensors and is_line(checkpoint["pytorch-lightning_version"]) and _is_random(states)
    except (BrokenTextError, KeyError, TypeError, AttributeError):
        valid = False
    if not valid or not _is_experiment(found):
        raise FssegError(f"{option} {path} is a broken checkpoint: fsseg does not write such a card. Use another.")
    return found


def random_states(checkpoint: Mapping[str, Any]) -> list[Any]:
    """Random states, one per process; a checkpoint written by Lightning alone has none."""
    states = checkpoint.get("random", {})
    return states if isinstance(states, list) else [states]


def _is_random(states: list[Any]) -> bool:
    """Whether random states have the right type and length; the length of a GPU's state depends on the GPU."""
    return all(isinstance(state, Mapping) for state in states) and all(
        isinstance(part, Tensor) and part.dtype == torch.uint8 and (name == "cuda" or len(part) == _GENERATOR)
        for state in states
        for name, part in state.items()
    )


def _is_experiment(card: Card) -> bool:
    """Whether a stored configuration has the entries that a test needs."""
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
