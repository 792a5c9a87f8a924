"""The configuration of fit, validate and test: one LightningCLI, with its surprises taken out (see docs/design.md)."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from lightning import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import CheckpointIO

import fsseg
from fsseg import limits
from fsseg.encoders import without_pretrained_weights
from fsseg.episodes import EpisodeData
from fsseg.episodes.options import RANGES, flat
from fsseg.errors import FssegError
from fsseg.experiment import compatibility
from fsseg.experiment.home_paths import expand_configuration
from fsseg.experiment.parser import Parser
from fsseg.experiment.protocol_options import Asked, settle_for
from fsseg.progress import tell
from fsseg.runs import folders, loggers
from fsseg.runs.checkpoint_callbacks import KeptCheckpoints, OwnSignals
from fsseg.runs.checkpoint_files import WholeCheckpoints, card_of
from fsseg.runs.library_errors import building
from fsseg.runs.logger_callbacks import LoggedFit
from fsseg.runs.progress import EpisodeProgress
from fsseg.runs.ranks import note, settle_slurm
from fsseg.runs.resume import is_trained
from fsseg.runs.skipped_episodes import Skipped
from fsseg.task import Task
from fsseg.untrusted.card import Card, CheckpointCard
from fsseg.untrusted.configuration import OWN

_LAST_EVERY = 1000  # steps between two writes of last.ckpt, at most
_SPAWNED = ("ddp_spawn", "ddp_fork", "ddp_notebook")


class Commands(LightningCLI):
    """Parses fit, validate and test, refuses what does not fit, and builds method, data and trainer.

    Args:
        arguments: the command and its flags.
    """

    def __init__(self, arguments: list[str]) -> None:
        self.card: CheckpointCard | None = None  # of the checkpoint that was asked for
        self.command = arguments[0]
        self.flags = {word.partition("=")[0] for word in arguments}
        self.code = 0
        self.at_end = False  # a training that was stopped between its last step and saying that it is finished
        self.done = False  # a training that has reached the end that it is asked for
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

    def subcommands(self) -> dict[str, set[str]]:
        """The one that was asked for: the options of each take a quarter of a second to read from the signatures."""
        hidden = {"model", "dataloaders", "datamodule"}
        return {self.command: hidden | ({"train_dataloaders", "val_dataloaders"} if self.command == "fit" else set())}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options besides those of model, data and trainer."""
        parser.add_argument("--out", type=str | None, default=None, help="Folder of the run, or of the results.")
        parser.add_argument("--untrained", action="store_true", help="Test without a checkpoint.")
        parser.add_argument("--resume", action="store_true", help="Go on in --out where it was, or begin there.")
        parser.add_class_arguments(Asked, "protocol")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.set_defaults(
            {
                "checkpoint.filename": "step{step}",
                "checkpoint.auto_insert_metric_name": False,
                "checkpoint.every_n_train_steps": 5000,
                "checkpoint.save_top_k": -1,
                "checkpoint.enable_version_counter": False,  # a resumed training writes a step's file again
            }
        )

    def _dump_config(self) -> None:
        """Lightning's, without checking anew what was parsed a moment ago: a fifth of a command's start."""
        dump = self.parser.dump(
            self.config, skip_validation=True, skip_link_targets=False, skip_unset=False, format="yaml"
        )
        self.config_dump = yaml.safe_load(dump)[self.command]

    def _parse_ckpt_path(self) -> None:
        """Lightning would let the checkpoint replace the model's configuration here; `checkpoint` refuses instead."""

    def _set_seed(self) -> None:
        with building("--seed_everything"):
            super()._set_seed()

    def before_instantiate_classes(self) -> None:
        """Settle what depends on several options, and refuse what does not fit the checkpoint."""
        command = str(self.subcommand)
        config = self.config[command]
        expand_configuration(config)
        kind = folders.named_class(config.data.dataset.class_path)
        limits.check(flat(config.data), RANGES, "--data.")
        limits.check(vars(config.trainer), limits.TRAINER, "--trainer.")
        limits.check_classes(config.data.dataset, "--data.dataset")
        limits.check_classes(config.model.method, "--model.method")
        settled = settle_for(kind.family, config.data, vars(config.protocol), self.flags, test=command == "test")
        self.protocol = settled.protocol
        self._dump_config()
        self.own = {key: self.config_dump[key] for key in OWN} | {"protocol": settled.asked}
        folders.check_root(config.data.root, kind)
        if config.data.root is not None:
            self.own["data"]["root"] = str(Path(config.data.root).resolve())  # tests may start in another folder
        if config.data.episodes.seed is None:
            config.data.episodes.seed = int(config.seed_everything)
        if config.trainer.strategy in _SPAWNED:
            raise FssegError(f"--trainer.strategy {config.trainer.strategy} shares memory between processes; use ddp.")
        if config.untrained and (config.ckpt_path or command == "fit"):
            raise FssegError("--untrained is for `test` and `validate` without --ckpt_path.")
        if config.ckpt_path is None and command != "fit" and not config.untrained:
            raise FssegError(f"{command} needs --ckpt_path FILE, or --untrained to measure the network as it starts.")
        if config.ckpt_path is not None:  # given as a flag or in a file
            config.weights_only = True  # whatever was asked for: a checkpoint is data
            self.card = card_of(config.ckpt_path)
            compatibility.refuse_other_method(config.ckpt_path, self.card, self.own)
        self.experiment = _experiment(config)
        if command == "fit":
            self._before_fit(config)
            self._check_base_images(config.data.episodes.drop_novel, settled.asked)
        else:
            loggers.without_files(config.trainer, command)
            loggers.prepare(config.trainer, self.run_folder(config), self._run_name(config))
        if "verbose" in config:
            config.verbose = False  # Lightning's own result table

    def _before_fit(self, config: Any) -> None:
        limits = config.trainer
        if limits.max_steps < 1 and limits.max_epochs in (None, -1) and limits.max_time is None:
            raise FssegError(f"--trainer.max_steps {limits.max_steps}: a training needs an end, e.g. 30000.")
        self._check_schedule(limits.max_steps)
        if self.card is not None:
            compatibility.refuse_other_training(config.ckpt_path, self.card, self.own)
            self.at_end = config.resume and self.card.step == limits.max_steps
            self.done = config.resume and is_trained(Path(config.ckpt_path), self.own)
            if 0 < limits.max_steps <= self.card.step and not self.at_end:
                raise FssegError(
                    f"{config.ckpt_path} is at step {self.card.step:,}; --trainer.max_steps {limits.max_steps:,} "
                    "asks for no more. Give a larger one."
                )
        self.folder = folders.run_folder(config.out, self.experiment, config.data.fold, config.ckpt_path, config.resume)
        if config.checkpoint.dirpath is None:
            config.checkpoint.dirpath = str(self.folder)
        loggers.prepare(config.trainer, self.folder, self._run_name(config))

    def run_folder(self, config: Any) -> Path:
        """Folder of the training that is tested; for an untrained method the one that its results are in."""
        if config.ckpt_path:
            return Path(config.ckpt_path).parent
        return Path(config.out).parent if config.out else Path("runs") / self.experiment / f"fold{config.data.fold}"

    def _run_name(self, config: Any) -> str:
        """For people who look at many runs."""
        return f"{self.experiment} fold{config.data.fold}"

    def _check_base_images(self, dropped: bool, asked: dict[str, Any]) -> None:
        """A training follows its own option, and says where the protocol would have it otherwise."""
        wanted = self.protocol.base_images == "drop"
        if wanted == dropped:
            return
        mend = f"--data.episodes.drop_novel {str(wanted).lower()}"
        if "base_images" in asked:
            raise FssegError(f"--protocol.base_images {self.protocol.base_images}: a training is told by {mend}.")
        does = "leaves out" if wanted else "keeps"
        note(f"protocol {self.protocol.name} {does} images that show a novel class; {mend} would.")

    def _check_schedule(self, steps: int) -> None:
        """Refuse a training that outlasts its schedule, and say where a schedule outlasts the training by far."""
        total = (self.own["model"]["lr_scheduler"].get("init_args") or {}).get("total_steps")
        if total is None:
            return
        if steps > total:
            mend = f"Give --model.lr_scheduler.total_steps {steps} too"
            if self.card is not None:
                mend = f"A resumed training keeps its schedule: lower --trainer.max_steps to {total}, or train anew"
            raise FssegError(f"--trainer.max_steps {steps} goes beyond the schedule's end at {total}. {mend}.")
        if 0 < steps < total / 2:
            note(
                f"the learning rate's schedule ends at step {total:,}, this training at {steps:,}; "
                f"--model.lr_scheduler.total_steps {steps + 1} would let it fall to the end."
            )

    def instantiate_classes(self) -> None:
        """Build method, data and trainer; a checkpoint spares the download of pretrained weights."""
        with without_pretrained_weights() if self.card is not None else nullcontext(), building("the configuration"):
            super().instantiate_classes()
        data, ckpt_path = self.datamodule, self._get(self.config, "ckpt_path")
        data.protocol = self.protocol
        if self.card is not None:
            compatibility.refuse_other_weights(ckpt_path, self.card, self.model)
            if self.subcommand == "validate":
                compatibility.refuse_other_fold(ckpt_path, self.card, data)
            if self.subcommand == "test":
                compatibility.refuse_seen_classes(ckpt_path, self.card, data)
        self.model.card = Card(
            version=fsseg.__version__,
            config=yaml.safe_dump(self.own, sort_keys=False),
            dataset=data.dataset.name,
            fold=data.fold,
            trained_on=[data.dataset.class_name(c) for c in data.base],
        )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with our progress bar and, in a training, our logger and checkpoints."""
        settle_slurm()
        config = self._get(self.config_init, "trainer")
        own: list[Callback] = [OwnSignals()]
        progress = EpisodeProgress()
        if config.enable_progress_bar is not False:
            own.append(progress)
            kwargs["enable_progress_bar"] = False
        if self.subcommand == "fit":
            every = self._get(self.config, "checkpoint").every_n_train_steps or _LAST_EVERY
            self.last = KeptCheckpoints(self.folder, min(every, _LAST_EVERY), self.protocol.selection)
            own += [Skipped(), self.last]
            kwargs["default_root_dir"] = self.folder
            kwargs["plugins"] = _with_whole_checkpoints(config.plugins)
            kwargs["logger"] = loggers.with_csv(config.logger, self.folder)
            if kwargs["logger"]:
                own.append(LoggedFit(self.own, self.folder))
            callbacks = [self._get(self.config_init, key) for key in self._parser(self.subcommand).callback_keys]
        else:
            self.loggers, kwargs["logger"] = loggers.listed(config.logger), False  # they get results, not steps
            kwargs["enable_checkpointing"] = False
            callbacks = []
        trainer_config = {**config, **kwargs}
        with building("--trainer"):
            trainer = self._instantiate_trainer(trainer_config, callbacks + own)
        self.model.say = lambda line: tell(line) if trainer.is_global_zero else None
        if config.enable_progress_bar is not False:
            self.model.tracked = partial(progress.watched, trainer)
        _check_processor(config, trainer)
        return trainer


def _check_processor(config: Any, trainer: Trainer) -> None:
    """Refuse, or note, what a CPU cannot do."""
    if config.sync_batchnorm and trainer.strategy.root_device.type != "cuda":
        raise FssegError(
            "--trainer.sync_batchnorm works on GPUs only: leave it out, or give --trainer.accelerator gpu."
        )
    if str(config.precision) in ("16", "16-mixed") and trainer.precision == "bf16-mixed":
        note("--trainer.precision 16-mixed is bf16-mixed on a CPU, which has no other 16 bits.")


def _with_whole_checkpoints(plugins: Any) -> list[Any]:
    """The plugins asked for, and ours unless they say how checkpoints are stored."""
    asked = plugins if isinstance(plugins, list) else [plugins] if plugins else []
    return asked if any(isinstance(plugin, CheckpointIO) for plugin in asked) else [*asked, WholeCheckpoints()]


def _experiment(config: Any) -> str:
    """Name of a run: its configuration file's, or its method's."""
    files = [str(path) for path in config.config or [] if path is not None]
    shown = [Path(path) for path in files if Path(path).is_file()]
    stems = [path.stem for path in shown if path.parent.name != "loggers"]  # where numbers go is no part of the name
    names = [stem for stem in stems if stem != "config"]
    return "+".join(names) if names else config.model.method.class_path.rpartition(".")[2].lower()
