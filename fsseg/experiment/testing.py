"""Runs a validation or a test of a complete configuration."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from fsseg import atomic
from fsseg.errors import DivergedError, FssegError
from fsseg.experiment.compatibility import seen_novel
from fsseg.experiment.configuration import Configuration
from fsseg.experiment.objects import Objects, build
from fsseg.progress import tell
from fsseg.results.stream import Streamed
from fsseg.results.tables import Table
from fsseg.results.test_facts import Tested
from fsseg.runs import folders, partial_test
from fsseg.runs.lock import locked
from fsseg.runs.logger_callbacks import LoggedTest
from fsseg.runs.loggers import opened
from fsseg.runs.skipped_episodes import Skipped
from fsseg.runs.test_description import describe
from fsseg.runs.test_report import Report

_NAMED = 5  # seen classes that a note names


class Validated(NamedTuple):
    """Result of a validation, as fractions of one.

    Attributes:
        mean_iou: Mean-IoU of the classes.
        binary_iou: IoU of foreground and background.
        heading: Description of method, data and episodes.
    """

    mean_iou: float
    binary_iou: float
    heading: str


class TestRun(NamedTuple):
    """Result of a test.

    Attributes:
        folder: Folder of the result files.
        table: Table; None if the test was finished before, and in all processes but the first.
        text: Text for the terminal.
    """

    folder: Path
    table: Table | None
    text: str


def measure(c: Configuration) -> Validated:
    """Validate a method.

    Raises:
        FssegError: There are no validation episodes.
    """
    built = build(c)
    data = built.data
    if data.episodes.val == 0:
        raise FssegError("`data.episodes.val` 0 leaves nothing to validate.")
    data.setup("validate")
    if data.validation.missing:
        raise data.validation.missing
    _run(c, built, "validate")
    metrics = built.trainer.callback_metrics
    if not metrics:
        raise FssegError("no episode was validated: `trainer.limit_val_batches` leaves none.")
    tested = _described(c, built)
    heading = (
        f"{tested.setting.label}  {tested.setting.encoder}  {tested.origin}\n"
        f"{data.dataset.name} fold {data.fold}, {data.validation.kind} classes, val images, "
        f"{data.episodes.val} episodes"
    )
    return Validated(float(metrics["val/mean_iou"]), float(metrics["val/binary_iou"]), heading)


def evaluate(c: Configuration, name: str = "") -> TestRun:
    """Test a method and write the results.

    Args:
        c: Complete configuration.
        name: Name of the test among those of one command (``--protocols``, ``--suite``); empty for a single test.

    Raises:
        FssegError: The data or the folder is refused, or the test fails.
    """
    built = build(c)
    if name and built.trainer.world_size > 1:
        raise FssegError("--protocols and --suite test in one process: `trainer.devices` 1 is needed.")
    if c.options.resume and partial_test.is_finished(Path(c.options.out)):
        return _finished(c, built)
    folder = folders.empty(Path(c.options.out)) if c.options.out else folders.fresh(_results(c))
    run = _Test(c, built, folder, name)
    with locked(folder), folders.result_folder(folder, run.keep) as part:
        report = run(part)
    return TestRun(folder, report.table, report.text(folder))


def _results(c: Configuration) -> Path:
    return c.folder / ("test" if c.options.ckpt_path else "test-untrained")


def _run(c: Configuration, built: Objects, stage: str) -> None:
    loop = getattr(built.trainer, stage)
    loop(built.task, datamodule=built.data, ckpt_path=c.options.ckpt_path, verbose=False, weights_only=True)


def _described(c: Configuration, built: Objects) -> Tested:
    options, precision = c.options, built.trainer.precision
    return describe(built.task, built.data, options.ckpt_path, c.card, options.seed_everything, precision)


def _set_up(c: Configuration, built: Objects) -> Tested:
    """Set up the data, and return the facts of the test with its identity."""
    built.data.setup("test")
    asked = partial_test.asked_of(c.saved, c.options.ckpt_path, built.data.protocol, built.data.pair_count)
    tested = _described(c, built)
    return replace(tested, asked=asked, notes=(*tested.notes, *_seen(c, built)))


def _seen(c: Configuration, built: Objects) -> list[str]:
    """Notes of tested classes that the weights have seen; without any, unless the protocol tests them."""
    found = seen_novel(c.card, built.data) if c.card else []
    of = len(built.data.novel)
    return [
        f"{len(seen):,} of {of:,} classes have the name of a class of the training on {training.dataset}: "
        f"{', '.join(seen[:_NAMED])}{', ...' * (len(seen) > _NAMED)}"
        for training, seen in found
    ]


def _finished(c: Configuration, built: Objects) -> TestRun:
    """The result of a finished test; another test than the requested one is refused."""
    folder = Path(c.options.out)
    tested = _set_up(c, built)
    partial_test.refuse_other_test(folder, tested)
    return TestRun(folder, None, f"already tested: {folder / 'table.md'}")


class _Test:
    """A test that writes into a folder.

    Args:
        c: Complete configuration.
        built: Its objects.
        folder: Final folder of the results.
        name: See `evaluate`.
    """

    def __init__(self, c: Configuration, built: Objects, folder: Path, name: str) -> None:
        self.c, self.built, self.folder, self.name = c, built, folder, name
        self.one_process = built.trainer.world_size == 1
        self.report: Report | None = None

    def __call__(self, part: Path) -> Report:
        """Test, and write the results into the temporary folder ``part``."""
        c, built, trainer = self.c, self.built, self.built.trainer
        tested = _set_up(c, built)
        before = self._continued(tested.asked, part) if self.one_process else None
        self.report = report = Report(tested, built.data.dataset, part, before)
        if before:
            partial_test.forget(self.folder, part, tested.asked)
        key = f"test/{self.name}" if self.name else "test"
        trainer.callbacks += [  # type: ignore[attr-defined]
            Skipped(),
            report,
            LoggedTest(built.loggers, report, c.saved, c.step, key),
        ]
        with opened(built.loggers, trainer, c.folder):
            _run(c, built, "test")
        if trainer.is_global_zero:
            if report.table is None:
                raise FssegError("no episode was tested: `trainer.limit_test_batches` leaves none.")
            atomic.write_text(part / "config.yaml", yaml.safe_dump(c.saved, sort_keys=False))
            report.close()
            partial_test.end(self.folder, part)
        return report

    def _continued(self, asked: Mapping[str, Any], part: Path) -> Streamed | None:
        """The partial rows of the same test if it was stopped; used in tests with one process only."""
        partial_test.begin(part, asked)
        if not self.c.options.resume:
            return None
        data = self.built.data
        most = data.protocol.runs * data.protocol.episodes - 1  # at least one episode must be tested to write the table
        before = partial_test.take_up(self.folder, part, asked, at_most=most)
        if before:
            data.tested_episodes = before.episodes
            tell(f"resuming after {before.episodes:,} episodes that were tested before")
        return before

    def keep(self, error: BaseException, part: Path) -> bool:
        """Whether the rows of a failed test are kept; if so, print how to resume the test."""
        report = self.report
        if report is None or report.stream.episodes == 0 or self.name or not self.one_process:
            return False
        if isinstance(error, DivergedError):
            return False
        tell(
            f"fsseg: {report.stream.episodes:,} of {report.expected:,} episodes are saved; the same command with "
            f"`resume` `out` {self.folder} resumes there"
        )
        return True
