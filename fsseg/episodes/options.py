"""Options of `EpisodeData` in groups. Beside each stands what it decides and its range, for whoever checks or compares.

A group is a frozen dataclass: `images.size` in Python, ``images: {size: 321}`` in YAML, ``--data.images.size 321`` on
the command line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Flag, auto
from typing import Any, Literal, NamedTuple, Self

from fsseg.episodes.weak_annotations import Annotation, BoxInstance
from fsseg.errors import FssegError
from fsseg.limits import COUNT, SEED, SHOTS, SIDE, WORKERS, Range
from fsseg.protocols.protocol import Pairs, Void

Missing = Literal["error", "skip"]

_FLIP = {"class_path": "albumentations.HorizontalFlip", "init_args": {"p": 0.5}}


class Decides(Flag):
    """What an option decides. Two runs may differ in an option that does not decide what they are compared by."""

    MACHINE = 0  # speed, memory, and where files lie
    TRAINING = auto()  # the weights after a given number of steps
    LENGTH = auto()  # after how many steps a training ends
    VALIDATION = auto()  # the numbers of a validation, and by them the best checkpoint
    EPISODES = auto()  # the episodes of a test
    ROWS = auto()  # what a test counts in its episodes


_MACHINE, _TRAINING, _VALIDATION = Decides.MACHINE, Decides.TRAINING, Decides.VALIDATION
_EPISODES, _ROWS = Decides.EPISODES, Decides.ROWS
_ALL = _TRAINING | _VALIDATION | _EPISODES | _ROWS


class Option(NamedTuple):
    """An option besides its type and default.

    Attributes:
        decides: see `Decides`.
        allowed: range of a number; None where the data set gives it, or where the option is no number.
        default: option of the same group whose value null stands for.
    """

    decides: Decides
    allowed: Range | None = None
    default: str | None = None


def _about(*option: Any) -> dict[str, Option]:
    """Metadata of a field."""
    return {"option": Option(*option)}


@dataclass(frozen=True)
class ImageOptions:
    """How images and masks are shown to a method.

    Attributes:
        size: images and masks are resized to size x size (PANet section 4.1: 417); null keeps images at their own
            sizes, one episode a batch (SG-One).
        test_size: size of validation and test episodes where the protocol has none; ``size`` if null (PMMs: 321, 481).
        augment: albumentations for training, each as ``{class_path: ..., init_args: {...}}``.
        support_void: what pixels labelled 255 are in supports of training: ``background`` (all seed codes), or
            ``ignore``.
        query_void: what they are in the training loss: ``ignore`` (PANet), or ``background`` (PMMs, CANet).
        support_annotation: what supports of training are annotated with: ``mask``, ``scribble`` or ``box``.
        test_support_annotation: the same of validation and test; ``support_annotation`` if null (PANet trains with
            masks and tests with all three, table 6).
        box_instance: whose box: the ``largest`` instance's (PANet's code), or a ``random`` one's (its paper).
    """

    size: int | None = field(default=417, metadata=_about(_TRAINING, SIDE))
    test_size: int | None = field(default=None, metadata=_about(_VALIDATION | _ROWS, SIDE, "size"))
    augment: list[dict[str, Any]] = field(default_factory=lambda: [_FLIP], metadata=_about(_TRAINING))
    support_void: Void = field(default="background", metadata=_about(_TRAINING))
    query_void: Void = field(default="ignore", metadata=_about(_TRAINING))
    support_annotation: Annotation = field(default="mask", metadata=_about(_TRAINING))
    test_support_annotation: Annotation | None = field(
        default=None, metadata=_about(_VALIDATION | _ROWS, None, "support_annotation")
    )
    box_instance: BoxInstance = field(default="largest", metadata=_about(_TRAINING | _VALIDATION | _ROWS))

    def with_defaults(self) -> Self:
        """The same, with the values that null stands for."""
        return replace(
            self,
            test_size=self.size if self.test_size is None else self.test_size,
            test_support_annotation=self.test_support_annotation or self.support_annotation,
        )


@dataclass(frozen=True)
class EpisodeOptions:
    """Which images episodes are drawn from, and how many episodes.

    Attributes:
        train: training episodes per epoch; every epoch has new ones.
        val: validation episodes.
        test_file: file of test episodes, see `fsseg.episodes.episode_file`; they take the place of the protocol's
            draw.
        drop_novel: leave out training images that show a novel class. PANet keeps them, the object as background.
        pairs: which images count for a class in training and validation, see `Protocol`; PMMs: ``official`` on VOC.
        pairs_files: folder of list files in place of the ``official`` pairs, see `fsseg.episodes.pair_lists`.
        min_pixels: an image counts for a class from this many pixels on, in training and validation.
        missing_classes: what a class with too few images for an episode is: an ``error``, or a class to ``skip``.
        seed: of training and validation episodes; --seed_everything where it is not given.
    """

    train: int = field(default=1000, metadata=_about(_TRAINING | _VALIDATION, COUNT))
    val: int = field(default=200, metadata=_about(_VALIDATION, Range(0, 10_000_000)))
    test_file: str | None = field(default=None, metadata=_about(_EPISODES))
    drop_novel: bool = field(default=False, metadata=_about(_TRAINING))
    pairs: Pairs = field(default="any", metadata=_about(_TRAINING | _VALIDATION))
    pairs_files: str | None = field(default=None, metadata=_about(_TRAINING | _VALIDATION | _EPISODES))
    min_pixels: int = field(default=1, metadata=_about(_TRAINING | _VALIDATION, COUNT))
    missing_classes: Missing = field(default="error", metadata=_about(_TRAINING | _VALIDATION | _EPISODES))
    seed: int | None = field(default=None, metadata=_about(_TRAINING | _VALIDATION, SEED))


@dataclass(frozen=True)
class LoadingOptions:
    """How episodes are loaded: speed, memory, and broken files.

    Attributes:
        workers: processes that load episodes; 0 loads in the main one.
        test_batch_size: validation and test episodes per step.
        unreadable_images: what an image that cannot be read is: an ``error``, or a reason to ``skip`` its episodes.
        cache_features: a test encodes each image once and keeps its features, where images are of one size and none
            is skipped.
        cache_memory: GB of features in memory, beyond which they are in a file; half of what is free by default.
    """

    workers: int = field(default=2, metadata=_about(_MACHINE, WORKERS))
    test_batch_size: int = field(default=1, metadata=_about(_MACHINE, SHOTS))
    # Not compared: a file may be repaired, or skipped, before a run is resumed.
    unreadable_images: Missing = field(default="error", metadata=_about(_MACHINE))
    cache_features: bool = field(default=True, metadata=_about(_MACHINE))
    cache_memory: float | None = field(default=None, metadata=_about(_MACHINE, Range(0, 1_000_000)))


GROUPS = {"images": ImageOptions, "episodes": EpisodeOptions, "loading": LoadingOptions}

# Every option of `EpisodeData` by dotted name; a test holds the first ones to its signature.
OPTIONS: Mapping[str, Option] = {
    "dataset": Option(_ALL),
    "root": Option(_MACHINE),
    "fold": Option(_ALL),
    "way": Option(_ALL),
    "shot": Option(_TRAINING, SHOTS),  # of a test only where test_shot is null, see `with_defaults`
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
        data: an `EpisodeData`, or its configuration as a mapping or a namespace; its groups likewise.

    Raises:
        FssegError: a group is one value.
    """
    found: dict[str, Any] = {}
    for name, value in _members(data).items():
        if name in GROUPS:
            found |= {f"{name}.{member}": one for member, one in _members(value, name).items()}
        else:
            found[name] = value
    return found


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by dotted name, with the values that null stands for."""
    filled = dict(options)
    for name, option in OPTIONS.items():
        if option.default is not None and options.get(name) is None:
            group, dot, _ = name.rpartition(".")
            filled[name] = options.get(f"{group}{dot}{option.default}")
    return filled


def _members(value: Any, name: str = "") -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    if not hasattr(value, "__dict__"):
        first = fields(GROUPS[name])[0].name
        raise FssegError(f"--data.{name} {value}: its options are needed, e.g. --data.{name}.{first}.")
    members: Mapping[str, Any] = vars(value)
    return members
