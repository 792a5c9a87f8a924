"""Facts about a test that are reported beside its numbers: setting, checkpoint, protocol and notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from fsseg.protocols.protocol import Chosen, Protocol
from fsseg.results.published import Setting
from fsseg.untrusted.records import Natural, Positive

MOST = 10_000  # largest number of folds, and largest class id
ClassId = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
# How a checkpoint was chosen, in words.
CHOSEN = {
    "last": "last",
    "base_val": "best on validation classes",
    "novel_val": "best on novel classes",
    "by hand": "chosen by hand",
}


@dataclass(frozen=True)
class TestedCheckpoint:
    """The checkpoint of a test.

    Attributes:
        name: name given by the user.
        path: absolute path of the file.
        step: training step.
        selection: how the checkpoint was chosen, see `Protocol.selection`, or ``by hand``.
        imported: in words, the file of an authors' code that holds the weights; empty if fsseg trained them.
    """

    name: str
    path: str
    step: Natural
    selection: Chosen
    imported: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.imported or f'step {self.step:,}'}, {CHOSEN[self.selection]})"


@dataclass(frozen=True)
class Tested:
    """Facts about a test.

    Attributes:
        setting: method, encoder, data set, way, shot and annotation of the supports.
        fold: fold whose novel classes were tested.
        classes: names of the fold's novel classes by class id.
        checkpoint: checkpoint with the tested weights; None for an untrained method.
        protocol: protocol of the test.
        pairs: number of (image, class) pairs that episodes were drawn from.
        details: other settings that change the number, e.g. the precision, in words.
        notes: remarks for the reader of the number.
        seed: seed of the training (``seed_everything``).
        trained_shot: shots of the training episodes; None for an untrained method.
        training: digest of method, optimiser, schedule, data and steps, without fold, shots and seed.
        folds: number of folds of the data set; a mean over folds needs all.
        asked: identity of the test: version, weights, and each option that changes a row.
    """

    setting: Setting
    fold: Natural
    classes: dict[ClassId, str]
    checkpoint: TestedCheckpoint | None
    protocol: Protocol
    pairs: Natural
    details: tuple[str, ...] = field(default=())
    notes: tuple[str, ...] = field(default=())
    seed: Natural = 0
    trained_shot: Positive | None = None
    training: str = ""
    folds: Positive = 4
    asked: Mapping[str, Any] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, Any]:
        """Columns of the CSV with one value for all rows of this test."""
        of = self.setting
        setting = {name: getattr(of, name) for name in ("encoder", "dataset", "way", "shot", "annotation")}
        own = {name: getattr(self, name) for name in ("fold", "seed", "trained_shot", "training")}
        return {"method": of.label, **setting, **own}

    @property
    def selection(self) -> Chosen | None:
        """How the checkpoint was chosen; None for an untrained method."""
        return self.checkpoint.selection if self.checkpoint else None

    @property
    def origin(self) -> str:
        """The checkpoint in words, or ``untrained``."""
        return str(self.checkpoint) if self.checkpoint else "untrained"

    @property
    def how(self) -> str:
        """Protocol and details in words."""
        return ", ".join([self.protocol.in_words(self.pairs), *self.details])

    @property
    def kind(self) -> str:
        """Ways, shots and annotation in words."""
        setting = self.setting
        annotation = "" if setting.annotation == "mask" else f", {setting.annotation} supports"
        return f"{setting.way}-way {setting.shot}-shot{annotation}"

    @property
    def what(self) -> str:
        """Data set, fold, ways and shots in words."""
        return f"{self.setting.dataset} fold {self.fold}, {self.kind}"
