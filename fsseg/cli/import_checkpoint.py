"""`fsseg import`: makes a checkpoint of a file of an authors' code, to test published weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from fsseg.cli.options import Options
from fsseg.errors import FssegError
from fsseg.experiment.arguments import flags

_ENDING = ".ckpt"
_OF_FIT = {"--ckpt_path", "--resume", "--untrained", "--model.weights", "--print_config"}


def options() -> Options:
    """The command's options."""
    others = {"--OPTION VALUE": "option of `fsseg fit` on method and data"}
    made = Options("import", others)
    made.option("file", Path, "file of the authors: .pth, .pt or .pth.tar", metavar="FILE")
    kinds = Literal["pmms", "rpmms", "panet", "canet", "hsnet", "pfenet"]
    made.option("--as", kinds, "method whose code wrote the file", dest="code")
    made.option("--out", Path, "checkpoint (default: FILE, ending with .ckpt)", metavar="CKPT")
    experiment = "experiment of the training (default: the method's on PASCAL-5i, 1 shot)"
    made.option("--config", str, experiment, action="append", default=[], metavar="FILE")
    chosen = "how the file was chosen (default: last for panet, else novel_val)"
    made.option("--selection", Literal["last", "base_val", "novel_val"], chosen)
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``import``; return the exit code.

    Raises:
        FssegError: An option is wrong, the file does not fit the method, or the checkpoint exists.
    """
    made = options()
    given, rest = made.read_known(arguments)
    if rest and not rest[0].startswith("-"):
        made.refuse(rest[0])
    if given.code is None:
        raise FssegError("import: --as METHOD is needed: pmms, rpmms, panet, canet, hsnet or pfenet.")
    if wrong := sorted(flags(rest) & _OF_FIT):
        raise FssegError(f"import: {wrong[0]} is an option of a training or a test. Leave it out.")
    out = given.out or given.file.with_name(given.file.name.removesuffix(".tar")).with_suffix(_ENDING)
    from fsseg.experiment.importing import import_weights  # imports torch

    done = import_weights(given.file, given.code, out, given.config, rest, given.selection)
    print(f"{done.tensors} tensors of {given.file} in {out}")
    print(f"  method   {done.method}")
    print(f"  data     {done.card}; --data.fold and --config name other ones")
    if done.card.origin:
        print(f"  file     SHA-256 {done.card.origin.sha256}")
    print(f"next: fsseg test --ckpt_path {out} --data.root DIR --protocols all")
    return 0
