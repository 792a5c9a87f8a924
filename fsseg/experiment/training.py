"""Runs a training of a complete configuration."""

from collections.abc import Mapping, Sized
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import yaml

from fsseg import atomic
from fsseg.episodes import EpisodeData
from fsseg.errors import FssegError
from fsseg.experiment.configuration import Configuration
from fsseg.experiment.objects import Objects, build
from fsseg.experiment.warm_start import in_words
from fsseg.progress import tell
from fsseg.runs import folders
from fsseg.runs.lock import locked
from fsseg.runs.loggers import opened
from fsseg.runs.ranks import note
from fsseg.runs.resume import finishing, is_trained

_NAMED = 3  # left out classes that the line about the classes names
_COUNTED = 20  # classes of a training whose images that line counts


class Trained(NamedTuple):
    """Result of a training.

    Attributes:
        folder: Folder of the run.
        step: Last step.
        last: Checkpoint of the last step; None if none was written.
        best: Checkpoint of the best validation, if the protocol or a ModelCheckpoint selects by validation.
        interrupted: Whether a signal stopped the training.
        before: Whether the training was finished before this command.
        val: Mean-IoU of the last validation, in 0..1; None without one.
        untrained: Mean-IoU of the encoder's untrained prototypes on the same episodes; None if it was not measured.
        testable: Whether there are novel classes to test on.
    """

    folder: Path
    step: int
    last: Path | None = None
    best: Path | None = None
    interrupted: bool = False
    before: bool = False
    val: float | None = None
    untrained: float | None = None
    testable: bool = True


def train(c: Configuration) -> Trained:
    """Train a method, in one or several processes.

    Raises:
        FssegError: The data or the folder is refused, or the training fails.
    """
    if c.card is not None and c.options.resume and is_trained(Path(c.options.ckpt_path), c.saved):
        return Trained(c.folder, c.step, Path(c.options.ckpt_path), before=True)
    built = build(c)
    trainer, last = built.trainer, built.checkpoints
    built.data.setup("fit")  # its errors come before any file is written
    _refuse_watching(built)
    leads = trainer.is_global_zero
    if leads:
        if c.start is not None:
            tell(in_words(c))
        tell(_classes(built.data))
        if built.data.validation.images:
            tell(_validated(built.data))
    _note_differences(c, built.data, trainer.world_size)
    with locked(c.folder), folders.kept_if(c.folder, lambda: any(c.folder.glob("*.ckpt"))) if leads else nullcontext():
        if leads and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            _begin(c)
        try:
            _fit(c, built)
        except SystemExit:  # Lightning's, after a Ctrl-C
            if not (last.interrupted and last.path.is_file()):
                raise
    written = last.path if last.path.is_file() else None
    found, step = trainer.callback_metrics.get("val/mean_iou"), max(c.step, trainer.global_step)
    val = None if found is None else float(found)
    untrained, novel = built.task.untrained, bool(built.data.novel)
    return Trained(c.folder, step, written, _best(built), last.interrupted, False, val, untrained, novel)


def _best(built: Objects) -> Path | None:
    """Checkpoint of the best validation: the protocol's, or that of Lightning's ModelCheckpoint with a metric."""
    own, callbacks = built.checkpoints.best_path, built.trainer.checkpoint_callbacks
    found = [Path(each.best_model_path) for each in callbacks if getattr(each, "monitor", None)]
    beside = [own.parent / path.name for path in found if path.parent == own.parent.resolve()]  # as the user names it
    return next((path for path in [own, *beside, *found] if path.is_file()), None)


def _classes(data: EpisodeData) -> str:
    """The classes of a training with their numbers of train images, and the classes that are left out, on one line."""
    found = data.trained
    left = _left_out(data, found.left_out, found.least, "; `data.episodes.min_images`")
    held = "" if data.novel else f"; no class is held out, but {len(data.dataset.numbers('val')):,} val images are"
    return f"training classes: {len(found.images)} with {_span(found.images)} images{_counts(data)}{left}{held}"


def _counts(data: EpisodeData) -> str:
    """Train images of each class, fewest first, if one has twice as many as another."""
    counts = {c: len(images) for c, images in data.trained.images.items()}
    differ = max(counts.values()) >= 2 * min(counts.values())
    return f": {_fewest(data, counts, _COUNTED)}" if differ else ""


def _validated(data: EpisodeData) -> str:
    """The classes of a validation with their numbers of val images, and the classes that are left out, on one line."""
    found, name = data.validation, data.dataset.class_name
    kind = "" if found.kind == "validation" else f"{found.kind} "
    several, names = len(found.images) > 1, ", ".join(map(name, found.images))
    classes = f"{kind}class{'es' * several} {names}"
    if len(found.images) > _NAMED:
        classes = f"{len(found.images)} {kind}classes"
    left = _left_out(data, found.left_out, found.shot + data.query)
    sizes, asked = (f"{way}-way {shot}-shot" for way, shot in ((found.way, found.shot), (data.way, data.test_shot)))
    smaller = f"; {sizes} episodes, because {asked} ones need more images" if sizes != asked else ""
    return f"validation: {classes} with {_span(found.images)} val images{left}{smaller}"


def _span(images: Mapping[int, Sized]) -> str:
    """Fewest and most images of a class."""
    counts = sorted(map(len, images.values()))
    return f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"


def _left_out(data: EpisodeData, few: Mapping[int, int], least: int, option: str = "") -> str:
    """Classes that are left out with their numbers of images, those with the fewest first, and the reason."""
    why = f"fewer than {least}" + (" or too few complete masks" if data.dataset.weak else "")
    return f" ({_fewest(data, few, _NAMED)} left out: {why}{option})" if few else ""


def _fewest(data: EpisodeData, images: Mapping[int, int], most: int) -> str:
    """Names and numbers of images of the classes with the fewest images, and how many more there are."""
    rarest = sorted(images.items(), key=lambda one: one[1])
    more = f" and {len(images) - most} more" if len(images) > most else ""
    return ", ".join(f"{data.dataset.class_name(c)} {count:,}" for c, count in rarest[:most]) + more


def _refuse_watching(built: Objects) -> None:
    """Refuse callbacks that watch the validation of a training without one; Lightning would stop after an epoch."""
    found = built.data.validation
    for callback in [] if found.images else built.trainer.callbacks:  # type: ignore[attr-defined]
        if str(getattr(callback, "monitor", "")).startswith("val/"):
            watches = f"{type(callback).__name__} watches {callback.monitor}"
            raise FssegError(f"{watches}, without a validation: {found.reason}. Leave it out.")


def _note_differences(c: Configuration, data: EpisodeData, processes: int) -> None:
    """Note a training without validation, and a changed number of processes."""
    if missing := data.validation.missing:
        best = "" if c.protocol.selection == "last" else " No best.ckpt is written."
        note(f"no validation: {missing.lack}.{best}")
    if c.card is not None and c.card.processes != processes:
        note(
            f"a training of {c.card.processes} processes resumes in {processes}, with other episodes and random "
            "numbers."
        )


def _begin(c: Configuration) -> None:
    folders.refuse_run(c.folder, c.options.ckpt_path)  # another run may have begun after the first check
    folders.make(c.folder)
    atomic.write_text(c.folder / "config.yaml", yaml.safe_dump(c.saved, sort_keys=False))


def _fit(c: Configuration, built: Objects) -> None:
    trainer, data = built.trainer, built.data
    images = {data.dataset.class_name(number): len(found) for number, found in data.trained.images.items()}
    with finishing(c.folder, c.saved, trainer, c.step, images, lambda: not built.checkpoints.interrupted):
        if c.at_end:
            return
        with opened(trainer.loggers, trainer, c.folder):
            trainer.fit(built.task, datamodule=built.data, ckpt_path=c.options.ckpt_path, weights_only=True)
