"""`fsseg card`: makes the folder of a published checkpoint: weights, card and README."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fsseg.cli.options import Options


def options() -> Options:
    """The command's options."""
    made = Options("card")
    made.option("checkpoint", Path, "checkpoint of fsseg fit or fsseg import", metavar="CKPT")
    tables = "tests of the checkpoint: table.json, or folders that hold tests"
    made.option("--table", Path, tables, nargs="+", action="extend", default=[], metavar="FILE")
    made.option("--licence", str, "licence of the weights, e.g. apache-2.0 (not stated)", metavar="L")
    made.option("--name", str, "name in a zoo (method, encoder, data set, fold, shots)", metavar="NAME")
    made.option("--out", Path, "folder to write to (zoo/NAME)", metavar="FOLDER")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``card``; return the exit code.

    Raises:
        FssegError: An option is wrong, the checkpoint cannot be read, or a table belongs to another checkpoint.
    """
    given = options().read(arguments)
    from fsseg.zoo.publish import publish  # imports torch

    made = publish(given.checkpoint, given.table, given.licence, given.name, given.out)
    card = made.card
    print(f"{card.name}: {card.label} on {card.encoder.name}, {card.training.dataset} fold {card.training.fold}")
    for test in card.tests:
        print(f"  {test.what}, protocol {test.protocol}: mean-IoU {test.mean_iou}, binary-IoU {test.binary_iou}")
    if not card.tests:
        print("  no numbers: give tests of this checkpoint with --table")
    print(f"  licence   {card.licence or 'not stated: give --licence, or others may not use the weights'}")
    print(f"  file      {made.folder / card.file}  {card.megabytes}, without optimiser and paths")
    print(f"  card      {made.folder / 'card.json'}  README.md")
    print(f"next: fsseg zoo index {made.folder.parent}")
    return 0
