"""Facts and notes that are printed with a test's table and stored beside it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from fsseg.encoders import Encoder
from fsseg.episodes import EpisodeData
from fsseg.episodes.options import Decides
from fsseg.results.published import Setting
from fsseg.results.test_facts import Tested, TestedCheckpoint
from fsseg.runs.identity import identity
from fsseg.task import Task
from fsseg.untrusted.card import Card, CheckpointCard, seen

_RULES = {
    "last": "the last one",
    "base_val": "the best on validation classes",
    "novel_val": "the best on the novel classes",
    "by hand": "a numbered one, chosen by hand",
}


def describe(
    model: Task,
    data: EpisodeData,
    ckpt_path: str | None,
    card: CheckpointCard | None,
    seed: int,
    precision: str,
) -> Tested:
    """Facts of a test before it runs.

    Args:
        model: with the method.
        data: set up for the test.
        ckpt_path: checkpoint; None for an untrained method.
        card: facts stored in the checkpoint; None for an untrained method, which papers call e.g. PANet-init.
        seed: of an untrained method's weights.
        precision: of the trainer.
    """
    names = {c: data.dataset.class_name(c) for c in data.novel}
    method = model.method
    own = card is not None or method.training_free
    name = (method.paper or method.name) if own else f"{type(method).__name__}-init"
    tuned = model.adapt_steps > 0
    if tuned and card and method.fine_tuned:
        name = method.fine_tuned
    annotation = data.images.test_support_annotation or "mask"
    encoder, departures = _encoder(method.encoder, card), method.departures if own else {}
    if tuned and name != method.fine_tuned:
        departures = {**departures, "adapt_steps": f"tuned for {model.adapt_steps} steps"}
    if model.refine:
        departures = {**departures, "refine": "refined"}
    if card and card.earlier:
        departures = {**departures, "weights": "warm start"}
    setting = Setting(name, encoder, data.dataset.name, data.way, data.test_shot, annotation, departures)
    notes = [note for note in (data.dataset.note, _pairs_note(data)) if note]
    why = "neither its steps nor its rate are known" if name == method.fine_tuned else method.reconstructed
    if why:
        notes.append(f"{name} is a reconstruction of ours: {why}")
    if method.caution:
        notes.append(f"{name}: {method.caution}")
    if data.skipped:
        notes.append("too few images, left out: " + ", ".join(names[c] for c in data.skipped))
    notes += _training_notes(data, card) if card else []
    return Tested(
        setting=setting,
        fold=data.fold,
        classes=names,
        checkpoint=_checkpoint(ckpt_path, card) if ckpt_path and card else None,
        protocol=data.protocol,
        pairs=data.pair_count,
        details=tuple(_details(model, data, annotation, precision)),
        notes=tuple(notes),
        seed=int(card.trained["seed_everything"] if card else seed),
        trained_shot=card.trained["data"]["shot"] if card else None,
        training=recipe(card) if card else "",
        folds=data.dataset.folds,
    )


def _details(model: Task, data: EpisodeData, annotation: str, precision: str) -> Iterator[str]:
    """Settings that change the number, beside method and protocol."""
    images = data.images
    if annotation == "box" and images.box_instance == "random":
        yield "boxes of random instances"
    if annotation == "points":
        yield f"{images.points or '1 to 99'} points a side"
    if data.query > 1:
        yield f"{data.query} queries"
    if data.protocol.size == "own" and data.way * data.test_shot > 1:
        yield "supports padded to the largest"
    if not precision.startswith("32"):
        yield f"precision {precision}"
    if model.adapt_steps:
        rate = "the optimiser's rate" if model.adapt_lr is None else f"rate {model.adapt_lr:g}"
        yield f"tuned on the supports for {model.adapt_steps} steps, {rate}"
    if model.refine:
        yield "masks refined by the query image"


def _checkpoint(path: str, card: CheckpointCard) -> TestedCheckpoint:
    imported = str(card.origin) if card.origin else ""
    return TestedCheckpoint(path, str(Path(path).resolve()), card.step, card.selection, imported)


_EACH = ("fold", "shot", "episodes.seed")  # options that may differ between trainings of one recipe


def recipe(card: Card, starts: bool = False) -> str:
    """Six hexadecimal digits, equal for trainings whose options for weights and length differ in `_EACH` only.

    A warm start counts by the recipe of the weights: each fold starts from a file of its own. Imported weights are of
    another recipe than trainings with the same options.

    Args:
        card: training.
        starts: its weights start others, and may leave out the classes that each of these tests (`episodes.exclude`).
    """
    found = identity(card.trained, Decides.TRAINING | Decides.LENGTH)
    found["model"]["weights"] = card.earlier[-1].recipe if card.earlier else None
    each = (*_EACH, "episodes.exclude") if starts else _EACH
    data = {name: value for name, value in found["data"].items() if name not in each}
    parts = [found["model"], data, found["trainer"], *(["imported"] if card.origin else [])]
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _training_notes(data: EpisodeData, card: CheckpointCard) -> list[str]:
    """Notes where the checkpoint's training differs from the training of the protocol; a test cannot change that."""
    notes, protocol, chosen = [], data.protocol, card.selection
    if card.origin:
        notes.append(
            f"weights were trained by {card.origin.code}'s code; what is said of the training is its experiment's"
        )
    if card.earlier:
        notes.append(f"the training started from weights that had seen {seen(card.earlier)}")
    if chosen == "novel_val":
        notes.append("the checkpoint was chosen on the novel classes, so its result is too optimistic")
    if chosen != protocol.selection:
        notes.append(f"the protocol tests {_RULES[protocol.selection]}; this checkpoint is {_RULES[chosen]}")
    dropped = "drop" if card.trained["data"].get("episodes", {}).get("drop_novel") else "keep"
    if dropped != protocol.base_images:
        did, does = ("left out", "keeps them") if dropped == "drop" else ("kept", "leaves them out")
        notes.append(f"the training {did} images that show a novel class; the protocol {does}")
    if protocol.split == "train" and dropped == "keep" and card.dataset == data.dataset.name:
        notes.append("tested images are of the train split; those that show a base class too may have been trained on")
    return notes


def _pairs_note(data: EpisodeData) -> str:
    return data.dataset.pairs_note if data.protocol.pairs == "official" else ""


def _encoder(encoder: Encoder, card: CheckpointCard | None) -> str:
    """Name of an encoder. Published numbers have pretrained weights, so other weights are added to the name."""
    weights = encoder.weights
    if card is not None and weights is not None:  # the initial weights of the checkpoint's training
        trained = card.trained["model"]["method"]["init_args"]["encoder"]
        weights = (trained.get("init_args") or {}).get("weights", weights)
    if weights in (None, "pretrained"):
        return encoder.name
    return f"{encoder.name} ({'random start' if weights == 'none' else Path(str(weights)).name})"
