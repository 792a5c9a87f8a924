"""Checkpoints of fsseg from files of the authors' codes, which are untrusted and read as data."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from torch import Tensor

from fsseg import atomic
from fsseg.checksum import file_digest
from fsseg.encoders import without_pretrained_weights
from fsseg.encoders.base import listed
from fsseg.encoders.weights import OwnCheckpointError, read_state
from fsseg.episodes import EpisodeData
from fsseg.errors import FssegError
from fsseg.experiment.arguments import flags
from fsseg.experiment.checks import OF_IMPORT
from fsseg.experiment.configuration import Configuration, completed, parser_of
from fsseg.experiment.files import find_experiment
from fsseg.experiment.objects import card
from fsseg.official_codes import CODES, Code, code_of
from fsseg.official_codes.codes import UNUSED
from fsseg.protocols.protocol import Chosen
from fsseg.runs.library_errors import building, plain_errors, quieten
from fsseg.task import Task
from fsseg.untrusted.card import Card, Origin
from fsseg.untrusted.text import shown

_METHOD = "method."  # of the method's tensors in a checkpoint
_COUNTER = "num_batches_tracked"  # of BatchNorm; old versions of torch do not store it
_NAMED = 3  # tensors that an error names


class Imported(NamedTuple):
    """Result of an import.

    Attributes:
        card: Card of the checkpoint.
        tensors: Number of tensors that were read.
        method: Method and encoder, in words.
    """

    card: Card
    tensors: int
    method: str


def import_weights(
    path: Path, name: str, out: Path, configs: Sequence[str], words: Sequence[str], selection: Chosen | None = None
) -> Imported:
    """Write a checkpoint with the weights of a file.

    Args:
        path: File of an authors' code.
        name: Name of the code, a key of `CODES`.
        out: Checkpoint; it must not exist.
        configs: Experiments; by default the code's own.
        words: Other words of the command line: options of `fsseg fit`.
        selection: How the file was chosen; by default as the code chooses it.

    Raises:
        FssegError: The file is not of this code or does not fit the method, an option is refused, or ``out`` exists.
    """
    quieten()
    code = CODES[name]
    _refuse_paths(path, out)
    tensors = _read(path, code)
    _refuse_other_code(path, name, tensors)
    with plain_errors():
        c = completed("fit", _words(code, tensors, configs, words))
        for check in OF_IMPORT:
            check(c)
        task, data = _built(c)
    state = _fitted(path, code, tensors, task)
    task.load_state_dict(state, strict=False)
    origin = Origin(code=code.paper, file=shown(path.name), sha256=file_digest(path))
    task.card = card(c, data, selection or code.selection, [], origin)
    _write(out, task)
    return Imported(task.card, len(state), f"{task.method.name} on {task.method.encoder.name}")


def _refuse_paths(path: Path, out: Path) -> None:
    if not path.is_file():
        raise FssegError(f"import: {path}: no such file.")
    if out.exists():
        raise FssegError(f"`out` {out} exists. Give another file, or delete it.")


def _read(path: Path, code: Code) -> Mapping[str, Tensor]:
    try:
        return read_state(str(path), f"{code.paper}'s code")
    except OwnCheckpointError as error:
        raise FssegError(f"{path} is a checkpoint of fsseg already. Give it as `ckpt_path` to a test.") from error


def _refuse_other_code(path: Path, name: str, tensors: Mapping[str, Tensor]) -> None:
    found = code_of(tensors)
    if found is not None and found != name:
        asked = CODES[name].paper
        raise FssegError(
            f"{path} looks like a file of {CODES[found].paper}'s code, not of {asked}'s: give --as {found}."
        )


def _words(code: Code, tensors: Mapping[str, Tensor], configs: Sequence[str], words: Sequence[str]) -> list[str]:
    """Words of a training of the file; its encoder is the file's, unless an option names one."""
    files = [find_experiment(each) for each in configs or [f"experiments/{code.experiment}.yaml"]]
    named = any(".encoder" in flag for flag in flags(words))
    given = {} if named else code.encoder(tensors)
    return [*(f"--config={each}" for each in files), *(f"--{name}={value}" for name, value in given.items()), *words]


def _built(c: Configuration) -> tuple[Task, EpisodeData]:
    with without_pretrained_weights(), building("the configuration"):
        made = parser_of(c.command).instantiate(c.options)
    made.data.protocol = c.protocol
    return made.model, made.data


def _fitted(path: Path, code: Code, tensors: Mapping[str, Tensor], task: Task) -> dict[str, Tensor]:
    """The file's tensors under the task's names.

    Raises:
        FssegError: Tensors are missing, unknown, of other shapes, or no finite numbers.
    """
    own, rename = task.state_dict(), code.renaming(tensors)
    found: dict[str, Tensor] = {}
    surplus = []
    for official, tensor in tensors.items():
        name = f"{_METHOD}{rename(official)}"
        if name in own and name not in found:
            found[name] = tensor
        elif not official.startswith(UNUSED):
            surplus.append(official)
    free = tuple(f"{_METHOD}{start}" for start in code.own)
    needed = {name for name in own if not name.endswith(_COUNTER) and not name.startswith(free)}
    missing = [name.removeprefix(_METHOD) for name in own if name in needed - found.keys()]
    surplus = [name for name in surplus if not name.endswith(_COUNTER)]
    wrong = [
        f"{name.removeprefix(_METHOD)} is {_sides(tensor)} in the file, {_sides(own[name])} in the method"
        for name, tensor in found.items()
        if tensor.shape != own[name].shape
    ]
    problems = {"lacks": missing, "has unknown": surplus, "has other shapes for": wrong}
    if any(problems.values()):
        counted = [
            f"{what} {len(names)} tensors ({listed(names, _NAMED)})" for what, names in problems.items() if names
        ]
        fix = "Give the file's `config` and `model.method.encoder`, or the right --as."
        raise FssegError(f"{path} does not fit {code.paper}: it {', '.join(counted)}. {fix}")
    if broken := next((name for name, tensor in found.items() if not _is_number(tensor)), None):
        raise FssegError(f"{path}: {broken.removeprefix(_METHOD)} is not finite numbers. Give another file.")
    return found


def _sides(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"


def _is_number(tensor: Tensor) -> bool:
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_complex()
    return plain and not tensor.is_quantized and bool(tensor.isfinite().all())


def _write(out: Path, task: Task) -> None:
    """Write what Lightning and `fsseg fit` write, without an optimiser, at step 0."""
    content: dict[str, Any] = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": task.state_dict(),
    }
    task.on_save_checkpoint(content)
    atomic.make_folder(out.parent)
    atomic.save(out, partial(torch.save, content))
