"""The data module of a configuration alone, without method and trainer, and the checks of its data."""

from functools import cache
from typing import Any

from jsonargparse import Namespace

import fsseg
from fsseg import class_paths
from fsseg.datasets.base import Dataset
from fsseg.episodes import EpisodeData
from fsseg.errors import FssegError
from fsseg.experiment import compatibility
from fsseg.experiment.configuration import Configuration
from fsseg.experiment.parser import Parser
from fsseg.experiment.protocol_options import settle_for
from fsseg.protocols.protocol import Protocol
from fsseg.runs.library_errors import building
from fsseg.untrusted.card import Card


def build_data(options: Any, protocol: Protocol) -> EpisodeData:
    """The data module that `test` or `fit` would have.

    Args:
        options: Parsed options of `EpisodeData`.
        protocol: Protocol of the command, see `settle_for`.

    Raises:
        FssegError: An option is refused.
    """
    with building("the configuration"):
        data: EpisodeData = _parser().instantiate(Namespace(data=options)).data
    data.protocol = protocol
    return data


@cache
def _parser() -> Parser:
    parser = Parser(allow_abbrev=False)
    parser.add_class_arguments(EpisodeData, "data", fail_untyped=False, sub_configs=True, skip={"protocol"})
    return parser


class DataChecks:
    """The checks that `fit` and `test` make of their data at their start, for several folds and shots.

    The data set is opened once, and once more if the protocol changes its options in a test.

    Args:
        c: Configuration of a training.
    """

    def __init__(self, c: Configuration) -> None:
        self.c = c
        self._made: list[tuple[Namespace, EpisodeData]] = []  # with the options of their data sets

    def open(self, fold: int, test: bool) -> Dataset:
        """The open data set of the trainings or tests.

        Raises:
            FssegError: The data set cannot be opened, or its first requested fold is refused.
        """
        return self._data(test, fold, 1, 1).dataset

    def training(self, fold: int, shot: int) -> EpisodeData:
        """Check the data of a training; returns its data module.

        Raises:
            FssegError: The data are refused, or the protocol selects by a validation and there is none.
        """
        data = self._data(False, fold, shot, shot)
        data.setup("fit")
        found, selection = data.validation, data.protocol.selection
        if not found.images and selection != "last":
            raise FssegError(f"`protocol.selection` {selection} needs a validation: {found.reason}.")
        return data

    def test(self, fold: int, shot: int, test_shot: int, trained: EpisodeData | None) -> None:
        """Check the data of a test.

        Args:
            fold: Fold of the test.
            shot: Shots of the training.
            test_shot: Shots of the test.
            trained: Data of the training whose checkpoint is tested; None if they need no check.

        Raises:
            FssegError: The data are refused, or the training has seen the novel classes.
        """
        data = self._data(True, fold, shot, test_shot)
        data.setup("test")
        if trained is not None:
            names = [trained.dataset.class_name(c) for c in trained.base]
            card = Card(version=fsseg.__version__, config="", dataset=trained.dataset.name, fold=fold, trained_on=names)
            compatibility.refuse_seen_classes("the checkpoint", card, data)

    def _data(self, test: bool, fold: int, shot: int, test_shot: int) -> EpisodeData:
        c, options = self.c, self.c.options.data.clone()
        options.fold, options.shot, options.test_shot = fold, shot, test_shot
        family = class_paths.load(options.dataset.class_path).family
        protocol = settle_for(family, options, vars(c.options.protocol), c.flags, test).protocol
        made = next((data for dataset, data in self._made if dataset == options.dataset), None)
        if made is None:
            made = build_data(options, protocol)
            self._made.append((options.dataset, made))
        data = made.with_fold(fold, shot, test_shot)
        data.protocol = protocol
        return data
