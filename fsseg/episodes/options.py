"""Options of `EpisodeData` in groups, each with its range and the results that it changes.

A group is a frozen dataclass: `images.size` in Python, ``images: {size: 321}`` in YAML, option ``data.images.size`` on
the command line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Flag, auto
from typing import Any, Literal, NamedTuple, Self

from fsseg import class_paths
from fsseg.datasets.base import Dataset
from fsseg.episodes.weak_annotations import Annotation, Annotator, BoxInstance
from fsseg.errors import FssegError
from fsseg.limits import COUNT, SEED, SHOTS, SIDE, WORKERS, Range
from fsseg.protocols.protocol import Pairs, Void

Missing = Literal["error", "skip"]
Foreground = Literal["class", "base"]

_FLIP = {"class_path": "albumentations.HorizontalFlip", "init_args": {"p": 0.5}}


class Decides(Flag):
    """Results that an option changes. Comparable runs may differ in options that do not change the compared results."""

    MACHINE = 0  # no result; only speed, memory and the places of files
    TRAINING = auto()  # the weights after a given number of steps
    LENGTH = auto()  # the number of training steps
    VALIDATION = auto()  # the numbers of a validation, and through them the best checkpoint
    EPISODES = auto()  # the episodes of a test
    ROWS = auto()  # the pixel counts of test episodes


_MACHINE, _TRAINING, _VALIDATION = Decides.MACHINE, Decides.TRAINING, Decides.VALIDATION
_EPISODES, _ROWS = Decides.EPISODES, Decides.ROWS
_ALL = _TRAINING | _VALIDATION | _EPISODES | _ROWS


class Option(NamedTuple):
    """Facts about an option besides type and default.

    Attributes:
        decides: results that the option changes.
        allowed: range of a number; None if the data set gives the range, or if the option is no number.
        default: option of the same group that gives the value of null.
    """

    decides: Decides
    allowed: Range | None = None
    default: str | None = None


def _about(*option: Any) -> dict[str, Option]:
    """Metadata of a dataclass field."""
    return {"option": Option(*option)}


@dataclass(frozen=True)
class ImageOptions:
    """Sizes, augmentation and annotation of images and masks.

    Attributes:
        size: images and masks are resized to size x size (PANet section 4.1: 417); null keeps images at their own
            sizes, one episode per batch (SG-One).
        test_size: size of validation and test episodes if the protocol has none; ``size`` if null (PMMs: 321, 481).
        augment: albumentations for training, each as ``{class_path: ..., init_args: {...}}``.
        variants: draw the augmentations of each image once, so many per image, so that features can be cached; null
            draws anew in every episode. Flips have finitely many variants anyway.
        support_void: label of pixels labelled 255 in training supports: ``background`` (codes of PANet and PMMs), or
            ``ignore``.
        query_void: label of pixels labelled 255 in training queries: ``ignore`` (PANet), or ``background`` (PMMs,
            CANet).
        foreground: pixels that a 1-way training labels as the way: of its ``class``, or of any ``base`` class (FG-BG).
        support_annotation: annotation of training supports: ``mask``, ``scribble``, ``box`` or ``points``.
        test_support_annotation: annotation of validation and test supports; ``support_annotation`` if null (PANet
            trains with masks and tests with all three, table 6).
        box_instance: instance that gives the box: the ``largest`` (PANet's code), or a ``random`` one (its paper).
        points: points of the class, and of the background, of a support that is annotated by ``points``; null draws 1
            to 99 for each support. Images need their own sizes, because points get lost where masks shrink.
    """

    size: int | None = field(default=417, metadata=_about(_TRAINING, SIDE))
    test_size: int | None = field(default=None, metadata=_about(_VALIDATION | _ROWS, SIDE, "size"))
    augment: list[dict[str, Any]] = field(default_factory=lambda: [_FLIP], metadata=_about(_TRAINING))
    variants: int | None = field(default=None, metadata=_about(_TRAINING, COUNT))
    support_void: Void = field(default="background", metadata=_about(_TRAINING))
    query_void: Void = field(default="ignore", metadata=_about(_TRAINING))
    foreground: Foreground = field(default="class", metadata=_about(_TRAINING))
    support_annotation: Annotation = field(default="mask", metadata=_about(_TRAINING))
    test_support_annotation: Annotation | None = field(
        default=None, metadata=_about(_VALIDATION | _ROWS, None, "support_annotation")
    )
    box_instance: BoxInstance = field(default="largest", metadata=_about(_TRAINING | _VALIDATION | _ROWS))
    points: int | None = field(default=None, metadata=_about(_TRAINING | _VALIDATION | _ROWS, COUNT))

    def with_defaults(self) -> Self:
        """The same options, with null replaced by its value."""
        return replace(
            self,
            test_size=self.size if self.test_size is None else self.test_size,
            test_support_annotation=self.test_support_annotation or self.support_annotation,
        )

    def annotator(self, dataset: Dataset, annotation: Annotation | None) -> Annotator:
        """Makes the annotation of supports; masks if it is None."""
        return Annotator(dataset, annotation or "mask", self.box_instance, self.points)


@dataclass(frozen=True)
class EpisodeOptions:
    """Images to draw episodes from, and number of episodes.

    Attributes:
        train: training episodes per epoch; every epoch has new ones.
        val: validation episodes.
        test_file: file of test episodes that replaces the protocol's draw, see `fsseg.episodes.episode_file`.
        drop_novel: leave out training images that show a novel class. PANet keeps them and labels the object
            background.
        pairs: rule by which an image counts for a class in training and validation, see `Protocol`; PMMs:
            ``official`` on VOC.
        pairs_files: folder of list files that replace the ``official`` pairs, see `fsseg.episodes.pair_lists`.
        min_pixels: pixels of a class from which on an image counts for the class, in training and validation.
        missing_classes: treatment of a class with too few images for an episode: ``error``, or ``skip``.
        min_images: train images that a class of the training needs. By default as many as an episode needs; with
            ``missing_classes`` ``skip`` 20, if at least two classes (and ``way``) have so many. Classes are drawn
            evenly, so that a class of five images would fill as many episodes as a class of 500 with the same five.
        absent_queries: share of training episodes whose queries show no class of the episode, so that the loss there is
            of background alone. Without them a method learns that every query shows the class.
        exclude: names of base classes that training and validation leave out, e.g. those that a later training on
            another data set tests; with ``drop_novel`` also images that show them.
        seed: seed of training and validation episodes; ``seed_everything`` by default.
    """

    train: int = field(default=1000, metadata=_about(_TRAINING | _VALIDATION, COUNT))
    val: int = field(default=200, metadata=_about(_VALIDATION, Range(0, 10_000_000)))
    test_file: str | None = field(default=None, metadata=_about(_EPISODES))
    drop_novel: bool = field(default=False, metadata=_about(_TRAINING))
    pairs: Pairs = field(default="any", metadata=_about(_TRAINING | _VALIDATION))
    pairs_files: str | None = field(default=None, metadata=_about(_TRAINING | _VALIDATION | _EPISODES))
    min_pixels: int = field(default=1, metadata=_about(_TRAINING | _VALIDATION, COUNT))
    missing_classes: Missing = field(default="error", metadata=_about(_TRAINING | _VALIDATION | _EPISODES))
    min_images: int | None = field(default=None, metadata=_about(_TRAINING, COUNT))
    absent_queries: float = field(default=0.0, metadata=_about(_TRAINING, Range(0, 0.9)))
    exclude: list[str] = field(default_factory=list, metadata=_about(_TRAINING | _VALIDATION))
    seed: int | None = field(default=None, metadata=_about(_TRAINING | _VALIDATION, SEED))


@dataclass(frozen=True)
class LoadingOptions:
    """How episodes are loaded: speed, memory and broken files.

    Attributes:
        workers: processes that load episodes; 0 loads in the main process.
        test_batch_size: validation and test episodes per step.
        unreadable_images: treatment of an image that cannot be read: ``error``, or ``skip`` its episodes.
        cache_features: encode each image once and cache its features, if all images have one size and none is
            skipped: in a test, and in a training with a fixed encoder and finitely many variants of an image.
        cache_folder: folder that keeps a fixed encoder's maps for later commands; none are kept by default.
        cache_memory: GB of features in memory, half of the free memory by default; further features go to a file.
    """

    workers: int = field(default=2, metadata=_about(_MACHINE, WORKERS))
    test_batch_size: int = field(default=1, metadata=_about(_MACHINE, SHOTS))
    # Not compared: a file may be repaired, or skipped, before a run is resumed.
    unreadable_images: Missing = field(default="error", metadata=_about(_MACHINE))
    cache_features: bool = field(default=True, metadata=_about(_MACHINE))
    cache_folder: str | None = field(default=None, metadata=_about(_MACHINE))
    cache_memory: float | None = field(default=None, metadata=_about(_MACHINE, Range(0, 1_000_000)))


GROUPS = {"images": ImageOptions, "episodes": EpisodeOptions, "loading": LoadingOptions}

# Every option of `EpisodeData` by dotted name; a test compares the first ones with its signature.
OPTIONS: Mapping[str, Option] = {
    "dataset": Option(_ALL),
    "root": Option(_MACHINE),
    "fold": Option(_ALL),
    "way": Option(_ALL),
    "shot": Option(_TRAINING, SHOTS),  # a test uses it only if test_shot is null, see `with_defaults`
    "test_shot": Option(_VALIDATION | _EPISODES, SHOTS, "shot"),
    "query": Option(_ALL, SHOTS),
    "batch_size": Option(_TRAINING, SHOTS),
    "protocol": Option(_VALIDATION | _EPISODES | _ROWS),
    **{f"{group}.{one.name}": one.metadata["option"] for group, kind in GROUPS.items() for one in fields(kind)},
}
RANGES = {name: option.allowed for name, option in OPTIONS.items() if option.allowed is not None}


def flat(data: Any) -> dict[str, Any]:
    """Options of `EpisodeData` by dotted name.

    Args:
        data: an `EpisodeData`, or its configuration as nested mappings or namespaces.

    Raises:
        FssegError: a group has a single value instead of options.
    """
    found: dict[str, Any] = {}
    for name, value in _members(data).items():
        if name in GROUPS:
            found |= {f"{name}.{member}": one for member, one in _members(value, name).items()}
        else:
            found[name] = value
    return found


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by dotted name, with null replaced by its value."""
    filled = dict(options)
    for name, option in OPTIONS.items():
        if option.default is not None and options.get(name) is None:
            group = class_paths.module_of(name)
            filled[name] = options.get(f"{group}.{option.default}" if group else option.default)
    return filled


def _members(value: Any, name: str = "") -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if not hasattr(value, "__dict__"):
        first = fields(GROUPS[name])[0].name
        raise FssegError(f"`data.{name}` {value}: its options are needed, e.g. `data.{name}.{first}`.")
    members: Mapping[str, Any] = vars(value)
    return members
