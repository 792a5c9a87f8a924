"""Warm start: a training that begins with the weights of a checkpoint (``model.weights``), and nothing else of it.

The optimiser, the schedule, the step and the random state begin anew. The checkpoints of the new training list all
trainings that their weights have been through, so that none of their classes is tested as a novel one.
"""

from pathlib import Path

import torch

from fsseg.checksum import content_digest
from fsseg.episodes import EpisodeData
from fsseg.errors import FssegError
from fsseg.experiment import compatibility
from fsseg.experiment.configuration import Configuration
from fsseg.runs.test_description import recipe
from fsseg.task import Task
from fsseg.untrusted.card import Earlier, seen


def earlier_trainings(c: Configuration) -> list[Earlier]:
    """Trainings that the weights of a run have been through before the run, oldest first.

    A resumed training has those of its checkpoint, so that a moved file of weights is not needed again.
    """
    if c.card is not None:
        return c.card.earlier
    if c.start is None:
        return []
    start = c.start
    before = Earlier(
        dataset=start.dataset,
        fold=start.fold,
        trained_on=start.trained_on,
        step=start.step,
        recipe=recipe(start, starts=True),
        digest=content_digest(Path(c.options.model.weights)),
    )
    return [*start.earlier, before]


def load_weights(c: Configuration, task: Task, data: EpisodeData) -> None:
    """Load the weights of a warm start into a new task; any other run is left as it is.

    Raises:
        FssegError: The weights do not fit the method, are not finite, or have seen a novel class of the fold.
    """
    if c.start is None:
        return
    path = c.options.model.weights
    compatibility.refuse_other_weights(f"`model.weights` {path}", c.start, task)
    compatibility.refuse_seen_classes(f"`model.weights` {path}", c.start, data)
    state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["state_dict"]
    wrong = [name for name, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if wrong:
        raise FssegError(f"`model.weights` {path}: {wrong[0]} is not finite; its training diverged. Give another file.")
    task.load_state_dict(state)


def in_words(c: Configuration) -> str:
    """The line about a warm start at the start of a training."""
    assert c.start is not None
    return f"weights of {c.options.model.weights}, step {c.start.step:,}; seen: {seen(earlier_trainings(c))}"
