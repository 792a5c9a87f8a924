"""fit, validate and test: one LightningCLI, with its surprises taken out (see docs/design.md)."""

import logging
import sys
import warnings
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

import fsseg
from fsseg.cli import checkpoint, folders
from fsseg.cli.callbacks import LastCheckpoint
from fsseg.cli.parser import Parser, check_yaml
from fsseg.cli.progress import EpisodeProgress
from fsseg.cli.report import Report, describe
from fsseg.data import EpisodeData
from fsseg.encoders import without_pretrained_weights
from fsseg.errors import FssegError
from fsseg.task import Task, read_card

_OWN = ("seed_everything", "model", "data", "trainer", "checkpoint")  # what a configuration file holds
_INTERRUPTED = 130


def run(arguments: list[str]) -> int:
    """Run ``fit``, ``validate`` or ``test`` with arguments that the dispatcher has put in order."""
    _quieten()
    ckpt_path = _value(arguments, "--ckpt_path")
    card = read_card(ckpt_path) if ckpt_path else None
    flags = {word.partition("=")[0] for word in arguments}
    if card is not None and ckpt_path is not None and "--config" not in flags:
        arguments[1:1] = ["--config", checkpoint.stored_config(ckpt_path, card)]
    elif not {"--config", "--model", "--model.method", "--help"} & flags and not any(
        f.endswith(".help") for f in flags
    ):
        raise FssegError(f"{arguments[0]} needs --config FILE, e.g. --config experiments/quickstart.yaml.")
    for path in [word for before, word in pairwise(arguments) if before == "--config"]:
        check_yaml(path)
    try:
        return Commands(arguments, card).code
    except MisconfigurationException as error:
        raise FssegError(" ".join(str(error).split())) from error
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        raise FssegError(f"{error.filename or 'a file'} cannot be read or written: {error.strerror}.") from error


def _value(arguments: list[str], name: str) -> str | None:
    """Value of a flag, in either form, the last one given."""
    value = None
    for i, word in enumerate(arguments):
        if word.startswith(name + "="):
            value = word.partition("=")[2]
        elif word == name and i + 1 < len(arguments):
            value = arguments[i + 1]
    return value


def _quieten() -> None:
    """Silence what libraries chat about; warnings that a person can act on stay."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in ("LightningCLI's args", ".*LeafSpec.*", ".*does not have many workers.*",
                    "Checkpoint directory .* exists", ".*self.log.*batch_size.*", ".*returned 0 length.*",
                    ".*isinstance.treespec.*", ".*defined a `validation_step`.*",
                    ".*callbacks used to create the checkpoint", "Total length of `list` across ranks is zero",
                    "The number of training batches .* is smaller than the logging interval"):  # fmt: skip
        warnings.filterwarnings("ignore", message=message)


class Commands(LightningCLI):
    """The command line of fit, validate and test.

    Args:
        arguments: the command and its flags.
        card: of the checkpoint that was asked for.
    """

    def __init__(self, arguments: list[str], card: dict[str, Any] | None) -> None:
        self.card, self.code = card, 0
        super().__init__(
            Task,
            EpisodeData,
            save_config_callback=None,
            seed_everything_default=0,
            trainer_defaults={
                "max_epochs": -1,
                "use_distributed_sampler": False,  # its padding would count episodes twice
                "num_sanity_val_steps": 0,
                "enable_model_summary": False,
            },
            parser_class=Parser,
            parser_kwargs={"allow_abbrev": False},
            args=arguments,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Lightning's, without predict."""
        hidden = {"model", "dataloaders", "datamodule"}
        return {"fit": hidden | {"train_dataloaders", "val_dataloaders"}, "validate": hidden, "test": hidden}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options besides those of model, data and trainer."""
        parser.add_argument("--out", type=str | None, default=None, help="Folder of the run, or of the results.")
        parser.add_argument("--untrained", action="store_true", help="Test without a checkpoint.")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "step{step}",
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.every_n_train_steps": 5000,
                "checkpoint.save_top_k": -1,
            }
        )

    def _parse_ckpt_path(self) -> None:
        """Lightning would let the checkpoint replace the model's configuration here; `checkpoint` refuses instead."""

    def before_instantiate_classes(self) -> None:
        """Settle what depends on several options, and refuse what does not fit the checkpoint."""
        command = str(self.subcommand)
        config = self.config[command]
        if config.data.seed is None:
            config.data.seed = int(config.seed_everything)
        self._dump_config()
        self.own = {key: self.config_dump[key] for key in _OWN}
        ckpt_path = config.ckpt_path
        if config.untrained and (ckpt_path or command == "fit"):
            raise FssegError("--untrained is for `test` and `validate` without --ckpt_path.")
        if ckpt_path is None and command != "fit" and not config.untrained:
            raise FssegError(f"{command} needs --ckpt_path FILE, or --untrained to measure the network as it starts.")
        if self.card is not None and ckpt_path:
            refuse = checkpoint.refuse_other_training if command == "fit" else checkpoint.refuse_other_method
            refuse(ckpt_path, self.card, self.own)
        self.experiment = _experiment(config)
        if command == "fit":
            self.folder = folders.run_folder(config.out, self.experiment, config.data.fold, ckpt_path)
            config.checkpoint.dirpath = str(self.folder)
        if "verbose" in config:
            config.verbose = False  # Lightning's own result table

    def instantiate_classes(self) -> None:
        """Build method, data and trainer; a checkpoint spares the download of pretrained weights."""
        with without_pretrained_weights() if self.card is not None else nullcontext():
            super().instantiate_classes()
        data, ckpt_path = self.datamodule, self._get(self.config, "ckpt_path")
        if self.card is not None and self.subcommand == "validate":
            checkpoint.refuse_other_fold(ckpt_path, self.card, data)
        if self.card is not None and self.subcommand == "test":
            checkpoint.refuse_seen_classes(ckpt_path, self.card, data)
        self.model.card = {
            "version": fsseg.__version__,
            "config": yaml.safe_dump(self.own, sort_keys=False),
            "dataset": data.dataset.name,
            "fold": data.fold,
            "trained_on": [data.dataset.class_name(c) for c in data.base],
        }

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with our progress bar and, in a training, our logger and checkpoints."""
        config = self._get(self.config_init, "trainer")
        own: list[Callback] = []
        if config.enable_progress_bar is not False:
            own.append(EpisodeProgress(terminal=sys.stderr.isatty()))
            kwargs["enable_progress_bar"] = False
        if self.subcommand == "fit":
            self.last = LastCheckpoint(
                self.folder / "last.ckpt", self._get(self.config, "checkpoint").every_n_train_steps or 0
            )
            own.append(self.last)
            kwargs["default_root_dir"] = self.folder
            if config.logger is None or config.logger is True:
                kwargs["logger"] = CSVLogger(self.folder, name="logs")
            callbacks = [self._get(self.config_init, key) for key in self._parser(self.subcommand).callback_keys]
        else:
            kwargs["logger"] = False if config.logger is None else config.logger
            kwargs["enable_checkpointing"] = False
            callbacks = []
        trainer_config = {**config, **kwargs}
        try:
            return self._instantiate_trainer(trainer_config, callbacks + own)
        except (TypeError, ValueError) as error:
            raise FssegError("--trainer: " + " ".join(str(error).split())) from error

    def _run_subcommand(self, subcommand: str) -> None:
        {"fit": self._fit, "validate": self._validate, "test": self._test}[subcommand]()

    def _fit(self) -> None:
        self.datamodule.setup("fit")  # whatever it refuses, it refuses before a file is written
        if self.trainer.is_global_zero and not self.trainer.fast_dev_run:
            folders.make(self.folder)
            folders.write_whole(self.folder / "config.yaml", yaml.safe_dump(self.own, sort_keys=False))
        super()._run_subcommand("fit")
        if not self.trainer.is_global_zero:
            return
        self.code = _INTERRUPTED if self.last.interrupted else 0
        state = "stopped at" if self.last.interrupted else "trained"
        following = (
            f"fit --ckpt_path {self.last.path}" if self.last.interrupted else f"test --ckpt_path {self.last.path}"
        )
        print(f"\n{state} step {self.trainer.global_step:,}: {self.last.path}\nnext: fsseg {following}")

    def _validate(self) -> None:
        super()._run_subcommand("validate")
        metrics = self.trainer.callback_metrics
        if not metrics:
            raise FssegError("no base class has enough val images for validation episodes. Lower --data.shot.")
        names = {"val/mean_iou": "mean-IoU", "val/binary_iou": "binary-IoU"}
        data = self.datamodule
        print(f"{self.model.method.name}  {data.dataset.name} fold {data.fold}, base classes, val images")
        for key, name in names.items():
            print(f"  {name:12}{100 * float(metrics[key]):.1f}")

    def _test(self) -> None:
        config = self.config[str(self.subcommand)]
        folder = folders.fresh(self._result_path(config))
        with folders.result_folder(folder) as part:
            self.datamodule.setup("test")
            tested = describe(self.model, self.datamodule, config.ckpt_path, self.card)
            report = Report(tested, self.datamodule.dataset, part)
            self.trainer.callbacks.append(report)
            super()._run_subcommand("test")
            if report.table:
                folders.write_whole(part / "config.yaml", yaml.safe_dump(self.own, sort_keys=False))
        print(report.text(folder))

    def _result_path(self, config: Any) -> Path:
        if config.out:
            return Path(config.out)
        if config.ckpt_path:
            return Path(config.ckpt_path).parent / "test"
        return Path("runs") / self.experiment / f"fold{config.data.fold}" / "test-untrained"


def _experiment(config: Any) -> str:
    """Name of a run: its configuration file's, or its method's."""
    files = [str(path) for path in config.config or [] if path is not None]
    stems = [Path(path).stem for path in files if Path(path).is_file()]
    names = [stem for stem in stems if stem != "config"]
    return names[-1] if names else config.model.method.class_path.rpartition(".")[2].lower()
