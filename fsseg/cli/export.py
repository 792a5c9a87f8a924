"""`fsseg export`: a method as graphs that run without fsseg, each compared with the method before it is kept."""

from collections.abc import Sequence
from pathlib import Path

from fsseg.errors import FssegError
from fsseg.experiment.parser import Parser
from fsseg.export import Exported, Format, check_packages, dynamic, export
from fsseg.runs import folders
from fsseg.runs.lock import locked
from fsseg.segmenter.persistence import load

_MEGA = 1e6


def run(arguments: Sequence[str]) -> int:
    """Run ``export``; returns the exit code.

    Raises:
        FssegError: an option is wrong, the file is no checkpoint, or the method cannot be exported.
    """
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--ckpt_path", type=Path | None, default=None)
    parser.add_argument("--to", type=Format | None, default=None)
    parser.add_argument("--out", type=Path | None, default=None)
    parser.add_argument("--size", type=int | None, default=None)
    parser.add_argument("--way", type=int, default=1)
    parser.add_argument("--shot", type=int, default=1)
    given = parser.parse_args(list(arguments))
    if given.ckpt_path is None or given.to is None:
        raise FssegError("export needs --ckpt_path FILE and --to onnx or --to torch.")
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
    size = f"{one.path.stat().st_size / _MEGA:.1f}"
    fixed = " ".join(sorted(one.graph.fixed)) or "-"
    found = one.difference
    return one.path.name, size, f"{found.absolute:.1e}", f"{found.relative:.1e}", " ".join(dynamic(one.graph)), fixed


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
