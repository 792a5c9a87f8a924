"""`fsseg data`: prepare, verify, info, show and episodes."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fsseg import atomic, limits
from fsseg.datasets import Coco, CocoJson, Dataset, Folder, Pascal, Shapes
from fsseg.datasets.base import Count
from fsseg.datasets.class_counts import Census, census
from fsseg.datasets.custom import OwnDataset
from fsseg.datasets.images import cache_folder
from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean
from fsseg.experiment.parser import Parser
from fsseg.prepare import coco, pascal
from fsseg.prepare.verify import Problem, verify
from fsseg.protocols.presets import protocol
from fsseg.protocols.protocol import SPLITS, pair_rule
from fsseg.runs import folders
from fsseg.runs.library_errors import building, quieten

_KINDS: dict[str, type[Dataset]] = {
    "pascal": Pascal, "coco": Coco, "folder": Folder, "coco_json": CocoJson, "shapes": Shapes,
}  # fmt: skip
_SHOWN = 20  # problems that the terminal shows
_RANGES = {"workers": limits.WORKERS, "min_pixels": limits.COUNT}
UNCLEAN = 1  # exit code of `verify`


def run(arguments: Sequence[str]) -> int:
    """Run one of the commands on data; returns the exit code.

    Args:
        arguments: the command's second word, and its options.

    Raises:
        FssegError: the command, an option or the data set is wrong.
    """
    quieten()
    command, *options = arguments
    if command in ("show", "episodes"):
        from fsseg.cli.data_episodes import run as run_episodes

        return run_episodes(command, options)
    kind = _kind(command, options)
    try:
        given = _parse(command, kind, options[1:])
    except FssegError as error:
        raise type(error)(str(error).replace("--dataset.", "--")) from error
    with building(f"data {command}"):
        dataset = kind(**dict(given.get("dataset") or {}))
    try:
        return {"prepare": _prepare, "verify": _verify, "info": _info}[command](dataset, given)
    except FssegError as error:
        raise type(error)(_own_options(str(error))) from error


def _own_options(text: str) -> str:
    """An error in the names that these commands have for options."""
    text = text.replace("give --data.episodes.pairs any, or --protocol.pairs any in a test", "give --pairs any")
    for known in ("--data.dataset.", "--protocol."):
        text = text.replace(known, "--")
    return text.replace("--data.root", "--root")


def _kind(command: str, options: Sequence[str]) -> type[Dataset]:
    """The data set that the first option names."""
    name = options[0] if options and not options[0].startswith("-") else None
    if name is None:
        raise FssegError(f"data {command} needs a data set: fsseg data {command} {'|'.join(_KINDS)} --root DIR.")
    name = {kind.__name__: known for known, kind in _KINDS.items()}.get(name, name)
    if name not in _KINDS:
        raise FssegError(
            f"data {command}: no data set {name!r}.{did_you_mean(name, _KINDS)} One of {', '.join(_KINDS)}."
        )
    return _KINDS[name]


def _parse(command: str, kind: type[Dataset], options: Sequence[str]) -> Any:
    parser = Parser(allow_abbrev=False)
    parser.add_argument("--root", type=str | None, default=os.environ.get("FSSEG_DATA_ROOT") or None)
    if command == "prepare":
        parser.add_argument("--archives", type=Path | None, default=None)
    if command == "verify":
        parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
        parser.add_argument("--report", type=Path | None, default=None)
    if command == "info":
        parser.add_argument("--pairs", type=str | None, default=None)
        parser.add_argument("--min_pixels", type=int, default=1)
        parser.add_argument("--out", type=Path | None, default=None)
    parser.add_class_arguments(kind, "dataset")
    known = {option for action in parser._actions for option in action.option_strings}
    given = parser.parse_args([_nested(word, known) for word in options])
    if given.root == "":  # as of an unset variable
        raise FssegError("--root is empty: the data set's folder is needed.")
    limits.check(vars(given), _RANGES)
    limits.check(vars(given.dataset) if "dataset" in given else {}, limits.CLASSES)
    given.root = Path(given.root) if given.root else None
    if kind.needs_root and given.root is None:
        raise FssegError(f"data {command} needs --root DIR (or FSSEG_DATA_ROOT), the data set's folder.")
    return given


def _nested(word: str, known: set[str]) -> str:
    """An option of the data set's class under the name that the parser knows it by."""
    name = word.partition("=")[0]
    nested = f"--dataset.{name.removeprefix('--')}"
    return word.replace(name, nested, 1) if name.startswith("--") and name not in known and nested in known else word


def _prepare(dataset: Dataset, given: Any) -> int:
    start = time.monotonic()
    if given.archives is not None and not given.archives.is_dir():
        raise FssegError(f"--archives {given.archives}: no such folder.")
    made = pascal.Made(ours=False, changed=False)
    if isinstance(dataset, Pascal):
        made = pascal.prepare(given.root, given.archives)
    elif isinstance(dataset, Coco):
        made = made._replace(changed=coco.prepare(given.root, dataset.year, given.archives))
    dataset.open(given.root)
    if made.ours and isinstance(dataset, Pascal):
        pascal.write_pairs(given.root, dataset)
    if dataset.index.cache is None and dataset.needs_root:
        raise FssegError(f"{cache_folder()} cannot be written, nothing was kept. Set XDG_CACHE_HOME to another folder.")
    train, val = (len(dataset.numbers(split)) for split in SPLITS)
    state = (
        f"prepared in {time.monotonic() - start:.1f} s" if made.changed or dataset.index.fresh else "already prepared"
    )
    print(f"{dataset.name}: {train:,} train and {val:,} val images, {len(dataset.class_names)} classes; {state}")
    if dataset.note:
        print(f"  note: {dataset.note}")
    print(f"  cache: {dataset.index.cache}")
    if given.root is not None and (given.root / "archives").is_dir():
        print(f"  {given.root / 'archives'} is not needed any more and may be deleted")
    return 0


def _verify(dataset: Dataset, given: Any) -> int:
    dataset.locate(given.root)
    problems = verify(dataset, given.workers)
    # What masks show together: of COCO it is known, of PASCAL-5i it makes the official lists.
    if not problems and (isinstance(dataset, OwnDataset) or dataset.listed_pairs):
        try:
            dataset.open(given.root)
        except FssegError as error:
            problems = [Problem("", _own_options(str(error)))]
    counts = dataset.counts()
    every = sum(len(dataset.numbers(split)) for split in SPLITS)
    wrong = f"{len(problems):,} of {every:,} images have problems" if all(p.image for p in problems) else "not clean"
    print(f"{dataset.name}: {wrong if problems else 'clean'}")
    for what, (found, official) in counts.items():
        beside = "" if official is None else "  as it should be" if found == official else f"  of {official:,}"
        print(f"  {what:16}{found:9,}{beside}")
    if dataset.list_hashes:
        print(f"  official lists  {dataset.pairs_note or 'all 8 as published'}")
    if dataset.note:
        print(f"  note: {dataset.note}")
    for problem in problems[:_SHOWN]:
        print(f"  {problem.image}: {problem.problem}" if problem.image else f"  {problem.problem}")
    if len(problems) > _SHOWN:
        print(f"  and {len(problems) - _SHOWN:,} more; all of them in --report FILE")
    if given.report is not None:
        _write_report(given.report, dataset, counts, problems)
        print(f"  report: {given.report}")
    return UNCLEAN if problems else 0


def _write_report(path: Path, dataset: Dataset, counts: Mapping[str, Count], problems: Sequence[Problem]) -> None:
    content = {
        "dataset": dataset.name,
        "clean": not problems,
        "counts": {what: count._asdict() for what, count in counts.items()},
        "note": dataset.note,
        "problems": [problem._asdict() for problem in problems],
    }
    with folders.named("--report", path):
        atomic.write_text(path, json.dumps(content, indent=2) + "\n")


def _info(dataset: Dataset, given: Any) -> int:
    # The rule of our protocol where nobody asks for another one; `protocol` checks what is asked for.
    rule = protocol({"pairs": given.pairs, "min_pixels": given.min_pixels}, dataset.family)
    dataset.open(given.root)
    counted = census(dataset, rule.pairs, rule.min_pixels)
    print(_info_text(dataset, counted))
    if given.out is not None:
        from fsseg.plots.charts import draw_census

        with folders.named("--out", given.out):
            draw_census(counted, given.out)
        print(f"\n  picture: {given.out}")
    return 0


def _info_text(dataset: Dataset, counted: Census) -> str:
    rule = pair_rule(counted.pairs, counted.min_pixels) or "any size"
    lines = [
        f"{dataset.name}: {counted.train:,} train and {counted.val:,} val images, {len(dataset.class_names)} classes",
        f"folds: {dataset.fold_words}    images count for a class by: {rule}",
        *(f"note: {note}" for note in (dataset.note, counted.note) if note),
    ]
    width = max(len(c.name) for fold in counted.folds for c in fold.classes) + 2
    for number, fold in enumerate(counted.folds):
        listed = f" ({counted.listed[number]:,} in the published lists)" if counted.listed else ""
        kept = f"{fold.kept:,} train images ({counted.kept_percent(fold):.0f} %)"
        pairs = f"{fold.train:,} train and {fold.val:,} val pairs{listed}"
        lines += [
            "",
            f"fold {number}   novel classes: {pairs}; {kept} show none of them",
            f"  {'':{width}}train      val",
            *(f"  {c.name:{width}}{c.train:5,}  {c.val:7,}" for c in fold.classes),
            *_list_lines(counted, number),
        ]
    return "\n".join(lines)


def _list_lines(counted: Census, fold: int) -> list[str]:
    """The SHA-256 of a fold's official lists, beside the published ones."""
    return [
        f"  {split + ' list':11}{found}  {'as published' if found == known else f'published: {known}'}"
        for split in SPLITS
        if (split, fold) in counted.hashes
        for found, known in [counted.hashes[split, fold]]
    ]
