"""Checks whether the folds of a benchmark can be trained and tested, before the first training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from fsseg.errors import FssegError, MachineError, TooFewImagesError

if TYPE_CHECKING:
    from fsseg.experiment.data_alone import DataChecks
    from fsseg.jobs.plan import Plan, Training


class Refused(NamedTuple):
    """A training or a test that cannot run.

    Attributes:
        command: ``fit`` or ``test``.
        fold: its fold.
        shots: shots of the tests that are lost.
        error: the reason.
    """

    command: str
    fold: int
    shots: tuple[int, ...]
    error: FssegError


def refuse_untestable(plan: Plan, checks: DataChecks) -> None:
    """Refuse a plan with folds that cannot be trained or tested, by the checks of `fit` and `test`.

    Args:
        plan: The plan; jobs that are done are not checked.
        checks: Checks of the experiment's data.

    Raises:
        FssegError: Some folds cannot be trained or tested; names each of them. Or the data set cannot be opened.
    """
    different = {(t.fold, t.shot, t.is_trained(), t.open_shots()): t for t in plan.trainings()}  # one of all seeds
    if all(trained and not shots for _, _, trained, shots in different):
        return
    checks.open(plan.folds[0], plan.untrained)  # an error of the files is the same for all folds
    wrong = [refused for training in different.values() for refused in _refused(checks, training)]
    if wrong:
        raise FssegError(_in_words(plan, wrong))


def _refused(checks: DataChecks, training: Training) -> list[Refused]:
    fold, shots, data = training.fold, training.open_shots(), None
    if not training.is_trained():
        try:
            data = checks.training(fold, training.shot)
        except MachineError:
            raise
        except FssegError as error:
            return [Refused("fit", fold, shots, error)]
    found = []
    for shot in shots:
        try:
            checks.test(fold, training.shot, shot, data)
        except MachineError:
            raise
        except FssegError as error:
            found.append(Refused("test", fold, (shot,), error))
    return found


def _in_words(plan: Plan, wrong: Sequence[Refused]) -> str:
    """The refused folds with their reasons, and what would go on, on one line."""
    most = {(each.fold, each.command): each for each in sorted(wrong, key=lambda each: each.shots)}
    reasons: dict[str, list[int]] = {}  # folds of each reason; of several shots, the most lack the most images
    for each in sorted(most.values(), key=lambda each: each.fold):
        reasons.setdefault(_reason(each.error), []).append(each.fold)
    count = len({each.fold for each in wrong})
    named = "; ".join(f"fold {', '.join(map(str, folds))}: {text}" for text, folds in reasons.items())
    if len(reasons) == 1 and count == len(plan.folds):
        named = next(iter(reasons))
    done = "tested" if plan.untrained else "trained and tested"
    fix = f" Go on with {', or '.join(_ways(plan, wrong))}." if _ways(plan, wrong) else ""
    return f"benchmark: {count} of {len(plan.folds)} folds cannot be {done}: {named}.{fix}"


def _reason(error: FssegError) -> str:
    return error.lack if isinstance(error, TooFewImagesError) else str(error).removesuffix(".")


def _ways(plan: Plan, wrong: Sequence[Refused]) -> list[str]:
    """Options under which the checks pass."""
    lost, refused = {shot for each in wrong for shot in each.shots}, {each.fold for each in wrong}
    kept = {
        "shots": [str(shot) for shot in plan.shots if shot not in lost],
        "folds": [str(fold) for fold in plan.folds if fold not in refused],
    }
    skip = all(isinstance(each.error, TooFewImagesError) and each.error.can_skip for each in wrong)
    options = [f"--{name} {' '.join(values)}" for name, values in kept.items() if values]
    return ["--data.episodes.missing_classes skip"] * skip + options
