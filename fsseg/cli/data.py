"""`fsseg data`: prepare, verify, info, show and episodes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import fsseg.datasets
from fsseg import atomic, limits
from fsseg.cli.dashes import with_data_options
from fsseg.cli.options import Options
from fsseg.cli.own_classes import load_class, refuse_abstract
from fsseg.datasets.base import Count, Dataset
from fsseg.datasets.class_counts import census, census_text
from fsseg.datasets.custom import CustomDataset
from fsseg.disk_cache import cache_folder
from fsseg.errors import FssegError
from fsseg.experiment.files import did_you_mean
from fsseg.protocols.presets import protocol
from fsseg.protocols.protocol import SPLITS
from fsseg.runs import folders
from fsseg.runs.library_errors import building, quieten

if TYPE_CHECKING:
    from fsseg.prepare import pascal
    from fsseg.prepare.verify import Problem

# Classes of data sets by command name; only the requested class is imported.
_KINDS = {
    "pascal": "Pascal",
    "coco": "Coco",
    "lvis": "Lvis",
    "isaid": "ISAID",
    "fss1000": "FSS1000",
    "deepglobe": "DeepGlobe",
    "isic2018": "ISIC2018",
    "chest_xray": "ChestXRay",
    "suim": "SUIM",
    "folder": "Folder",
    "coco_json": "CocoJson",
    "labelling": "LabellingExport",
    "shapes": "Shapes",
}
_SHOWN = 20  # most problems that the terminal shows
_RANGES = {"workers": limits.WORKERS, "min_pixels": limits.COUNT}
UNCLEAN = 1  # exit code of `verify`


def options(command: str, dataset: str | None = None) -> Options:
    """The options of a data command.

    Args:
        command: Name of the command.
        dataset: Name of a data set, whose class adds options.
    """
    if command in ("show", "episodes"):
        from fsseg.cli.data_episodes import options as episode_options

        return episode_options(command)
    made = Options(f"data {command}")
    own = "" if command == "prepare" else ", or your MODULE.CLASS"
    made.option("dataset", str, f"one of {', '.join(_KINDS)}{own}", metavar="DATASET")
    root = os.environ.get("FSSEG_DATA_ROOT") or None
    made.option("--root", str, "folder of the data set, or set FSSEG_DATA_ROOT", default=root, metavar="DIR")
    if command == "prepare":
        made.option("--archives", Path, "folder of archives that are downloaded already", metavar="DIR")
    if command == "verify":
        made.option("--workers", int, "processes that read files (one per CPU)", default=os.cpu_count() or 1)
        made.option("--report", Path, "write all problems as JSON", metavar="FILE")
    if command == "info":
        made.option(
            "--pairs",
            Literal["any", "official"],
            "(image, class) pairs that count (as in protocol fsseg)",
        )
        made.option("--min_pixels", int, "fewest pixels of a class in an image (%(default)s)", default=1)
        made.option("--out", Path, "write a chart of the counts", metavar="FILE")
    if dataset in _KINDS or (dataset is not None and "." in dataset):
        made.add_class(_class(dataset))
    else:
        made.others = {"--OPTION VALUE": f"option of the data set, see fsseg data {command} DATASET --help"}
    return made


def run(arguments: Sequence[str]) -> int:
    """Run a data command; return the exit code.

    Args:
        arguments: Name of the command, and its options.

    Raises:
        FssegError: The command, an option or the data set is wrong.
    """
    quieten()
    command, *words = arguments
    if command in ("show", "episodes"):
        from fsseg.cli.data_episodes import run as run_episodes

        return run_episodes(command, words)
    name = _name(command, words)
    kind = _class(name)
    given = _parse(command, name, words)
    with building(f"data {command}"):
        dataset = kind(**{name: vars(given)[name] for name in signature(kind).parameters if name in given})
    try:
        return {"prepare": _prepare, "verify": _verify, "info": _info}[command](dataset, given)
    except FssegError as error:
        raise type(error)(with_data_options(str(error))) from error


def _name(command: str, words: Sequence[str]) -> str:
    """Name of the data set, from the first word."""
    name = words[0] if words and not words[0].startswith("-") else None
    if name is None:
        raise FssegError(f"data {command} needs a data set: fsseg data {command} {'|'.join(_KINDS)} --root DIR.")
    name = {kind: known for known, kind in _KINDS.items()}.get(name, name)
    if "." in name and command == "prepare":
        raise FssegError(f"data prepare: {name} is your own class, which needs no preparation.")
    if name not in _KINDS and "." not in name:
        own = "" if command == "prepare" else " Your own: MODULE.CLASS."
        raise FssegError(
            f"data {command}: no data set {name!r}.{did_you_mean(name, _KINDS)} One of {', '.join(_KINDS)}.{own}"
        )
    return name


def _class(name: str) -> type[Dataset]:
    """The class of a command name, or the user's own class of a dotted path.

    Raises:
        FssegError: There is no such class, or it is no data set that can be built.
    """
    kind: type[Dataset] = getattr(fsseg.datasets, _KINDS[name]) if name in _KINDS else load_class(name)
    if not issubclass(kind, Dataset):
        raise FssegError(f"{name} is no data set. Derive it from fsseg.datasets.Dataset.")
    refuse_abstract(kind, name)
    return kind


def _parse(command: str, name: str, words: Sequence[str]) -> Any:
    given = options(command, name).read(words)
    if given.root == "":  # e.g. from an unset variable of the shell
        raise FssegError("--root is empty: the data set's folder is needed.")
    limits.check(vars(given), {**limits.ARGUMENTS, **_RANGES}, "--{}")
    given.root = Path(given.root) if given.root else None
    if _class(name).needs_root and given.root is None:
        raise FssegError(f"data {command} needs --root DIR (or FSSEG_DATA_ROOT), the data set's folder.")
    return given


def _make(dataset: Dataset, given: Any) -> pascal.Made:
    """Make the files of a data set, of those that fsseg makes."""
    from fsseg.datasets import ISAID, ISIC2018, Coco, Lvis, Pascal
    from fsseg.prepare import coco, isaid, isic2018, lvis, pascal

    if isinstance(dataset, Pascal):
        return pascal.prepare(given.root, given.archives)
    changed = False
    if isinstance(dataset, Coco):
        changed = coco.prepare(given.root, dataset.year, given.archives)
    elif isinstance(dataset, Lvis):
        changed = lvis.prepare(given.root, given.archives)
    elif isinstance(dataset, ISIC2018):
        changed = isic2018.prepare(given.root, given.archives)
    elif isinstance(dataset, ISAID):
        changed = isaid.prepare(given.root)
    return pascal.Made(ours=False, changed=changed)


def _prepare(dataset: Dataset, given: Any) -> int:
    from fsseg.datasets import Pascal
    from fsseg.prepare import pascal

    start = time.monotonic()
    if given.archives is not None and not given.archives.is_dir():
        raise FssegError(f"--archives {given.archives}: no such folder.")
    made = _make(dataset, given)
    dataset.open(given.root)
    if made.ours and isinstance(dataset, Pascal) and dataset.folds_of == "pascal":
        pascal.write_pairs(given.root, dataset)
    if dataset.index.cache is None and dataset.needs_root:
        raise FssegError(f"{cache_folder()} cannot be written, nothing was cached. Set XDG_CACHE_HOME.")
    train, val = (len(dataset.numbers(split)) for split in SPLITS)
    state = (
        f"prepared in {time.monotonic() - start:.1f} s" if made.changed or dataset.index.fresh else "already prepared"
    )
    print(f"{dataset.name}: {train:,} train and {val:,} val images, {len(dataset.class_names)} classes; {state}")
    if dataset.note:
        print(f"  note: {dataset.note}")
    print(f"  cache: {dataset.index.cache}")
    if given.root is not None and (given.root / "archives").is_dir():
        print(f"  {given.root / 'archives'} is no longer needed and may be deleted")
    return 0


def _verify(dataset: Dataset, given: Any) -> int:
    from fsseg.prepare.verify import Problem, verify  # imports torch

    dataset.locate(given.root)
    problems = [each._replace(problem=with_data_options(each.problem)) for each in verify(dataset, given.workers)]
    # Some faults show only over all masks: a custom data set reads its classes in `open`, and the masks of a complete
    # PASCAL-5i give the official lists.
    if not problems and (isinstance(dataset, CustomDataset) or dataset.listed_pairs):
        try:
            dataset.open(given.root)
        except FssegError as error:
            problems = [Problem("", with_data_options(str(error)))]
    counts = dataset.counts()
    every = sum(len(dataset.numbers(split)) for split in SPLITS)
    wrong = f"{len(problems):,} of {every:,} images have problems" if all(p.image for p in problems) else "not clean"
    print(f"{dataset.name}: {wrong if problems else 'clean'}")
    for what, (found, official) in counts.items():
        beside = "" if official is None else "  as it should be" if found == official else f"  of {official:,}"
        print(f"  {what:16}{found:9,}{beside}")
    if dataset.list_hashes:
        print(f"  official lists  {dataset.pairs_note or 'all 8 (4 folds, 2 splits) as published'}")
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
    # By default the rule of our protocol; `protocol` checks the given values.
    rule = protocol({"pairs": given.pairs, "min_pixels": given.min_pixels}, dataset.family)
    dataset.open(given.root)
    counted = census(dataset, rule.pairs, rule.min_pixels)
    print(census_text(dataset, counted))
    if given.out is not None:
        from fsseg.plots.charts import draw_census

        with folders.named("--out", given.out):
            draw_census(counted, given.out)
        print(f"\n  chart: {given.out}")
    return 0
