"""`fsseg supports`: how much a result depends on the choice and the number of supports."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsseg import atomic, limits
from fsseg.cli.dashes import with_dashes
from fsseg.cli.options import Options
from fsseg.errors import FssegError
from fsseg.experiment.arguments import flags, last, take
from fsseg.progress import tell
from fsseg.results.results import find_results
from fsseg.results.supports import Study, read_study, summary, table_csv, table_text
from fsseg.runs import folders

if TYPE_CHECKING:
    from fsseg.episodes import EpisodeData
    from fsseg.episodes.support_draws import SupportDraws

_MAPS = "maps"  # the encoder's maps, which all tests share
_OWN = ("--data.way", "--data.test_shot", "--data.query", "--data.episodes.test_file", "--protocol.draw", "--resume")


def options() -> Options:
    """The command's options."""
    made = Options("supports", {"--OPTION VALUE": "any option of `fsseg test`, e.g. --ckpt_path FILE or --untrained"})
    made.option("--shots", int, "numbers of supports (1 2 5 10)", nargs="+", default=[1, 2, 5, 10])
    made.option("--draws", int, "draws of supports (%(default)s)", default=20)
    made.option("--queries", int, "queries of each class, the same for all draws (%(default)s)", default=20)
    made.option("--beside", Path, "finished studies, for one table and picture", nargs="+", default=[], metavar="DIR")
    made.option("--out", Path, "folder; the same command resumes (beside the checkpoint)", metavar="DIR")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run ``supports``; return the exit code.

    Raises:
        FssegError: An option is wrong, or no class has enough images.
    """
    made = options()
    given, rest = made.read_known(arguments)
    made.refuse_near(rest, ("--config", "--out", "--untrained", "--ckpt_path"))
    _check(given, rest)
    beside = [_study(folder) for folder in given.beside]
    out = given.out or _default_folder(rest)
    from fsseg.experiment.data_alone import build_data
    from fsseg.experiment.session import settled  # imports torch

    words = [*rest, "--data.way=1", "--protocol.draw=seeded", "--data.episodes.missing_classes=skip"]
    sizes = [f"--data.test_shot={max(given.shots)}", f"--data.query={given.queries}"]
    with settled("test", [*words, *sizes]) as c:
        data = build_data(c.options.data, c.protocol)
        try:
            data.setup("test")
        except FssegError as error:
            raise FssegError(str(error).replace("Lower `data.test_shot`", "Lower --shots or --queries")) from error
        drawn = _draw(data, given)
    folders.make(out)
    for shot in sorted(given.shots):
        _test(rest, data, drawn, shot, out)
    shutil.rmtree(out / _MAPS, ignore_errors=True)
    studies = [_study(out), *beside]
    _write(studies, out)
    return 0


def _check(given: Any, rest: Sequence[str]) -> None:
    ranges = {"shots": limits.SHOTS, "draws": limits.Range(2, 1_000), "queries": limits.SHOTS}
    limits.check(vars(given), ranges, "supports: --{}")
    if len(set(given.shots)) < len(given.shots):
        raise FssegError("supports: --shots: a number is given twice. Give each number once.")
    for option in _OWN:
        if option in flags(rest):
            raise FssegError(f"supports sets {option} itself: leave it out.")


def _default_folder(rest: Sequence[str]) -> Path:
    if ckpt_path := last(rest, "--ckpt_path"):
        return Path(ckpt_path).parent / "supports"
    files, _ = take(rest, "-c", "--config")
    return Path("runs") / Path([*files, "untrained"][0]).stem / "supports"


def _draw(data: EpisodeData, given: Any) -> SupportDraws:
    """Queries and orders of supports of the classes with enough images."""
    from fsseg.episodes.eligible_images import with_complete_masks
    from fsseg.episodes.support_draws import draw_supports

    names = [data.dataset.class_name(c) for c in data.tested]
    left = [data.dataset.class_name(c) for c in data.skipped]
    needed = max(given.shots) + given.queries
    if left:
        tell(f"left out, with fewer than {needed} {data.protocol.split} images: {', '.join(left)}")
    tell(f"{', '.join(names)}: {given.queries} queries each, {given.draws} draws of supports")
    complete = with_complete_masks(data.dataset, data.tested)
    return draw_supports(data.tested, complete, given.draws, given.queries, data.protocol.seed)


def _test(rest: Sequence[str], data: EpisodeData, drawn: SupportDraws, shot: int, out: Path) -> None:
    """Test one number of shots on all draws."""
    from fsseg.episodes.episode_file import as_text
    from fsseg.episodes.support_draws import per_episode
    from fsseg.experiment.session import settled
    from fsseg.experiment.testing import evaluate

    runs = drawn.runs(shot)
    path = out / f"episodes-{shot}shot.json"
    atomic.write_text(path, as_text(data.dataset, runs, str(data.protocol)))
    query = per_episode(len(next(iter(drawn.queries.values()))))
    own = [f"--data.test_shot={shot}", f"--data.query={query}", "--data.way=1", f"--data.episodes.test_file={path}"]
    maps = [] if "--data.loading.cache_folder" in flags(rest) else [f"--data.loading.cache_folder={out / _MAPS}"]
    tell(f"{shot}-shot")
    with settled("test", [*rest, *own, *maps, f"--out={out / f'test-{shot}shot'}", "--resume"]) as c:
        evaluate(c)


def _study(folder: Path) -> Study:
    return read_study(find_results([folder]))


def _write(studies: Sequence[Study], out: Path) -> None:
    """Print the table, and write it with the numbers of each draw and a picture."""
    from fsseg.plots.studies import draw_support_studies  # imports matplotlib

    text = with_dashes(table_text(studies))
    atomic.write_text(out / "supports.txt", f"{text}\n")
    atomic.write_text(out / "supports.csv", table_csv(studies))
    atomic.write_text(out / "supports.json", json.dumps(summary(studies), indent=1) + "\n")
    draw_support_studies(studies, out / "supports.png")
    print(f"\n{text}\n\n  table     {out}/supports.txt  supports.csv  supports.json\n  picture   {out}/supports.png")
