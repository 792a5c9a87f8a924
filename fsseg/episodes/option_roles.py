"""What each option of `EpisodeData` decides. Whoever compares two trainings or two tests reads this table."""

from collections.abc import Mapping
from enum import Flag, auto
from typing import Any


class Decides(Flag):
    """What an option decides. Two runs may differ in an option that does not decide what they are compared by."""

    MACHINE = 0  # speed, memory, and where files lie
    TRAINING = auto()  # the weights after a given number of steps
    LENGTH = auto()  # after how many steps a training ends
    VALIDATION = auto()  # the numbers of a validation, and by them the best checkpoint
    EPISODES = auto()  # the episodes of a test
    ROWS = auto()  # what a test counts in its episodes


_TRAINING, _VALIDATION, _EPISODES, _ROWS = Decides.TRAINING, Decides.VALIDATION, Decides.EPISODES, Decides.ROWS
_ALL = _TRAINING | _VALIDATION | _EPISODES | _ROWS

# One entry for each parameter of `EpisodeData`, in its order; a test holds the table to the signature.
DATA: Mapping[str, Decides] = {
    "dataset": _ALL,
    "root": Decides.MACHINE,
    "fold": _ALL,
    "way": _ALL,
    "shot": _TRAINING,  # of a test only where test_shot is null, see `with_defaults`
    "test_shot": _VALIDATION | _EPISODES,
    "query": _ALL,
    "size": _TRAINING,
    "test_size": _VALIDATION | _ROWS,
    "batch_size": _TRAINING,
    "episodes": _TRAINING | _VALIDATION,
    "augment": _TRAINING,
    "drop_novel": _TRAINING,
    "pairs": _TRAINING | _VALIDATION,
    "pairs_files": _TRAINING | _VALIDATION | _EPISODES,
    "min_pixels": _TRAINING | _VALIDATION,
    "support_void": _TRAINING,
    "query_void": _TRAINING,
    "support_annotation": _TRAINING,
    "test_support_annotation": _VALIDATION | _ROWS,
    "box_instance": _TRAINING | _VALIDATION | _ROWS,
    "missing_classes": _TRAINING | _VALIDATION | _EPISODES,
    "unreadable_images": Decides.MACHINE,  # a broken file may be repaired, or skipped, before a run is resumed
    "val_episodes": _VALIDATION,
    "test_batch_size": Decides.MACHINE,
    "episode_list": _EPISODES,
    "seed": _TRAINING | _VALIDATION,
    "workers": Decides.MACHINE,
    "reuse": Decides.MACHINE,
    "reuse_memory": Decides.MACHINE,
    "protocol": _VALIDATION | _EPISODES | _ROWS,
}

# Options that have another one's value where they are null.
DEFAULTS: Mapping[str, str] = {
    "test_shot": "shot",
    "test_size": "size",
    "test_support_annotation": "support_annotation",
}


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `EpisodeData` with the values that null stands for."""
    filled = {name: options.get(other) for name, other in DEFAULTS.items() if options.get(name) is None}
    return {**options, **filled}
