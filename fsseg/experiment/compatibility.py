"""Refuses a checkpoint that does not fit the requested method, training, fold or classes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fsseg import class_paths
from fsseg.checksum import content_digest
from fsseg.episodes import EpisodeData
from fsseg.episodes.options import Decides
from fsseg.errors import FssegError
from fsseg.runs.identity import flat, identity
from fsseg.task import Task
from fsseg.untrusted import configuration
from fsseg.untrusted.card import Card, CheckpointCard, Training

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
    refuse_other_class(ckpt_path, card, asked)
    trained, method = card.trained["model"]["method"], asked["model"]["method"]
    free = class_paths.load(method["class_path"]).inference_options | _FREE
    _refuse(ckpt_path, "model.method", trained.get("init_args") or {}, method.get("init_args") or {}, free)


def refuse_other_class(what: str, card: CheckpointCard, asked: Config) -> None:
    """Refuse another method; ``what`` names the file, with its option."""
    paths = [config["model"]["method"]["class_path"] for config in (card.trained, asked)]
    if paths[0] != paths[1]:
        names = list(map(class_paths.last_name, paths))
        raise FssegError(f"{what} holds {names[0]}, but {names[1]} is asked for. Give a checkpoint of {names[1]}.")


def refuse_other_weights(what: str, card: CheckpointCard, task: Task) -> None:
    """Refuse a checkpoint whose tensors differ from the task's in name or shape; ``what`` names the file."""
    own = {name: tuple(tensor.shape) for name, tensor in task.state_dict().items()}
    wrong = [name for name in {**own, **card.shapes} if own.get(name) != card.shapes.get(name)]
    if not wrong:
        return
    method = card.trained["model"]["method"]
    encoder = str(((method.get("init_args") or {}).get("encoder") or {}).get("class_path"))
    holds = f"{class_paths.last_name(method['class_path'])} with {class_paths.last_name(encoder)}"
    needed = f"{type(task.method).__name__} with {type(task.method.encoder).__name__}"
    kinds = f"it holds {holds}, {needed} is needed; " if holds != needed else ""
    there, here = (_sides(shapes.get(wrong[0])) for shapes in (card.shapes, own))
    more = f", and {len(wrong) - 1} more tensors differ" if len(wrong) > 1 else ""
    raise FssegError(
        f"{what} does not fit the method: {kinds}{wrong[0]} is {there} in the file, {here} in the method{more}."
    )


def _sides(shape: tuple[int, ...] | None) -> str:
    """A shape in words, such as ``64 x 3``."""
    return "missing" if shape is None else " x ".join(map(str, shape)) or "a single number"


def refuse_other_training(ckpt_path: str, card: CheckpointCard, asked: Config) -> None:
    """Refuse to resume a training with another value of an option that decides its weights."""
    trained, now = (identity(config, Decides.TRAINING) for config in (card.trained, asked))
    for config in (trained, now):
        config["model"].pop("method")  # see `refuse_other_method`
    started = trained["model"].get("weights")
    if started is not None and now["model"]["weights"] is None:
        raise FssegError(f"{ckpt_path} started from `model.weights` {started}: give the option too, or train again.")
    if _same_start(card, trained["model"], now["model"]):
        now["model"]["weights"] = started
    _refuse(ckpt_path, "", trained, now, frozenset())


def _same_start(card: CheckpointCard, trained: Config, asked: Config) -> bool:
    """Whether two trainings started from the same weights, whose file may have been moved."""
    if not card.earlier or asked["weights"] is None or trained.get("weights") == asked["weights"]:
        return False
    path = Path(asked["weights"])
    return path.is_file() and content_digest(path) == card.earlier[-1].digest


def refuse_other_fold(ckpt_path: str, card: CheckpointCard, data: EpisodeData) -> None:
    """Refuse to validate on a fold other than the checkpoint's."""
    base = [data.dataset.class_name(c) for c in data.base]
    if (card.dataset, card.fold, card.trained_on) != (data.dataset.name, data.fold, base):
        raise FssegError(
            f"{ckpt_path} was trained on fold {card.fold} of {card.dataset}; validation needs the same, not fold "
            f"{data.fold} of {data.dataset.name}."
        )


def refuse_seen_classes(what: str, card: Card, data: EpisodeData) -> None:
    """Refuse novel classes that the weights were trained on, in this training or in an earlier one.

    Args:
        what: Names the checkpoint, with its option.
        card: Card of the checkpoint.
        data: Data set and fold.
    """
    for training, seen in seen_novel(card, data):
        more = ", ..." if len(seen) > 3 else ""
        was = "was trained" if training is card else "started from weights trained"
        raise FssegError(
            f"{what} {was} on fold {training.fold} of {training.dataset}; `data.fold` {data.fold} of "
            f"{data.dataset.name} would test classes it has seen ({', '.join(seen[:3])}{more})."
        )


def seen_novel(card: Card, data: EpisodeData) -> list[tuple[Training, list[str]]]:
    """Names of novel classes that the weights were trained on, by training, the last one first."""
    novel = [data.dataset.class_name(c) for c in data.novel]
    trainings: list[Training] = [card, *reversed(card.earlier)]
    found = []
    for training in trainings:
        trained_on = {_SAME.get(name, name) for name in training.trained_on}
        if seen := [name for name in novel if _SAME.get(name, name) in trained_on]:
            found.append((training, seen))
    return found


def _refuse(ckpt_path: str, prefix: str, trained: Config, asked: Config, free: frozenset[str]) -> None:
    before, now = dict(flat(trained)), dict(flat(asked))
    for key in sorted(before.keys() | now.keys()):
        if key not in free and key in before and key in now and before[key] != now[key]:
            option = f"`{f'{prefix}.{key}'.replace('.init_args', '').lstrip('.')}`"
            raise FssegError(
                f"{ckpt_path} was trained with {option} {before[key]}; {now[key]} is asked for. Leave {option} out, or "
                "train again."
            )
