"""The card of a published checkpoint, ``card.json``. It may be untrusted: types, lengths and names are checked."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from fsseg.errors import FssegError
from fsseg.protocols.protocol import Chosen
from fsseg.untrusted.records import Natural, Positive, as_json, convert
from fsseg.untrusted.text import BrokenTextError, file_name, is_line, load_json

CARD, README = "card.json", "README.md"
ENDING = ".ckpt"
VERSION = 1  # of the format of card.json
UNKNOWN = "not stated"  # of a licence
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST = 1 << 20  # bytes of a card.json
Text = Annotated[str, msgspec.Meta(max_length=2_000)]
Word = Annotated[str, msgspec.Meta(max_length=200)]
Percent = Annotated[float, msgspec.Meta(ge=0, le=100)]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, kw_only=True)
class CardEncoder:
    """Encoder of a published checkpoint.

    Attributes:
        kind: dotted path of its class.
        name: name in tables.
        weights: what its training began with: ``pretrained``, ``none``, or the name of a file; None for a network
            without pretrained weights.
    """

    kind: Word
    name: Word
    weights: Word | None


@dataclass(frozen=True, kw_only=True)
class CardTraining:
    """Training of a published checkpoint.

    Attributes:
        dataset: name of the data set.
        fold: fold of the training.
        classes: names of the base classes.
        way: classes of a training episode.
        shot: supports of a class in a training episode.
        steps: training steps.
        seed: seed of the training.
        selection: how the checkpoint was chosen.
        before: earlier trainings that the weights have been through, in words.
        origin: file of an authors' code that holds the weights, in words; empty if fsseg trained them.
    """

    dataset: Word
    fold: Natural
    classes: Annotated[list[Word], msgspec.Meta(max_length=10_000)]
    way: Positive
    shot: Positive
    steps: Natural
    seed: Natural
    selection: Chosen
    before: Text = ""
    origin: Text = ""


@dataclass(frozen=True, kw_only=True)
class CardScore:
    """Mean and standard deviation over the runs of a test, in percent; None where nothing was counted."""

    mean: Percent | None
    std: Percent | None

    def __str__(self) -> str:
        if self.mean is None:
            return "-"
        return f"{self.mean:.1f}" + ("" if self.std is None else f" +- {self.std:.1f}")


@dataclass(frozen=True, kw_only=True)
class CardTest:
    """A test of a published checkpoint.

    Attributes:
        dataset: name of the data set.
        fold: fold whose novel classes were tested.
        way: classes of an episode.
        shot: supports of a class.
        annotation: annotation of the supports.
        protocol: name of the protocol.
        digest: digest of the protocol's values.
        changed: fields that differ from the named protocol, of those that an option can set.
        how: protocol and other settings in words.
        mean_iou: mean-IoU over classes.
        binary_iou: mean IoU of foreground and background.
        notes: remarks for the reader of the number.
    """

    dataset: Word
    fold: Natural
    way: Positive
    shot: Positive
    annotation: Word
    protocol: Word
    digest: Word
    changed: dict[Word, bool | int | float | Word]
    how: Text
    mean_iou: CardScore
    binary_iou: CardScore
    notes: Annotated[list[Text], msgspec.Meta(max_length=100)]

    @property
    def what(self) -> str:
        """Ways, shots and annotation in words."""
        more = "" if self.annotation == "mask" else f", {self.annotation} supports"
        return f"{self.way}-way {self.shot}-shot{more}"


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A published checkpoint.

    Attributes:
        fsseg_card: version of this format.
        name: name in a zoo; one part of a path.
        file: name of the checkpoint's file, beside the card.
        size: bytes of the file.
        sha256: SHA-256 of the file, in hexadecimal digits.
        licence: licence of the checkpoint; None if its publisher has not stated one.
        method: dotted path of the method's class.
        label: name of the method in tables.
        encoder: its encoder.
        training: its training.
        tests: its tests.
        fsseg: version of fsseg that trained the checkpoint.
    """

    fsseg_card: Positive
    name: Word
    file: Word
    size: Positive
    sha256: Digest
    licence: Word | None
    method: Word
    label: Word
    encoder: CardEncoder
    training: CardTraining
    tests: Annotated[list[CardTest], msgspec.Meta(max_length=1_000)]
    fsseg: Word

    @property
    def megabytes(self) -> str:
        """Size of the file in words."""
        return f"{self.size / 1e6:,.1f} MB" if self.size >= 1e5 else f"{self.size / 1e3:,.1f} kB"

    @property
    def own_class(self) -> str | None:
        """The first class that is not of fsseg, and needs FSSEG_TRUST; None if there is none."""
        return next((kind for kind in (self.method, self.encoder.kind) if not kind.startswith("fsseg.")), None)


def is_safe(name: str) -> bool:
    """Whether a name is one part of a path on any system and needs no escapes in a URL or a shell."""
    return bool(_SAFE.fullmatch(name)) and file_name(name) == name


def card_of(content: Any, where: str) -> ModelCard:
    """A checked card from plain values.

    Args:
        content: plain values, as JSON holds them.
        where: names the place of the card in an error.

    Raises:
        FssegError: the values are no card, of another version, or a name would leave its folder.
    """
    if isinstance(content, dict) and is_newer(content.get("fsseg_card"), VERSION):
        raise FssegError(f"{where} is of version {content['fsseg_card']}; this fsseg reads {VERSION}. Upgrade fsseg.")
    try:
        card = convert(content, ModelCard)
    except BrokenTextError as error:
        raise FssegError(f"{where} is no card of fsseg: {error}.") from error
    for name in (card.name, card.file):
        if not is_safe(name):
            raise FssegError(f"{where} has the name {name!r}: only letters, digits, '.', '_' and '-' are allowed.")
    if not card.file.endswith(ENDING):
        raise FssegError(f"{where} has the file {card.file}; a name that ends with {ENDING} is needed.")
    return card


def read_card(path: Path) -> ModelCard:
    """The checked card of a file.

    Raises:
        FssegError: the file cannot be read, or see `card_of`.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST).decode()
        return card_of(load_json(text), str(path))
    except (OSError, ValueError) as error:
        raise FssegError(f"{path} cannot be read: {' '.join(str(error).split())}.") from error


def card_text(card: ModelCard) -> str:
    """The text of ``card.json``."""
    return as_json(card)


def is_newer(found: object, known: int) -> bool:
    """Whether a file's version is one that this fsseg does not know."""
    return type(found) is int and found != known


def check_name(name: str) -> str:
    """A name that a user gives.

    Raises:
        FssegError: the name is not safe, see `is_safe`.
    """
    if not is_safe(name):
        raise FssegError(f"name {name}: up to 100 letters, digits, '.', '_' and '-' are needed, e.g. panet-fold0.")
    return name


def check_licence(licence: str | None) -> str | None:
    """A licence that a user gives.

    Raises:
        FssegError: the licence is no short line of text.
    """
    if licence is not None and not (is_line(licence) and 0 < len(licence) <= 100):
        raise FssegError("licence: a name of up to 100 characters is needed, e.g. apache-2.0 or cc-by-nc-4.0.")
    return licence
