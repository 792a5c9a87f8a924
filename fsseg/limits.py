"""Ranges of the numbers that a user gives. A number out of range would end in a traceback, full memory or a hang.

Ranges of the data's options are in `fsseg.episodes.options`. Memory depends on several numbers together: `check_memory`
estimates the least amount that they need.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from fsseg.errors import FssegError

_PIXELS, _MANY, _SEEDS = 10_000, 1_000_000_000, 2**32 - 1  # pixels of a side; steps; numpy's largest seed
PROCESSES = max(64, 2 * (os.cpu_count() or 1))  # largest number of processes of one command
_BYTES = 16  # bytes per pixel: colours and mask as uint8 (4), and the normalised colours as float32 (12)


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
# Arguments of methods, encoders and data sets; other arguments of custom classes are not checked.
ARGUMENTS = {
    "scale": _FACTOR,
    "align_weight": _FACTOR,
    "metric_weight": _FACTOR,
    "kappa": _FACTOR,
    "components": SHOTS,
    "multiples": Range(1e-3, 1e6),
    "tau": Range(-1, 1),
    "merge_threshold": Range(-1, 1),
    "positional_share": Range(0, 1),
    "rounds": Range(1, 10_000),
    "iterations": Range(0, 10_000),
    "channels": _CHANNELS,
    "guidance": _CHANNELS,
    "fc6": _CHANNELS,
    "experts": Range(0, 1_000),
    "widths": _CHANNELS,
    "strides": Range(1, 1_024),
    "dilations": Range(1, 1_024),
    "stride": Range(1, 1_024),
    "convolutions": Range(1, 1_000),
    "groups": _CHANNELS,
    "dropout": Range(0, 1),
    "classifier_dropout": Range(0, 1),
    "aux_weight": _FACTOR,
    "bins": Range(0, 1_024),
    "adapt_steps": Range(0, 10_000),
    "size": SIDE,
    "train": Range(1, 10_000_000),
    "val": Range(1, 10_000_000),
    "seed": SEED,
    "folds": Range(0, 10_000),
    "shots": SHOTS,
    "bits": Range(0, 32),
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


def check(options: Mapping[str, Any], ranges: Mapping[str, Range], name: str = "`{}`") -> None:
    """Refuse numbers out of range; values that are no numbers are ignored.

    Args:
        options: values by name; a value may be a list of numbers.
        ranges: ranges by name; names that ``options`` lacks are ignored.
        name: how the error writes the name of an option, which replaces ``{}``.

    Raises:
        FssegError: a number is out of range.
    """
    for key, allowed in ranges.items():
        value = options.get(key)
        value = int(value) if isinstance(value, str) and value.isdecimal() else value  # `trainer.devices` is text
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, int | float) and not isinstance(number, bool):
                _check_one(name.replace("{}", key), number, allowed)


def _check_one(name: str, value: float, allowed: Range) -> None:
    if allowed.least <= value <= allowed.most:
        return
    side, bound = ("least", allowed.least) if value < allowed.least else ("most", allowed.most)
    if value != value:  # NaN; a whole number may be too large for math.isnan
        raise FssegError(f"{name} {value}: a number from {allowed.least:,} to {allowed.most:,} is needed.")
    raise FssegError(f"{name} {value}: at {side} {bound:,} is needed.")


def check_arguments(config: Any, prefix: str) -> None:
    """Refuse arguments of classes that are out of range, also in nested classes and groups.

    Args:
        config: ``{class_path: ..., init_args: {...}}``, or any other value, which has no arguments.
        prefix: name of the option of the outermost class.

    Raises:
        FssegError: an argument is out of range.
    """
    given = _mapping(config)
    options = _mapping(given["init_args"]) if "init_args" in given else given
    check(options, ARGUMENTS, f"`{prefix}.{{}}`")
    for name, value in options.items():
        check_arguments(value, f"{prefix}.{name}")


def _mapping(value: Any) -> Mapping[str, Any]:
    """A YAML mapping or a jsonargparse namespace as a mapping; empty for other values."""
    if isinstance(value, Mapping):
        return value
    return vars(value) if hasattr(value, "__dict__") and not callable(value) else {}


def check_memory(name: str, size: int | None, images: int, episodes: int) -> None:
    """Refuse a batch of images that this machine cannot hold.

    Args:
        name: how the error writes the option that gives the size.
        size: height and width of the images; None, for any size, is not checked.
        images: images per episode.
        episodes: episodes per batch.

    Raises:
        FssegError: the images, without any features, are larger than the memory.
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
