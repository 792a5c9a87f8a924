"""`fsseg data prepare`: what a data set's first start would do, ahead of training and with nothing else around it."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fsseg.cli.help import did_you_mean
from fsseg.data import Coco, Dataset, Pascal
from fsseg.data.files import cache_folder
from fsseg.errors import FssegError

_DATASETS = {"coco": Coco, "pascal": Pascal}
_COCO_ONLY = ("year", "masks", "crowds")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise FssegError(f"{message.removeprefix('argument ')}. See fsseg data --help.")


def run(arguments: Sequence[str]) -> int:
    """Run one of the commands on data; returns the exit code.

    Args:
        arguments: the command's second word, and its options.

    Raises:
        FssegError: the command, an option or the data set is wrong.
    """
    command, *options = arguments
    if command != "prepare":
        raise FssegError(f"no command 'data {command}'. Did you mean data prepare?")
    return _prepare(_parse(options))


def _parse(options: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--root", type=Path, default=os.environ.get("FSSEG_DATA_ROOT") or None)
    parser.add_argument("--dataset", choices=_DATASETS)
    parser.add_argument("--year", type=int)
    parser.add_argument("--masks")
    parser.add_argument("--crowds")
    given, unknown = parser.parse_known_args(options)
    if unknown:
        known = [f"--{name}" for name in vars(given)]
        raise FssegError(f"data prepare has no option {unknown[0]}.{did_you_mean(unknown[0], known)}")
    for name, values in {
        "dataset": "coco or pascal",
        "root": "DIR (or FSSEG_DATA_ROOT), the data set's folder",
    }.items():
        if getattr(given, name) is None:
            raise FssegError(f"data prepare needs --{name} {values}.")
    return given


def _prepare(given: argparse.Namespace) -> int:
    options = {name: getattr(given, name) for name in _COCO_ONLY if getattr(given, name) is not None}
    if options and given.dataset != "coco":
        raise FssegError(f"--{next(iter(options))} is for --dataset coco.")
    dataset: Dataset = _DATASETS[given.dataset](**options)
    start = time.monotonic()
    try:
        dataset.open(given.root)
    except FssegError as error:
        raise FssegError(str(error).replace("--data.root", "--root")) from error
    if dataset.index.cache is None:
        raise FssegError(f"{cache_folder()} cannot be written, nothing was kept. Set XDG_CACHE_HOME to another folder.")
    print(_summary(dataset, dataset.index.cache, time.monotonic() - start))
    return 0


def _summary(dataset: Dataset, cache: Path, seconds: float) -> str:
    train, val = (len(dataset.numbers(split)) for split in ("train", "val"))
    state = f"prepared in {seconds:.1f} s" if dataset.index.fresh else "already prepared"
    lines = [f"{dataset.name}: {train:,} train and {val:,} val images, {len(dataset.class_names)} classes; {state}"]
    if dataset.note:
        lines.append(f"  note: {dataset.note}")
    return "\n".join([*lines, f"  cache: {cache}"])
