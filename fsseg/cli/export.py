"""`fsseg export`: writes a method as graphs that run without fsseg, after comparing each graph with the method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fsseg.cli.options import Options
from fsseg.errors import FssegError
from fsseg.runs import folders
from fsseg.runs.lock import locked

if TYPE_CHECKING:
    from fsseg.export import Exported

_MEGA = 1e6


def options() -> Options:
    """The command's options."""
    made = Options("export")
    made.option("--ckpt_path", Path, "checkpoint, or a file of Segmenter.save with its supports", metavar="FILE")
    graphs = 'ONNX graphs (pip install "fsseg[export]"), or torch.export\'s .pt2'
    made.option("--to", Literal["onnx", "torch"], graphs)
    made.option("--out", Path, "folder of the graphs (default: export/ beside the checkpoint)", metavar="DIR")
    made.option("--size", int, "pixels of a side of an image (default: the checkpoint's)")
    made.option("--way", int, "classes, if the graphs need a fixed number (%(default)s)", default=1)
    made.option("--shot", int, "supports per class, if fixed, e.g. for CANet (%(default)s)", default=1)
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``export``; return the exit code.

    Raises:
        FssegError: An option is wrong, the file is no checkpoint, or the method cannot be exported.
    """
    given = options().read(arguments)
    if given.ckpt_path is None or given.to is None:
        raise FssegError("export needs --ckpt_path FILE and --to onnx or --to torch.")
    from fsseg.export import check_packages, export  # imports torch
    from fsseg.segmenter.persistence import load

    check_packages(given.to)
    out = folders.empty(given.out) if given.out else folders.fresh(given.ckpt_path.parent / "export")
    segmenter = load(given.ckpt_path, "cpu")
    with locked(out), folders.result_folder(out) as part:
        written = export(segmenter, part, given.to, given.size, given.way, given.shot)
        rows = [_row(one) for one in written]
        others = sorted(path.name for path in part.iterdir() if path not in {one.path for one in written})
    print(f"{segmenter.method.name} in {out}, largest differences from the method on random input:\n")
    print(_table([("file", "MB", "difference", "relative", "dynamic", "fixed"), *rows]))
    print(f"\n  and {', '.join(others)}")
    return 0


def _row(one: Exported) -> tuple[str, ...]:
    from fsseg.export import dynamic

    size = f"{one.path.stat().st_size / _MEGA:.1f}"
    fixed = " ".join(sorted(one.graph.fixed)) or "-"
    found = one.difference
    return one.path.name, size, f"{found.absolute:.1e}", f"{found.relative:.1e}", " ".join(dynamic(one.graph)), fixed


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
