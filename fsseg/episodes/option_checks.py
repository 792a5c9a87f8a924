"""Checks of the options of `EpisodeData` that need no file of the data set."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from fsseg import limits
from fsseg.datasets.base import Dataset
from fsseg.datasets.custom import CustomDataset
from fsseg.episode import IGNORE
from fsseg.episodes.options import RANGES, EpisodeOptions, flat
from fsseg.episodes.resizing import View
from fsseg.errors import FssegError
from fsseg.protocols.protocol import Protocol

if TYPE_CHECKING:
    from fsseg.episodes.datamodule import EpisodeData


def check_ranges(data: "EpisodeData") -> None:
    """Refuse numbers out of range, batches larger than the memory, and empty file names.

    Raises:
        FssegError: an option is refused.
    """
    limits.check(flat(data), RANGES, "`data.{}`")
    images = data.way * data.shot + data.query
    limits.check_memory("`data.images.size`", data.images.size, images, data.batch_size)
    for name, what in (("test_file", "a file of episodes"), ("pairs_files", "a folder of list files")):
        if getattr(data.episodes, name) == "":
            raise FssegError(f"`data.episodes.{name}` is empty: {what} is needed, or null.")


def check_fold(dataset: Dataset, fold: int, way: int) -> None:
    """Refuse a fold that the data set lacks, more ways than the fold has novel classes, and validation on these.

    Raises:
        FssegError: fold or way is refused.
    """
    if not 0 <= fold < dataset.folds:
        raise FssegError(f"`data.fold` {fold}: {dataset.name} has folds 0 to {dataset.folds - 1}.")
    novel = len(dataset.novel(fold))
    classes, does = (novel, "tests") if novel else (len(dataset.base(fold)), "trains")
    if not 1 <= way <= classes:
        raise FssegError(f"`data.way` {way}: a fold of {dataset.name} {does} on {classes} classes, 1 to {classes}.")
    if shared := set(dataset.novel(fold)) & set(dataset.validation(fold)):
        name = dataset.class_name(min(shared))
        raise FssegError(
            f"{name} is a novel class of fold {fold} of {dataset.name} and a class of its validation. Remove one."
        )


def completed(protocol: Protocol, data: "EpisodeData") -> Protocol:
    """A protocol with the image size and the episodes that the data's options give.

    Raises:
        FssegError: the protocol tests a list of episodes, and no option names its file.
    """
    if protocol.size == "trained":
        protocol = replace(protocol, size=data.images.test_size or "own")
    if data.episodes.test_file:
        return protocol.of_list()
    if protocol.draw == "list":
        raise FssegError("`protocol.draw` list needs `data.episodes.test_file` FILE.")
    return protocol


def ids_of(dataset: Dataset, names: Sequence[str]) -> tuple[int, ...]:
    """Class ids of the names of ``exclude``.

    Raises:
        FssegError: the data set has no class of a name.
    """
    ids = {dataset.class_name(c): c for c in dataset.class_ids}
    for name in names:
        if name not in ids:
            raise FssegError(f"`data.episodes.exclude`: {dataset.name} has no class {name}. It has: {', '.join(ids)}.")
    return tuple(ids[name] for name in names)


def training_view(data: "EpisodeData") -> View:
    """Sizes, void pixels and foreground of training episodes.

    Raises:
        FssegError: the foreground is all base classes, and there are several ways, or more of them than a mask of 8
            bits holds.
    """
    given, base = data.images, data.images.foreground == "base"
    if base and (data.way > 1 or len(data.base) >= IGNORE):
        raise FssegError(
            f"`data.images.foreground` base: {data.way} ways, {len(data.base)} base classes; 1 way and at most 254 "
            "classes are possible. Give `data.way` 1, or class."
        )
    return View(given.size, "stretch", "input", given.support_void, given.query_void, data.base if base else ())


def check_base(data: "EpisodeData") -> None:
    """Refuse to train on a fold without base classes.

    Raises:
        FssegError: the fold has none, or all are excluded.
    """
    dataset, fold = data.dataset, data.fold
    if dataset.base(fold) and not data.base:
        raise FssegError(f"`data.episodes.exclude` leaves no class of fold {fold} to train on: exclude fewer.")
    if not data.base:
        fix = "make more folds, or train" if len(dataset.class_names) > 1 else "train"
        fix = f"{fix} on all classes by `data.dataset.folds` 0" if isinstance(dataset, CustomDataset) else "more folds"
        raise FssegError(f"fold {fold} of {dataset.name} has no base class to train on: {fix}.")


def check_novel(data: "EpisodeData") -> None:
    """Refuse to test a data set of which no class is novel.

    Raises:
        FssegError: the fold has no novel class.
    """
    if not data.novel:
        raise FssegError(
            f"{data.dataset.name} has no novel class to test on, because `data.dataset.folds` 0 trains on all: "
            "`fsseg validate` measures the checkpoint on the val images, which the training has not seen."
        )


def check_pairs(episodes: EpisodeOptions, protocol: Protocol) -> None:
    """Refuse list files if no option asks for official pairs, which the files replace.

    Raises:
        FssegError: the files would not be read.
    """
    unused = "official" not in (episodes.pairs, protocol.pairs) and not episodes.test_file
    if episodes.pairs_files is not None and unused:
        raise FssegError(
            "`data.episodes.pairs_files` replaces official pairs: give `data.episodes.pairs` official, or "
            "`protocol.pairs` official in a test."
        )


def check_sizes(data: "EpisodeData", protocol: Protocol) -> None:
    """Refuse combinations that cannot work.

    Images of different sizes do not fit into one tensor, large batches do not fit into memory, and some draws have one
    way and one query only.

    Raises:
        FssegError: an option conflicts with another one, or with the protocol.
    """
    draw = f"`protocol.draw` {protocol.draw} draws one class and one query an episode"
    single = [
        (protocol.one_way, draw, "way", data.way),
        (
            data.images.size is None,
            "`data.images.size` null trains on images of different sizes",
            "batch_size",
            data.batch_size,
        ),
        (
            protocol.size == "own",
            "images of different sizes are tested one by one",
            "loading.test_batch_size",
            data.loading.test_batch_size,
        ),
    ]
    for applies, why, name, value in single:
        if applies and (value, data.query) != (1, 1):
            raise FssegError(f"{why}: `data.{name}` 1 and `data.query` 1 are needed, not {value} and {data.query}.")
    resized = [
        (data.images.support_annotation, data.images.size, "data.images.size` null"),
        (data.images.test_support_annotation, None if protocol.size == "own" else protocol.size, "protocol.size` own"),
    ]
    for annotation, size, fix in resized:
        if annotation == "points" and size is not None:
            raise FssegError(f"points get lost in masks that are resized to {size}: `{fix} is needed.")
    if isinstance(protocol.size, int):
        images = data.way * data.test_shot + data.query
        limits.check_memory("`protocol.size`", protocol.size, images, data.loading.test_batch_size)
    if protocol.queries == "several" and data.way == 1:
        raise FssegError("`protocol.queries` several needs `data.way` 2 or more: a 1-way episode has one class.")
