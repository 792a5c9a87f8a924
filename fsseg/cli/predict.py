"""`fsseg predict`: segments images from a few supports."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fsseg.cli.learning import SEVERAL, add_supports, add_tile, counted, is_deep, learn, note_depth, read
from fsseg.cli.options import Options, add_segmenter
from fsseg.disk_cache import fingerprint
from fsseg.errors import USAGE, FssegError
from fsseg.files.decoders import count_endings, first_names, installation
from fsseg.progress import Progress, on_terminal, tell
from fsseg.runs import folders
from fsseg.runs.library_errors import quieten
from fsseg.runs.lock import locked
from fsseg.runs.query_files import state_of
from fsseg.untrusted import text

if TYPE_CHECKING:
    from fsseg.experiment.segmenter_options import Chosen
    from fsseg.experiment.support_arguments import Queries
    from fsseg.experiment.support_files import Shown
    from fsseg.runs.prediction_files import PredictionFolder, PredictionRequest
    from fsseg.segmenter import Segmenter


def options() -> Options:
    """The command's options."""
    made = Options("predict")
    add_supports(made)
    made.option("--query", str, "files, folders or patterns", metavar="IMAGES", **SEVERAL)
    out = "folder of results; the same command resumes (runs/predict)"
    made.option("--out", Path, out, metavar="DIR")
    add_segmenter(made)
    add_tile(made)
    score = "leave out classes with a score below T (0), or auto"
    made.option("--threshold", float | Literal["auto"], score, default=0.0, metavar="T")
    made.option("--probabilities", bool, "write a map per class, 0..255")
    made.option("--instances", bool, "outline and list each object instead of each class")
    formats = "also write labelme or yolo (segments)"
    made.option("--formats", Literal["labelme", "yolo"], formats, **SEVERAL)
    made.option("--save", Path, "save the supports for --ckpt_path and fsseg.Segmenter.load", metavar="FILE")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``predict``; return the exit code, which is 2 if a query cannot be read.

    Raises:
        FssegError: An option is wrong, or a support or the checkpoint cannot be read.
    """
    quieten()
    given, of_method = read(options(), arguments)
    if given.threshold != "auto" and not 0 <= given.threshold <= 1:
        raise FssegError(f"--threshold {given.threshold:g}: a score of 0..1, or auto, is needed.")
    if not (given.query or given.save):
        raise FssegError("predict needs --query IMAGES, e.g. --query images/, or --save FILE to save the supports.")
    from fsseg.experiment import segmenter_options, support_arguments  # imports torch

    chosen = segmenter_options.read_method(given, of_method)
    out = given.out or folders.fresh(Path("runs") / "predict")
    supports = support_arguments.supports(given.support)
    rejected = support_arguments.rejected(given.negative, supports)
    queries = support_arguments.queries(given.query)
    engine = segmenter_options.engine(given, chosen)
    if not (supports or engine.segmenter.classes):
        raise FssegError("predict needs --support IMAGE:MASK, e.g. --support cat1.jpg:cat1.png.")
    tell(engine.described)
    learn(engine.segmenter, supports, rejected)
    asks = _decides(given, chosen, supports, rejected)
    names = engine.segmenter.classes
    from fsseg.runs.prediction_files import PredictionFolder

    with locked(out) if queries.paths else nullcontext():
        results = PredictionFolder(out, asks, queries.paths, names, given.probabilities) if queries.paths else None
        if given.save:
            engine.segmenter.save(given.save)
            print(f"  segmenter {given.save}")
        if results is None:
            return 0
        _note_unscored(engine.segmenter, given.threshold)
        left = _segment(engine.segmenter, queries, results, given.threshold)
        results.finish()
        from fsseg.runs.prediction_formats import write_formats

        write_formats(results, given.formats)
    _say(results, out, given.probabilities, given.formats)
    return USAGE if left else 0


def _note_unscored(segmenter: Segmenter, threshold: float | str) -> None:
    """Print the classes to which a threshold does not apply."""
    state = segmenter.known[0]
    alone = [name for label, name in state.found.items() if len(state.showing(label)) < 2]
    if threshold != 0 and alone:
        tell(f"note: --threshold does not apply to {', '.join(alone)}: a score needs two supports of a class.")


def _segment(segmenter: Segmenter, given: Queries, results: PredictionFolder, threshold: Any) -> list[str]:
    """Segment the queries that are not done; return one line for each query that cannot be read."""
    from fsseg.segmenter.inputs import as_image

    queries, done = given.paths, results.done
    todo = {name: path for name, path in queries.items() if name not in done}
    if len(todo) < len(queries):
        tell(f"{len(queries) - len(todo):,} of {len(queries):,} are done already")
    left, deep = _left_out(given), 0
    for name, path in _tracked(todo, f"segmenting {counted(len(todo), 'image')}"):
        try:
            _check_name(path)
            state = state_of(path)
            image = as_image(path)
            found = segmenter.predict(image, threshold, results.probabilities)
        except FssegError as error:
            left.append(str(error))
            tell(f"note: {error} It is left out.")
            continue
        results.add(name, path, state, image, found)
        deep += is_deep(path)
    note_depth(deep)
    if left:
        every = len(queries) + len(given.undecodable)
        tell(f"fsseg: {len(left):,} of {every:,} images were left out, see the notes; the others are done.")
    return left


def _left_out(given: Queries) -> list[str]:
    """Print which files are ignored; return one line for each image whose decoder is not installed."""
    for note in given.notes:
        tell(f"note: {note}")
    left = given.undecodable
    for ending in sorted({path.suffix.lower() for path in left}):
        some = [path for path in left if path.suffix.lower() == ending]
        tell(f"note: {count_endings(some)} left out ({first_names(some)}): {installation(some[0])}")
    return [str(path) for path in left]


def _check_name(path: Path) -> None:
    if text.has_controls(str(path)):
        raise FssegError(f"{text.shown(str(path))}: the name has control characters. Rename the file.")


def _tracked(todo: Mapping[str, Path], what: str) -> Iterable[tuple[str, Path]]:
    """Yield the items and show progress: a bar on a terminal, otherwise a few lines."""
    items = list(todo.items())
    if not on_terminal():
        tell(what)
    with Progress(what if on_terminal() else " ", len(items)) as step:
        for number, item in enumerate(items, 1):
            yield item
            if number < len(items):
                step.to(number, f"{number:,}/{len(items):,}")


def _decides(given: Any, chosen: Chosen, supports: Sequence[Shown], rejected: Sequence[Shown]) -> PredictionRequest:
    """The options and files that decide the results; a run is resumed only if they are equal."""
    from fsseg.runs.prediction_files import PredictionRequest

    files = [Path(p) for s in (*supports, *rejected) for p in (s.image, s.mask) if p and Path(p).is_file()]
    files += [Path(given.ckpt_path)] if given.ckpt_path else []
    method = chosen.config.model.method
    return PredictionRequest(
        [*given.support],
        [*given.negative],
        given.ckpt_path,
        None if given.ckpt_path else json.loads(json.dumps(_plain(method))),
        **{
            name: getattr(given, name)
            for name in (
                "size",
                "long_side",
                "tile",
                "threshold",
                "probabilities",
                "instances",
                "no_refine",
                "thorough",
            )
        },
        files=fingerprint(files),
    )


def _plain(options: Any) -> Any:
    return options.as_dict() if hasattr(options, "as_dict") else options


def _say(results: PredictionFolder, out: Path, probabilities: bool, formats: Sequence[str]) -> None:
    """Print the found classes and the paths of the results."""
    from fsseg.runs.prediction_files import COCO, MASKS, OVERLAYS, PROBABILITIES, SCORES
    from fsseg.runs.prediction_formats import AREAS

    names = results.queries.keys() & results.done
    count = len(names)
    print(counted(count, "image"))
    width = max(map(len, results.classes))
    for name in results.classes:
        rows = [row for row in results.rows if row["class"] == name and row["name"] in names]
        shown = [row for row in rows if int(row["pixels"])]
        share = sum(int(r["pixels"]) / (int(r["height"]) * int(r["width"])) for r in shown) / max(1, len(shown))
        print(f"  {name:{width}}  in {len(shown):,} of {count:,}" + f", {share:.0%} of their pixels" * bool(shown))
    print(f"\n  masks     {out / MASKS}/  {COCO}\n  overlays  {out / OVERLAYS}/\n  scores    {out / SCORES}  {AREAS}")
    if probabilities:
        print(f"  maps      {out / PROBABILITIES}/")
    for name in dict.fromkeys(formats):
        print(f"  {name:9} {out / name}/")
