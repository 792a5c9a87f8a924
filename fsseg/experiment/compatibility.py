"""Refuses a checkpoint that does not fit the requested method, training, fold or classes."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from fsseg.episodes import EpisodeData
from fsseg.episodes.options import Decides
from fsseg.errors import FssegError
from fsseg.runs.identity import flat, identity
from fsseg.untrusted import configuration
from fsseg.untrusted.card import CheckpointCard

Config = Mapping[str, Any]

# The checkpoint holds the weights, so the source of the initial weights does not matter.
_FREE = frozenset({"encoder.init_args.weights"})

# Classes with different names in VOC and COCO, to find classes that a checkpoint has seen in the other data set.
_SAME = {
    "aeroplane": "airplane", "diningtable": "dining table", "motorbike": "motorcycle",
    "pottedplant": "potted plant", "sofa": "couch", "tvmonitor": "tv",
}  # fmt: skip


def stored_config(ckpt_path: str, card: CheckpointCard) -> dict[str, Any]:
    """The configuration of a checkpoint, from config.yaml beside it or else from the copy inside it.

    Raises:
        FssegError: It is broken, or names a class that an untrusted configuration may not name.
    """
    folder = Path(ckpt_path).parent
    if (folder / "config.yaml").is_file():
        return configuration.stored_file(folder / "config.yaml", folder)
    return configuration.stored(card.config, f"the configuration in {ckpt_path}", folder)


def refuse_other_method(ckpt_path: str, card: CheckpointCard, asked: Config) -> None:
    """Refuse another method, or another value of an option that the weights depend on."""
    trained = card.trained["model"]["method"]
    method = asked["model"]["method"]
    if trained["class_path"] != method["class_path"]:
        names = [path["class_path"].rpartition(".")[2] for path in (trained, method)]
        raise FssegError(f"{ckpt_path} holds {names[0]}, but {names[1]} is asked for. Give a checkpoint of {names[1]}.")
    module, _, name = method["class_path"].rpartition(".")
    free = getattr(importlib.import_module(module), name).inference_options | _FREE
    _refuse(ckpt_path, "model.method", trained.get("init_args") or {}, method.get("init_args") or {}, free)


def refuse_other_weights(ckpt_path: str, card: CheckpointCard, model: nn.Module) -> None:
    """Refuse a checkpoint whose tensors differ from the model's in name or shape."""
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = sorted(name for name in own.keys() | card.shapes.keys() if own.get(name) != card.shapes.get(name))
    if wrong:
        raise FssegError(f"{ckpt_path} does not fit the method: {wrong[0]} and {len(wrong) - 1} more tensors differ.")


def refuse_other_training(ckpt_path: str, card: CheckpointCard, asked: Config) -> None:
    """Refuse to resume a training with another value of an option that decides its weights."""
    trained, now = (identity(config, Decides.TRAINING) for config in (card.trained, asked))
    for config in (trained, now):
        config["model"].pop("method")  # see `refuse_other_method`
    _refuse(ckpt_path, "", trained, now, frozenset())


def refuse_other_fold(ckpt_path: str, card: CheckpointCard, data: EpisodeData) -> None:
    """Refuse to validate on a fold other than the checkpoint's."""
    base = [data.dataset.class_name(c) for c in data.base]
    if (card.dataset, card.fold, card.trained_on) != (data.dataset.name, data.fold, base):
        raise FssegError(
            f"{ckpt_path} was trained on fold {card.fold} of {card.dataset}; validation needs the same, not fold "
            f"{data.fold} of {data.dataset.name}."
        )


def refuse_seen_classes(ckpt_path: str, card: CheckpointCard, data: EpisodeData) -> None:
    """Refuse to test classes that the checkpoint was trained on."""
    trained_on = {_SAME.get(name, name) for name in card.trained_on}
    novel = [data.dataset.class_name(c) for c in data.novel]
    seen = [name for name in novel if _SAME.get(name, name) in trained_on]
    if seen:
        more = ", ..." if len(seen) > 3 else ""
        raise FssegError(
            f"{ckpt_path} was trained on fold {card.fold} of {card.dataset}; --data.fold {data.fold} of "
            f"{data.dataset.name} would test classes it has seen ({', '.join(seen[:3])}{more})."
        )


def _refuse(ckpt_path: str, prefix: str, trained: Config, asked: Config, free: frozenset[str]) -> None:
    before, now = dict(flat(trained)), dict(flat(asked))
    for key in sorted(before.keys() | now.keys()):
        if key not in free and key in before and key in now and before[key] != now[key]:
            option = "--" + f"{prefix}.{key}".replace(".init_args", "").lstrip(".")
            raise FssegError(
                f"{ckpt_path} was trained with {option} {before[key]}; {now[key]} is asked for. Leave {option} out, or "
                "train again."
            )
