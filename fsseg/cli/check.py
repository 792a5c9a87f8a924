"""`fsseg check`: runs the checks of a contract on a user's own method, encoder or data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsseg import limits
from fsseg.cli.dashes import with_data_options
from fsseg.cli.options import Options
from fsseg.cli.own_classes import load_class, refuse_abstract
from fsseg.errors import FAILED, FssegError
from fsseg.experiment.files import did_you_mean
from fsseg.runs.library_errors import quieten

if TYPE_CHECKING:
    from fsseg.contracts.checks import Check
    from fsseg.datasets import Dataset
    from fsseg.encoders import Encoder
    from fsseg.methods import Method

    Checks = tuple[dict[str, Check], Sequence[str]]  # checks by name, and names of those that the others need

_BASES = "fsseg.methods.Method (or BinaryMethod), fsseg.encoders.Encoder or fsseg.datasets.Dataset"
_CELLS = 6  # cells of a side of the feature maps of a method under test
_STRIDE = 4  # least pixels per cell: masks of random batches are made of patches of 4x4 pixels


def options() -> Options:
    """The command's options."""
    made = Options(
        "check", {"--OPTION VALUE": "argument of the class: --encoder ResNet (default: ConvNet), --scale 10"}
    )
    made.option(
        "kind", str, "own class: mine.Margin is Margin in mine.py; or one of fsseg: PANet", metavar="MODULE.CLASS"
    )
    root = os.environ.get("FSSEG_DATA_ROOT") or None
    made.option("--root", str, "folder of a data set, or set FSSEG_DATA_ROOT", default=root, metavar="DIR")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``check``; return the exit code: 0 if all checks pass, else 1.

    Raises:
        FssegError: There is no such class, it is of another kind, or it cannot be built.
    """
    if arguments[0].startswith("-"):
        raise FssegError("check needs a class first: fsseg check mine.Margin --scale 10.")
    given, words = options().read_known(arguments)
    quieten()
    kind = _class(given.kind)
    from fsseg.contracts.checks import outcomes  # imports torch

    root = Path(given.root) if given.root else None
    (checks, basic), title = _checks(kind, given.kind, words, root)
    print(f"{given.kind}: {title}\n", flush=True)
    done = failed = 0
    for name, problem in outcomes(checks, basic, kind):
        done, failed = done + 1, failed + bool(problem)
        line = f"FAILED  {name}: {with_data_options(problem)}" if problem else f"ok      {name}"
        print(f"  {line}", flush=True)
    left = len(checks) - done
    more = f"; {left} more run once it passes" if left else ""
    print(f"\n{failed} of {done} checks failed{more}" if failed else f"\n{done} checks passed")
    return FAILED if failed else 0


def _class(path: str) -> type:
    """The class of a dotted path, or the class of fsseg with a name.

    Raises:
        FssegError: There is no such class, or it is no method, encoder or data set that can be built.
    """
    from fsseg import datasets, encoders, methods

    bases = (methods.Method, encoders.Encoder, datasets.Dataset)
    known = {name: getattr(part, name) for part in (methods, encoders, datasets) for name in part.__all__}
    known = {name: kind for name, kind in known.items() if isinstance(kind, type) and issubclass(kind, bases)}
    if "." not in path and path not in known:
        raise FssegError(
            f"no class {path}.{did_you_mean(path, known)} Your own: MODULE.CLASS, e.g. mine.Margin in mine.py."
        )
    kind: type = known.get(path) or load_class(path)
    if not issubclass(kind, bases):
        raise FssegError(f"{path} is no method, encoder or data set. Derive it from {_BASES}.")
    refuse_abstract(kind, path)
    return kind


def _checks(kind: type, path: str, words: Sequence[str], root: Path | None) -> tuple[Checks, str]:
    """The checks of a class, and what the class is."""
    import torch

    from fsseg.encoders import Encoder
    from fsseg.methods import Method

    if root is not None and "root" in signature(kind).parameters:
        words = [*words, f"--root={root}"]
    make = _builder(kind, words)
    torch.manual_seed(0)
    made = _first(make, kind, path)
    if isinstance(made, Method):
        return _of_method(made, make), f"method, with {made.encoder.name} of random weights"
    if isinstance(made, Encoder):
        return _of_encoder(kind, make), "encoder of random weights"
    if made.needs_root and root is None:
        raise FssegError(f"{path} needs --root DIR (or FSSEG_DATA_ROOT), the data set's folder.")
    if made.needs_root and root is not None and not root.is_dir():
        raise FssegError(f"--root {root}: no such folder.")
    return _of_dataset(made, make, root), "data set" + (f" in {root}" if root else "")


def _builder(kind: type, words: Sequence[str]) -> Callable[..., Any]:
    """A function that builds the class with the options of the command line, and other values of some arguments.

    Raises:
        FssegError: An option is wrong or missing.
    """
    from fsseg.encoders import without_pretrained_weights
    from fsseg.experiment.parser import Parser
    from fsseg.methods import Method

    parser = Parser(allow_abbrev=False)
    parser.add_class_arguments(kind, fail_untyped=False)
    encoder = signature(kind).parameters.get("encoder")
    if issubclass(kind, Method) and encoder is not None and encoder.default is Parameter.empty:
        parser.set_defaults({"encoder": {"class_path": "ConvNet"}})
    config = parser.parse_args(words)
    for name, value in vars(config).items():
        limits.check({name: value}, limits.ARGUMENTS, "--{}")
        limits.check_arguments(value, name)

    def make(**changes: Any) -> Any:
        with without_pretrained_weights():  # checks need no download
            return kind(**{**vars(parser.instantiate(config)), **changes})

    return make


def _first(make: Callable[..., Any], kind: type, path: str) -> Any:
    """The first object of a class.

    Raises:
        FssegError: The constructor raised an error.
    """
    from fsseg.contracts.checks import described

    try:
        return make()
    except FssegError:
        raise
    except Exception as error:  # the constructor is the user's code
        raise FssegError(f"{path} cannot be built: {described(error, kind)}.") from error


def _of_method(made: Method, make: Callable[[], Method]) -> Checks:
    from fsseg.contracts.batches import random_batch
    from fsseg.contracts.methods import BASIC, CHECKS
    from fsseg.contracts.trials import Trial, awake

    stride = getattr(made.encoder, "stride", _STRIDE)
    size = _CELLS * max(_STRIDE, -(-stride // _STRIDE) * _STRIDE)
    trial = Trial(lambda: awake(make()), partial(random_batch, size=size))
    return {name: partial(check, trial) for name, check in CHECKS.items()}, BASIC


def _of_encoder(kind: type, make: Callable[..., Encoder]) -> Checks:
    from fsseg.contracts.encoders import BASIC, CHECKS

    left_out = "" if "frozen" in signature(kind).parameters else "frozen"
    return {name: partial(check, make) for name, check in CHECKS.items() if name != left_out}, BASIC


def _of_dataset(dataset: Dataset, make: Callable[[], Dataset], root: Path | None) -> Checks:
    from fsseg.contracts.datasets import BASIC, CHECKS, check_files, sample

    def files() -> None:
        other = make()
        other.locate(root)
        check_files(other)

    def on_sample(check: Callable[..., None]) -> None:
        check(dataset, sample(dataset))

    opened = {name: partial(on_sample, check) for name, check in CHECKS.items()}
    return {"open": partial(dataset.open, root), **opened, "files": files}, BASIC
