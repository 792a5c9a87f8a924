"""The configuration of fit, validate and test: read from files and options, completed and checked."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml
from lightning import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from fsseg import class_paths
from fsseg.episodes import EpisodeData
from fsseg.errors import FssegError
from fsseg.experiment import compatibility, option_names
from fsseg.experiment.arguments import files_first, flags, last
from fsseg.experiment.checks import CHECKS
from fsseg.experiment.class_help import with_method
from fsseg.experiment.home_paths import expand_configuration
from fsseg.experiment.parser import Parser, check_yaml
from fsseg.experiment.protocol_options import Asked, settle_for
from fsseg.protocols.protocol import Protocol
from fsseg.runs import folders, loggers
from fsseg.runs.checkpoint_files import card_of
from fsseg.task import Task
from fsseg.untrusted.card import CheckpointCard
from fsseg.untrusted.configuration import OWN, known_classes_only

_DEFAULTS = {
    "trainer.max_epochs": -1,
    "trainer.use_distributed_sampler": False,  # its padding would count episodes twice
    "trainer.num_sanity_val_steps": -1,  # before a training, validation measures the encoder's untrained prototypes
    "trainer.enable_model_summary": False,
    "checkpoint.filename": "step{step}",
    "checkpoint.auto_insert_metric_name": False,
    "checkpoint.every_n_train_steps": 5000,
    "checkpoint.save_top_k": -1,
    "checkpoint.enable_version_counter": False,  # a resumed training overwrites a step's file
}


@dataclass
class Configuration:
    """The complete configuration of a command, before anything is built.

    Attributes:
        command: ``fit``, ``validate`` or ``test``.
        options: Options of files and command line, as jsonargparse's namespace.
        flags: Names of the options of the command line, with their dashes.
        stored: Whether the configuration is a checkpoint's, which is untrusted.
        protocol: Protocol of a test.
        saved: Contents of config.yaml, which checkpoints hold too.
        card: Card of the given checkpoint.
        start: Card of the checkpoint whose weights a new training starts from.
        name: Name of the experiment.
        folder: Folder of the training, or of the tested training.
    """

    command: str
    options: Any
    flags: frozenset[str]
    stored: bool
    protocol: Protocol
    saved: dict[str, Any]
    card: CheckpointCard | None
    start: CheckpointCard | None
    name: str
    folder: Path = Path()

    @property
    def step(self) -> int:
        """Step of the checkpoint; 0 without a checkpoint."""
        return self.card.step if self.card else 0

    @property
    def at_end(self) -> bool:
        """Whether a training was stopped after its last step, before its record of the end was written."""
        return self.card is not None and self.options.resume and self.step == self.options.trainer.max_steps

    def classes(self) -> AbstractContextManager[None]:
        """Context in which the parser builds only known classes if the configuration is untrusted."""
        return known_classes_only() if self.stored else nullcontext()


@cache
def parser_of(command: str) -> Parser:
    """The parser of a command, cached because building it from the signatures is slow."""
    parser = Parser(prog=f"fsseg {command}", allow_abbrev=False)
    parser.add_argument("-c", "--config", action="config", help="Configuration file; several are merged.")
    parser.add_argument("--seed_everything", type=bool | int, default=0, help="Seed of weights and training episodes.")
    parser.add_class_arguments(Trainer, "trainer", fail_untyped=False, instantiate=False, sub_configs=True)
    parser.add_class_arguments(Task, "model", fail_untyped=False, sub_configs=True)
    parser.add_class_arguments(EpisodeData, "data", fail_untyped=False, sub_configs=True, skip={"protocol"})
    parser.add_argument("--out", type=str | None, default=None, help="Folder of the run, or of the results.")
    parser.add_argument("--untrained", action="store_true", help="Test without a checkpoint.")
    parser.add_argument("--resume", action="store_true", help="Resume in --out, or begin there.")
    parser.add_argument("--ckpt_path", type=str | None, default=None, help="Checkpoint to resume, validate or test.")
    parser.add_class_arguments(Asked, "protocol")
    parser.add_class_arguments(ModelCheckpoint, "checkpoint", fail_untyped=False, sub_configs=True)
    parser.set_defaults(_DEFAULTS)
    parser.complete = partial(_complete_protocol, command)
    option_names.store([option for action in parser._actions for option in action.option_strings])
    return parser


def read(
    command: str, words: Sequence[str], ckpt_path: Path | None = None, stored: Mapping[str, Any] | None = None
) -> Configuration:
    """Read, complete and check the configuration of a command; nothing is built.

    Args:
        command: ``fit``, ``validate`` or ``test``.
        words: Words of the command line.
        ckpt_path: Checkpoint of a resumed training, in place of ``--ckpt_path``.
        stored: Untrusted configuration to start from; by default, without ``--config``, the checkpoint's.

    Raises:
        FssegError: A check refuses the configuration.
    """
    settled = completed(command, words, ckpt_path, stored)
    for check in CHECKS:
        check(settled)
    _place(settled)
    return settled


def completed(
    command: str, words: Sequence[str], ckpt_path: Path | None = None, stored: Mapping[str, Any] | None = None
) -> Configuration:
    """The completed configuration of a command before its checks, and without a folder; see `read`.

    Raises:
        FssegError: A word or a file is refused.
    """
    files, words = files_first(words)
    asked = str(ckpt_path) if ckpt_path else last(words, "--ckpt_path")
    if asked is not None and not files and stored is None:
        stored = compatibility.stored_config(asked, card_of(asked))
    names = flags(words)
    helped = any(name.endswith((".help", "--help")) for name in names)
    if stored is None and not files and not helped and not names & {"--model", "--model.method"}:
        raise FssegError(f"{command} needs `config` FILE, e.g. `config` experiments/quickstart.yaml.")
    for path in files:
        check_yaml(path)
    words = with_method(words, bool(files or stored))
    with known_classes_only() if stored is not None else nullcontext():
        options = parser_of(command).parse_args([*(f"--config={path}" for path in files), *words], stored=stored)
    if ckpt_path:
        options.ckpt_path = str(ckpt_path)
    return _settled(command, options, names, stored is not None)


def _settled(command: str, options: Any, names: frozenset[str], stored: bool) -> Configuration:
    """Complete the options that depend on other options."""
    if command != "fit":  # flags of a test override the file's test_... options
        for group, option in (("", "shot"), ("images.", "support_annotation")):
            if f"--data.{group}{option}" in names and f"--data.{group}test_{option}" not in names:
                options.data[f"{group}test_{option}"] = options.data[f"{group}{option}"]
    expand_configuration(options)
    if options.seed_everything is True:
        options.seed_everything = 0  # as in Lightning
    family = class_paths.load(options.data.dataset.class_path).family
    protocol = settle_for(family, options.data, vars(options.protocol), names, test=command == "test")
    saved = {**_dumped(command, options), "protocol": protocol.asked}
    if options.data.root is not None:
        saved["data"]["root"] = str(Path(options.data.root).resolve())  # a test may start in another working folder
    if options.data.episodes.seed is None:
        options.data.episodes.seed = int(options.seed_everything)
    card = card_of(options.ckpt_path) if options.ckpt_path is not None else None
    start = None
    if options.model.weights is not None:
        saved["model"]["weights"] = str(Path(options.model.weights).resolve())
        if command == "fit" and card is None:  # a resumed training has the weights of its checkpoint
            start = card_of(options.model.weights, "`model.weights`")
    return Configuration(command, options, names, stored, protocol.protocol, saved, card, start, _name(options))


def _complete_protocol(command: str, options: Any, words: Sequence[str]) -> None:
    """Replace the protocol's given options by all of its values, as the command would settle them."""
    family = class_paths.load(options.data.dataset.class_path).family
    settled = settle_for(family, options.data, vars(options.protocol), flags(words), test=command == "test")
    for name in vars(options.protocol):
        options.protocol[name] = getattr(settled.protocol, name)


def _dumped(command: str, options: Any) -> dict[str, Any]:
    """The sections of config.yaml; the parsed options are not validated again."""
    text = parser_of(command).dump(options, skip_validation=True, skip_unset=False, format="yaml")
    content = yaml.safe_load(text)
    return {key: content[key] for key in OWN}


def _name(options: Any) -> str:
    """Name of a run: the names of its configuration files, or the name of its method."""
    files = [Path(str(path)) for path in options.config or []]
    stems = [path.stem for path in files if path.parent.name != "loggers"]  # files of loggers are no part of the name
    names = [stem for stem in stems if stem != "config"]
    return "+".join(names) if names else class_paths.last_name(options.model.method.class_path).lower()


def _place(settled: Configuration) -> None:
    """Choose the folder of the run, and let loggers write there."""
    options, fold = settled.options, settled.options.data.fold
    if settled.command == "fit":
        settled.folder = folders.run_folder(options.out, settled.name, fold, options.ckpt_path, options.resume)
        if options.checkpoint.dirpath is None:
            options.checkpoint.dirpath = str(settled.folder)
    else:
        loggers.without_files(options.trainer, settled.command)
        beside = options.ckpt_path or options.out
        settled.folder = Path(beside).parent if beside else Path("runs") / settled.name / f"fold{fold}"
    loggers.prepare(options.trainer, settled.folder, f"{settled.name} fold{fold}")
