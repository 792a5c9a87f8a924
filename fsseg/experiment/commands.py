"""fit, validate and test: what they do once everything is built."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from fsseg import atomic
from fsseg.errors import INTERRUPTED, DivergedError, FssegError
from fsseg.experiment import compatibility
from fsseg.experiment.arguments import value_of, without
from fsseg.experiment.configuration import Commands
from fsseg.experiment.parser import check_yaml
from fsseg.experiment.protocol_options import chosen
from fsseg.results.stream import Streamed
from fsseg.results.tables import Table
from fsseg.results.test_facts import Tested
from fsseg.results.texts import ProtocolOutcome, side_by_side, side_by_side_json, side_by_side_markdown
from fsseg.runs import folders, partial_test
from fsseg.runs.checkpoint_files import card_of
from fsseg.runs.library_errors import plain_errors, quieten, restoring
from fsseg.runs.lock import locked
from fsseg.runs.logger_callbacks import LoggedTest
from fsseg.runs.loggers import opened
from fsseg.runs.ranks import note
from fsseg.runs.resume import finishing, left_to_do
from fsseg.runs.skipped_episodes import Skipped
from fsseg.runs.test_description import describe
from fsseg.runs.test_report import Report
from fsseg.untrusted.configuration import known_classes_only

_CHOSEN = {"base_val": "base classes of the val images", "novel_val": "the novel classes"}
_AS_TEST = {
    "--data.shot": "--data.test_shot",
    "--data.images.support_annotation": "--data.images.test_support_annotation",
}  # what a test is asked for wins over the experiment's test_...


def run(arguments: list[str]) -> int:
    """Run ``fit``, ``validate`` or ``test`` with arguments that the dispatcher has put in order."""
    quieten()
    arguments, protocols = without(arguments, "--protocols")
    if protocols is not None and arguments[0] != "test":
        raise FssegError("--protocols is for `test`; fit and validate take one --protocol.name.")
    if "--resume" not in arguments:
        return _configured_run(arguments, protocols)
    if protocols is not None:
        raise FssegError("--resume is for a test under one protocol: give --protocol.name in place of --protocols.")
    out = value_of(arguments, "--out")
    with locked(Path(out)) if out else nullcontext():  # before anything in the folder decides what is left to do
        more = left_to_do(arguments[0], out, value_of(arguments, "--ckpt_path"))
        return _configured_run([*arguments, *more], None)


def _configured_run(arguments: list[str], protocols: str | None) -> int:
    arguments, stored = _configured(arguments)
    for path in [word for before, word in pairwise(arguments) if before == "--config"]:
        check_yaml(path)
    with known_classes_only() if stored else nullcontext():
        return _under_each(arguments, chosen(protocols)) if protocols is not None else _run(arguments).code


def _configured(arguments: list[str]) -> tuple[list[str], bool]:
    """Arguments with the configuration of the checkpoint where there is no other, and a test's options as a test's.

    Returns:
        the arguments, and whether they have the checkpoint's configuration.
    """
    ckpt_path = value_of(arguments, "--ckpt_path")
    flags = {word.partition("=")[0] for word in arguments}
    stored = ckpt_path is not None and "--config" not in flags
    if ckpt_path is not None and stored:
        arguments[1:1] = ["--config", compatibility.stored_config(ckpt_path, card_of(ckpt_path))]
    elif not {"--config", "--model", "--model.method", "--help"} & flags and not any(
        f.endswith(".help") for f in flags
    ):
        raise FssegError(f"{arguments[0]} needs --config FILE, e.g. --config experiments/quickstart.yaml.")
    if arguments[0] != "fit":
        for option, tested in _AS_TEST.items():
            value = value_of(arguments, option)
            if value is not None and tested not in flags:
                arguments.append(f"{tested}={value}")
    return arguments, stored


def _run(arguments: list[str], alone: bool = True) -> "Runs":
    try:
        with plain_errors(), restoring():
            return Runs(arguments, alone)
    finally:
        folders.forget()


def _under_each(arguments: list[str], names: Sequence[str]) -> int:
    """Test under one protocol after another, and show them side by side; one that is not possible says why."""
    arguments, out = without(arguments, "--out")
    arguments, name = without(arguments, "--protocol.name")
    if name is not None:
        raise FssegError("--protocols names the protocols; leave --protocol.name out.")
    ckpt_path = value_of(arguments, "--ckpt_path")
    config = Path(value_of(arguments, "--config") or "untrained").stem
    beside = Path(ckpt_path).parent if ckpt_path else Path("runs") / config
    folder = folders.empty(Path(out)) if out else folders.fresh(beside / "protocols")
    outcomes = []
    for name in names:
        print(f"protocol {name}", file=sys.stderr, flush=True)
        try:
            ran = _run([*arguments, f"--protocol.name={name}", f"--out={folder / name}"], alone=False)
            outcomes.append(ProtocolOutcome(name, ran.table))
        except FssegError as error:
            outcomes.append(ProtocolOutcome(name, None, str(error)))
    if not any(outcome.table for outcome in outcomes):
        raise FssegError(f"no protocol can be tested here. {names[0]}: {outcomes[0].refused}")
    atomic.write_text(folder / "protocols.md", side_by_side_markdown(outcomes))
    atomic.write_text(folder / "protocols.json", side_by_side_json(outcomes))
    print(f"\n{side_by_side(outcomes)}\n\n  table     {folder}/protocols.md  protocols.json")
    print(f"  each      {folder}/{{{','.join(o.name for o in outcomes if o.table)}}}/")
    return 0


class Runs(Commands):
    """Runs a command, once `Commands` has built what it needs.

    Args:
        arguments: the command and its flags.
        alone: it is not one of several tests, whose tables are shown together.
    """

    def __init__(self, arguments: list[str], alone: bool) -> None:
        self.alone = alone
        self.table: Table | None = None  # of a test
        self.report: Report | None = None  # likewise
        super().__init__(arguments)

    def _run_subcommand(self, subcommand: str) -> None:
        if self.done:
            if self.trainer.is_global_zero:
                print(f"already trained: {self._get(self.config, 'ckpt_path')}")
            return
        {"fit": self._fit, "validate": self._validate, "test": self._test}[subcommand]()

    def _kept(self) -> AbstractContextManager[None]:
        """Take a new folder away again where a training fails before its first checkpoint."""
        return folders.kept_if(self.folder, lambda: any(self.folder.glob("*.ckpt")))

    def _fit(self) -> None:
        self.datamodule.setup("fit")  # whatever it refuses, it refuses before a file is written
        if left := self.datamodule.unvalidated:
            names = ", ".join(self.datamodule.dataset.class_name(c) for c in left)
            what = f"of {names}" if len(left) < len(self.datamodule.validated) else "at all"
            note(f"no validation {what}: too few val images.")
        resumed = self.card.step if self.card else 0
        before, now = self.card.processes if self.card else self.trainer.world_size, self.trainer.world_size
        if before != now:
            note(f"a training of {before} processes goes on in {now}, with other episodes and random numbers.")
        leader, fast = self.trainer.is_global_zero, bool(self.trainer.fast_dev_run)
        with locked(self.folder), self._kept() if leader else nullcontext():
            if leader and not fast:
                folders.refuse_run(self.folder, self._get(self.config, "ckpt_path"))  # begun since we looked
                folders.make(self.folder)
                atomic.write_text(self.folder / "config.yaml", yaml.safe_dump(self.own, sort_keys=False))
            try:
                with finishing(self.folder, self.own, self.trainer, resumed, lambda: not self.last.interrupted):
                    if not self.at_end:
                        with opened(self.trainer.loggers, self.trainer, self.folder):
                            super()._run_subcommand("fit")
            except SystemExit:  # Lightning's, after a Ctrl-C
                if not (self.last.interrupted and self.last.path.is_file()):
                    raise
        if leader and self.last.path.is_file():
            step = max(resumed, self.trainer.global_step)
            done, following = ("stopped at", "fit") if self.last.interrupted else ("trained to", "test")
            print(f"\n{done} step {step:,}: {self.last.path}")
            print(f"next: fsseg {following} --ckpt_path {self.last.path}")
            if self.last.best_path.is_file():
                print(f"best on {_CHOSEN[self.protocol.selection]}: {self.last.best_path}")
        self.code = INTERRUPTED if self.last.interrupted else 0

    def _validate(self) -> None:
        data = self.datamodule
        if data.episodes.val == 0:
            raise FssegError("--data.episodes.val 0 leaves nothing to validate.")
        super()._run_subcommand("validate")
        metrics = self.trainer.callback_metrics
        if not metrics:
            raise FssegError("no base class has enough val images for validation episodes. Lower --data.shot.")
        if not self.trainer.is_global_zero:
            return
        tested = describe(
            self.model,
            data,
            self._get(self.config, "ckpt_path"),
            self.card,
            self._get(self.config, "seed_everything"),
            self.trainer.precision,
        )
        print(f"{tested.setting.label}  {tested.setting.encoder}  {tested.origin}")
        classes = "novel" if data.validated == data.novel else "base"
        print(f"{data.dataset.name} fold {data.fold}, {classes} classes, val images, {data.episodes.val} episodes")
        for key, name in {"val/mean_iou": "mean-IoU", "val/binary_iou": "binary-IoU"}.items():
            print(f"  {name:12}{100 * float(metrics[key]):.1f}")

    def _test(self) -> None:
        config = self.config[str(self.subcommand)]
        if not self.alone and self.trainer.world_size > 1:
            raise FssegError("--protocols tests in one process: --trainer.devices 1 is needed.")
        if config.resume and partial_test.is_finished(Path(config.out)):
            self._already_tested(Path(config.out))
            return
        folder = folders.empty(Path(config.out)) if config.out else folders.fresh(self._result_path(config))
        with locked(folder), folders.result_folder(folder, self._keeps) as part:
            tested = self._set_up()
            taken = self._taken_up(config, tested.asked, folder, part)
            self.report = report = Report(tested, self.datamodule.dataset, part, taken)
            if taken:
                partial_test.forget(folder, part, tested.asked)
            key, step = "test" if self.alone else f"test/{self.protocol.name}", self.card.step if self.card else 0
            self.trainer.callbacks += [Skipped(), report, LoggedTest(self.loggers, report, self.own, step, key)]
            with opened(self.loggers, self.trainer, self.run_folder(config)):
                super()._run_subcommand("test")
            if self.trainer.is_global_zero:
                if report.table is None:
                    raise FssegError("no episode was tested: --trainer.limit_test_batches leaves none.")
                atomic.write_text(part / "config.yaml", yaml.safe_dump(self.own, sort_keys=False))
                report.close()
                partial_test.end(folder, part)
        self.table = report.table
        if self.trainer.is_global_zero and self.alone:
            print(report.text(folder))

    def _set_up(self) -> Tested:
        """What is about to be tested, once the data is open."""
        config, data = self.config[str(self.subcommand)], self.datamodule
        data.setup("test")
        tested = describe(self.model, data, config.ckpt_path, self.card, config.seed_everything, self.trainer.precision)
        asked = partial_test.asked_of(self.own, config.ckpt_path, data.protocol, data.pair_count)
        return replace(tested, asked=asked)

    def _already_tested(self, folder: Path) -> None:
        """Say that a test is finished, if it is the one that is asked for."""
        tested = self._set_up()
        partial_test.refuse_other_test(folder, tested)
        if self.trainer.is_global_zero:
            print(f"already tested: {folder / 'table.md'}")

    def _taken_up(self, config: Any, asked: Mapping[str, Any], folder: Path, part: Path) -> Streamed | None:
        """The rows of the same test, where it was stopped; by one process alone, which no other must agree with."""
        if self.trainer.world_size > 1:
            return None
        partial_test.begin(part, asked)
        if not config.resume:
            return None
        data = self.datamodule
        most = data.protocol.runs * data.protocol.episodes - 1  # a test of nothing would end without table
        taken = partial_test.take_up(folder, part, asked, at_most=most)
        if taken:
            data.tested_episodes = taken.episodes
            print(f"going on after {taken.episodes:,} episodes that were tested before", file=sys.stderr)
        return taken

    def _keeps(self, error: BaseException, part: Path) -> bool:
        """Whether the rows of a test that fails are worth going on from; says so."""
        report = self.report
        if report is None or report.stream.episodes == 0 or not self.alone or self.trainer.world_size > 1:
            return False
        if isinstance(error, DivergedError):
            return False
        folder = part.with_name(part.name[1:].rpartition("-")[0])
        done = report.stream.episodes
        print(
            f"fsseg: {done:,} of {report.expected:,} episodes are kept; the same command with --resume --out {folder} "
            "goes on from there",
            file=sys.stderr,
        )
        return True

    def _result_path(self, config: Any) -> Path:
        if config.ckpt_path:
            return Path(config.ckpt_path).parent / "test"
        return self.run_folder(config) / "test-untrained"
