"""What the options of `EpisodeData` may be, before any file is looked at."""

from typing import TYPE_CHECKING

from fsseg import limits
from fsseg.datasets.base import Dataset
from fsseg.episodes.options import RANGES, EpisodeOptions, flat
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol

if TYPE_CHECKING:
    from fsseg.episodes.datamodule import EpisodeData


def check_ranges(data: "EpisodeData") -> None:
    """Refuse numbers out of their ranges, batches that this machine cannot hold, and files without a name.

    Raises:
        FssegError: one is.
    """
    limits.check(flat(data), RANGES, "--data.")
    images = data.way * data.shot + data.query
    limits.check_memory("--data.images.size", data.images.size, images, data.batch_size)
    for name, what in (("test_file", "a file of episodes"), ("pairs_files", "a folder of list files")):
        if getattr(data.episodes, name) == "":
            raise FssegError(f"--data.episodes.{name} is empty: {what} is needed, or null.")


def check_fold(dataset: Dataset, fold: int, way: int) -> None:
    """Refuse a fold that a data set lacks, and more ways than it has novel classes.

    Raises:
        FssegError: either.
    """
    if not 0 <= fold < dataset.folds:
        raise FssegError(f"--data.fold {fold}: {dataset.name} has folds 0 to {dataset.folds - 1}.")
    novel = len(dataset.novel(fold))
    if not 1 <= way <= novel:
        raise FssegError(f"--data.way {way}: a fold of {dataset.name} tests on {novel} classes, 1 to {novel}.")


def check_base(dataset: Dataset, fold: int) -> None:
    """Refuse to train on a fold without base classes.

    Raises:
        FssegError: the fold has none.
    """
    if not dataset.base(fold):
        mend = "make more folds" if len(dataset.class_names) > 1 else "one class can be tested only"
        raise FssegError(f"fold {fold} of {dataset.name} has no base class to train on: {mend}.")


def check_pairs(episodes: EpisodeOptions, protocol: Protocol) -> None:
    """Refuse list files that nothing would read.

    Raises:
        FssegError: no pairs are the official ones, whose place the files take.
    """
    unused = "official" not in (episodes.pairs, protocol.pairs) and not episodes.test_file
    if episodes.pairs_files is not None and unused:
        raise FssegError(
            "--data.episodes.pairs_files takes the place of official pairs: give --data.episodes.pairs official, or "
            "--protocol.pairs official in a test."
        )


def check_sizes(data: "EpisodeData", protocol: Protocol) -> None:
    """Images of different sizes do not fit into one tensor, large ones not into memory, several ways not into a walk.

    Raises:
        FssegError: an option of the data does not go with another one, or with the protocol.
    """
    draw, together = f"--protocol.draw {protocol.draw} draws one class and one query an episode", data.loading
    alone = [
        (protocol.one_way, draw, "way", data.way),
        (
            data.images.size is None,
            "--data.images.size null trains on photos of different sizes",
            "batch_size",
            data.batch_size,
        ),
        (
            protocol.size == "own",
            "photos of different sizes are tested one by one",
            "loading.test_batch_size",
            together.test_batch_size,
        ),
    ]
    for asked, why, name, value in alone:
        if asked and (value, data.query) != (1, 1):
            raise FssegError(f"{why}: --data.{name} 1 and --data.query 1 are needed, not {value} and {data.query}.")
    if isinstance(protocol.size, int):
        images = data.way * data.test_shot + data.query
        limits.check_memory("--protocol.size", protocol.size, images, data.loading.test_batch_size)
    if protocol.queries == "several" and data.way == 1:
        raise FssegError("--protocol.queries several needs --data.way 2 or more: a 1-way episode has one class.")
