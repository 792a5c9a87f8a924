"""Ranges of all numbers that a user gives, so that none ends in a traceback, a full machine or a wait without end.

Those of the data's options stand beside them, in `fsseg.episodes.options`.
What a machine can hold depends on several numbers together: `check_memory` estimates what they need at least.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from fsseg.errors import FssegError

_PIXELS, _MANY, _SEEDS = 10_000, 1_000_000_000, 2**32 - 1  # pixels of a side; a number of steps; numpy's seeds
PROCESSES = max(64, 2 * (os.cpu_count() or 1))  # that one command may start
_BYTES = 16  # of a pixel: its colours and mask as bytes, and its colours as floats


class Range(NamedTuple):
    """Least and largest value of a number."""

    least: float
    most: float


COUNT, SHOTS, SIDE, SEED = Range(1, _MANY), Range(1, 10_000), Range(8, _PIXELS), Range(0, _SEEDS)
EPISODES = Range(1, 10_000_000)
JOBS, PICTURES, WORKERS = Range(1, PROCESSES), Range(1, 1_000), Range(0, PROCESSES)
PROTOCOL = {
    "min_pixels": COUNT,
    "size": SIDE,
    "runs": Range(1, 1_000),
    "episodes": EPISODES,
    "seed": SEED,
}
_CHANNELS = Range(1, 65_536)
_FACTOR = Range(-1_000_000, 1_000_000)
# Arguments of methods, encoders and data sets; one of a user's own class that has another name is its own affair.
CLASSES = {
    "scale": _FACTOR,
    "align_weight": _FACTOR,
    "kappa": _FACTOR,
    "components": SHOTS,
    "rounds": Range(1, 10_000),
    "iterations": Range(0, 10_000),
    "channels": _CHANNELS,
    "guidance": _CHANNELS,
    "widths": _CHANNELS,
    "strides": Range(1, 1_024),
    "stride": Range(1, 1_024),
    "convolutions": Range(1, 1_000),
    "groups": _CHANNELS,
    "dropout": Range(0, 1),
    "size": SIDE,
    "train": Range(1, 10_000_000),
    "val": Range(1, 10_000_000),
    "seed": SEED,
    "folds": Range(1, 10_000),
}
TRAINER = {
    "max_steps": Range(-1, _MANY),
    "min_steps": Range(-1, _MANY),
    "max_epochs": Range(-1, _MANY),
    "min_epochs": Range(-1, _MANY),
    "devices": Range(-1, PROCESSES),
    "num_nodes": Range(1, 10_000),
    "accumulate_grad_batches": Range(1, 1_000_000),
    "check_val_every_n_epoch": COUNT,
    "log_every_n_steps": Range(0, _MANY),
}


def check(options: Mapping[str, Any], ranges: Mapping[str, Range], prefix: str = "--") -> None:
    """Refuse numbers out of their ranges; what is no number is left to others.

    Args:
        options: values by name; one may be a list of numbers.
        ranges: by name; names that ``options`` lacks are left out.
        prefix: of the names in the error.

    Raises:
        FssegError: one is out of its range.
    """
    for name, allowed in ranges.items():
        value = options.get(name)
        value = int(value) if isinstance(value, str) and value.isdecimal() else value  # --trainer.devices is a text
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool):
                _check_one(f"{prefix}{name}", number, allowed)


def _check_one(name: str, value: float, allowed: Range) -> None:
    if allowed.least <= value <= allowed.most:
        return
    side, bound = ("least", allowed.least) if value < allowed.least else ("most", allowed.most)
    if value != value:  # NaN; a whole number may be too large for math.isnan
        raise FssegError(f"{name} {value}: a number from {allowed.least:,} to {allowed.most:,} is needed.")
    raise FssegError(f"{name} {value}: at {side} {bound:,} is needed.")


def check_classes(config: Any, prefix: str) -> None:
    """Refuse arguments of classes out of their ranges, also of classes and groups that are arguments themselves.

    Args:
        config: ``{class_path: ..., init_args: {...}}``, or anything else, which has no arguments.
        prefix: option of the outermost class.

    Raises:
        FssegError: one is out of its range.
    """
    given = _mapping(config)
    options = _mapping(given["init_args"]) if "init_args" in given else given
    check(options, CLASSES, f"{prefix}.")
    for name, value in options.items():
        check_classes(value, f"{prefix}.{name}")


def _mapping(value: Any) -> Mapping[str, Any]:
    """A mapping of YAML's, or a namespace of jsonargparse's, as a mapping; empty where it is neither."""
    if isinstance(value, Mapping):
        return value
    return vars(value) if hasattr(value, "__dict__") and not callable(value) else {}


def check_memory(name: str, size: int | None, images: int, episodes: int) -> None:
    """Refuse a batch of images that this machine cannot hold.

    Args:
        name: of the option that has the size.
        size: height and width of the images; None is of any size, and not estimated.
        images: of an episode.
        episodes: of a batch.

    Raises:
        FssegError: the images alone, without features, are larger than the memory.
    """
    needed, there = _BYTES * (size or 0) ** 2 * images * episodes, memory()
    if needed > there:
        raise FssegError(
            f"{name} {size}: {episodes:,} x {images:,} images of {size}x{size} pixels need at least "
            f"{needed / 1e9:,.0f} GB; this machine has {there / 1e9:,.0f}. Smaller images, fewer shots, queries or "
            "episodes a batch are needed."
        )


def memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
