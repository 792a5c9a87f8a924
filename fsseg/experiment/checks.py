"""Checks of fit, validate and test before anything is built: one function for each error or note, run in this order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fsseg import class_paths, limits
from fsseg.episodes.options import RANGES, flat
from fsseg.errors import FssegError
from fsseg.experiment import compatibility
from fsseg.runs import folders
from fsseg.runs.ranks import note

if TYPE_CHECKING:
    from fsseg.experiment.configuration import Configuration

_SPAWNED = ("ddp_spawn", "ddp_fork", "ddp_notebook")


def _ranges(c: Configuration) -> None:
    limits.check(vars(c.options), {"seed_everything": limits.SEED})
    limits.check(flat(c.options.data), RANGES, "`data.{}`")
    limits.check(vars(c.options.trainer), limits.TRAINER, "`trainer.{}`")
    limits.check_arguments(c.options.data.dataset, "data.dataset")
    limits.check_arguments(c.options.model.method, "model.method")


def _data_folder(c: Configuration) -> None:
    folders.check_root(c.options.data.root, class_paths.load(c.options.data.dataset.class_path))


def _strategy(c: Configuration) -> None:
    strategy = c.options.trainer.strategy
    if strategy in _SPAWNED:
        raise FssegError(
            f"`trainer.strategy` {strategy} is not supported: its processes are forked or spawned. Use ddp."
        )


def _untrained(c: Configuration) -> None:
    if c.options.untrained and (c.options.ckpt_path or c.command == "fit"):
        raise FssegError("`untrained` is for `test` and `validate` without `ckpt_path`.")


def _something_to_test(c: Configuration) -> None:
    if c.options.ckpt_path is None and c.command != "fit" and not c.options.untrained:
        raise FssegError(f"{c.command} needs `ckpt_path` FILE, or `untrained` to measure the network as it starts.")


def _weights(c: Configuration) -> None:
    path = c.options.model.weights
    if path is None or c.command == "fit":
        return
    if "--model.weights" in c.flags or c.options.untrained:
        raise FssegError(f"`model.weights` {path} starts a training (`fit`); `ckpt_path` {path} measures the file.")


def _same_method(c: Configuration) -> None:
    if c.card is not None:
        compatibility.refuse_other_method(c.options.ckpt_path, c.card, c.saved)
    if c.start is not None:
        compatibility.refuse_other_class(f"`model.weights` {c.options.model.weights}", c.start, c.saved)


def _resumable(c: Configuration) -> None:
    if c.command == "fit" and c.card is not None and not c.card.resumable:
        path, what = c.options.ckpt_path, "imported" if c.card.origin else "published or saved"
        raise FssegError(f"{path} is {what}, without an optimiser: start a training with `model.weights` {path}.")


def _end_of_training(c: Configuration) -> None:
    trainer = c.options.trainer
    if c.command == "fit" and trainer.max_steps < 1 and trainer.max_epochs in (None, -1) and trainer.max_time is None:
        raise FssegError(f"`trainer.max_steps` {trainer.max_steps}: a training needs an end, e.g. 30000.")


def _schedule(c: Configuration) -> None:
    """Refuse a training longer than its schedule, and note a schedule longer than twice the training.

    Polynomial schedules end at a rate of 0, so that ``total_steps`` is one more than the steps of the training.
    """
    steps = c.options.trainer.max_steps
    total = (c.saved["model"]["lr_scheduler"].get("init_args") or {}).get("total_steps")
    if c.command != "fit" or total is None:
        return
    if steps > total:
        fix = f"Give `model.lr_scheduler.total_steps` {steps + 1} too"
        if c.card is not None:
            fix = f"A resumed training keeps its schedule: lower `trainer.max_steps` to {total}, or train again"
        raise FssegError(f"`trainer.max_steps` {steps} goes beyond the schedule's end at {total}. {fix}.")
    if 0 < steps < total / 2:
        note(
            f"the learning rate's schedule ends at step {total:,}, this training at {steps:,}; "
            f"`model.lr_scheduler.total_steps` {steps + 1} would let it fall to the end."
        )


def _same_training(c: Configuration) -> None:
    if c.command == "fit" and c.card is not None:
        compatibility.refuse_other_training(c.options.ckpt_path, c.card, c.saved)


def _more_steps(c: Configuration) -> None:
    steps = c.options.trainer.max_steps
    if c.command == "fit" and 0 < steps <= c.step and not c.at_end:
        raise FssegError(
            f"{c.options.ckpt_path} is at step {c.step:,}; `trainer.max_steps` {steps:,} is not above it. Give a "
            "larger number."
        )


def _base_images(c: Configuration) -> None:
    """Compare the option ``drop_novel``, which a training follows, with the protocol.

    A difference from a preset is a note; ``base_images`` on the command line is refused, since it would have no effect.
    """
    wanted = c.protocol.base_images == "drop"
    if c.command != "fit" or wanted == c.saved["data"]["episodes"]["drop_novel"]:
        return
    fix = f"`data.episodes.drop_novel` {str(wanted).lower()}"
    if "base_images" in c.saved["protocol"]:
        raise FssegError(f"`protocol.base_images` {c.protocol.base_images}: a training follows {fix}.")
    does = "leaves out" if wanted else "keeps"
    note(f"protocol {c.protocol.name} {does} images that show a novel class; {fix} would.")


CHECKS = (
    _ranges,
    _data_folder,
    _strategy,
    _untrained,
    _weights,
    _something_to_test,
    _same_method,
    _resumable,
    _end_of_training,
    _schedule,
    _same_training,
    _more_steps,
    _base_images,
)
# Checks of options that a checkpoint is made with when weights are imported: neither data nor a training are needed.
OF_IMPORT = (_ranges,)
