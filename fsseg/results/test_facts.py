"""What was tested, and how: the facts that stand beside a test's numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from fsseg.protocols.protocol import Chosen, Protocol
from fsseg.results.published import Setting
from fsseg.untrusted.records import Natural, Positive

MOST = 10_000  # folds, or class ids
ClassId = Annotated[int, msgspec.Meta(ge=1, le=MOST)]
_CHOSEN = {
    "last": "last",
    "base_val": "best on base classes",
    "novel_val": "best on novel classes",
    "by hand": "chosen by hand",
}


@dataclass(frozen=True)
class TestedCheckpoint:
    """The checkpoint of a test.

    Attributes:
        name: as it was given.
        path: of its file, absolute.
        step: of the training.
        selection: how it was chosen, see `Protocol.selection`, or ``by hand``.
    """

    name: str
    path: str
    step: Natural
    selection: Chosen

    def __str__(self) -> str:
        return f"{self.name} (step {self.step:,}, {_CHOSEN[self.selection]})"


@dataclass(frozen=True)
class Tested:
    """What was tested, and how.

    Attributes:
        setting: method, encoder, data set, way, shot, annotation of the supports.
        fold: its novel classes were tested.
        classes: class id to name of the fold's novel classes.
        checkpoint: whose weights were tested; None for an untrained method.
        protocol: how the number was made.
        pairs: (image, class) pairs that episodes were drawn from.
        details: what else decides the number, e.g. precision, in words.
        notes: what a reader must know.
        seed: of the training (--seed_everything).
        trained_shot: shots of the training's episodes; None for an untrained one.
        training: digest of the recipe: method, optimiser, schedule, data and steps, without fold, shots and seed.
        folds: of the data set, all of which a mean over folds needs.
        asked: identity of the test: version, weights, and each option that decides a row.
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
        """What every row of this test has in common, as columns of its CSV."""
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
        """The checkpoint in words, or that there was none."""
        return str(self.checkpoint) if self.checkpoint else "untrained"

    @property
    def how(self) -> str:
        """The protocol in words."""
        return ", ".join([self.protocol.in_words(self.pairs), *self.details])

    @property
    def kind(self) -> str:
        """Ways, shots, annotation."""
        setting = self.setting
        annotation = "" if setting.annotation == "mask" else f", {setting.annotation} supports"
        return f"{setting.way}-way {setting.shot}-shot{annotation}"

    @property
    def what(self) -> str:
        """Data set, fold, ways, shots."""
        return f"{self.setting.dataset} fold {self.fold}, {self.kind}"
