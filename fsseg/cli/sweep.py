"""`fsseg sweep`: the points of a W&B sweep file as trainings on this machine, and a table of them."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fsseg import atomic, limits
from fsseg.cli.options import Options
from fsseg.errors import FAILED, FssegError
from fsseg.experiment.files import did_you_mean, experiment_folder, find_experiment
from fsseg.jobs.job import Job, Outcome, failures
from fsseg.jobs.local import deal, run_local, share_of_cores
from fsseg.jobs.sweep import Sweep, SweepPoint, read_sweep
from fsseg.jobs.sweep_results import PointResult, rank, text_table, write
from fsseg.progress import tell
from fsseg.runs import folders
from fsseg.runs.library_errors import quieten
from fsseg.runs.lock import locked
from fsseg.runs.training_logs import read_logs
from fsseg.untrusted.text import load_yaml

_OF_FIT = ("--config", "--seed_everything")  # too near to options of ours
_RANGES = {"count": limits.Range(1, 1_000_000), "workers": limits.JOBS, "seed": limits.SEED}
_SETTINGS = "sweep.yaml"  # of the folder: the sweep that it is of


def options() -> Options:
    """The command's options."""
    made = Options("sweep", {"--OPTION VALUE": "any option of `fsseg fit`, for all points: --data.root DIR ..."})
    made.option("file", str, "a sweep of W&B's form, e.g. experiments/sweeps/quickstart.yaml (grid or random)")
    made.option("--local", bool, "run it here; without a server, wandb sweep and wandb agent need one")
    made.option("--count", int, "points (default: the file's run_cap, or the whole grid)")
    made.option("--seed", int, "of random points (%(default)s)", default=0)
    made.option("--out", Path, "folder of it all; the same command resumes there (runs/sweeps/NAME)", metavar="DIR")
    made.option("--workers", int, "trainings at a time; GPUs are dealt out to them (%(default)s)", default=1)
    made.option("--dry_run", bool, "say what would run, and what is done")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run what is left of a sweep; returns the exit code.

    Raises:
        FssegError: an option or the file is wrong, or the folder holds another sweep.
    """
    quieten()
    made = options()
    given, rest = made.read_known(arguments)
    _check(made, given, rest)
    path = _find(given.file)
    if not given.local:
        raise FssegError(f"a sweep by W&B's server starts with: wandb sweep {path}. Here it runs with --local.")
    sweep = read_sweep(path)
    points = sweep.points(given.count, given.seed)
    if swept := sorted({word.partition("=")[0] for word in rest} & {f"--{name}" for name in sweep.parameters}):
        raise FssegError(f"sweep: {swept[0]} is what the sweep varies; leave it out, or take it out of the file.")
    words = _with_csv(rest)
    from fsseg.experiment.commands import settled  # imports torch

    command, *asked = sweep.arguments(points[0])
    with settled(command, [*asked, *words]) as first:  # what all would refuse, before any of them runs
        pass
    out = given.out or Path("runs/sweeps") / path.stem
    settings = _settings(out, sweep, given.seed, first.own)
    for key in sweep.left_out:
        print(f"note: {key} is for W&B's server; every point runs to its end here.", file=sys.stderr)
    jobs = [_job(sweep, point, words, out / str(number)) for number, point in enumerate(points, 1)]
    print(f"{path.stem}: {len(jobs)} points, {sum(job.is_done() for job in jobs)} of them done, in {out}", flush=True)
    if given.dry_run:
        for job, point in zip(jobs, points, strict=True):
            print(f"  {job.name:>3}  {'done' if job.is_done() else 'left'}  {_words(point)}")
        return 0
    with locked(out):
        settings = _settings(out, sweep, given.seed, first.own)  # what another sweep may have noted since
        folders.make(out)
        folders.refuse_links(out)
        atomic.write_text(out / _SETTINGS, yaml.safe_dump(settings, sort_keys=False))
        import torch

        devices = deal(torch.cuda.device_count(), given.workers)
        outcomes = run_local(jobs, out, given.workers, share_of_cores(given.workers), tell, devices)
        return _finish(sweep, points, outcomes, out)


def _find(file: str) -> Path:
    """A sweep file; ``experiments/sweeps/NAME.yaml`` is found from any working folder."""
    try:
        return Path(find_experiment(file))
    except FssegError as error:
        folder = experiment_folder()
        known = sorted(path.stem for path in (folder / "sweeps").glob("*.yaml")) if folder else []
        guess = did_you_mean(Path(file).stem, known)
        raise FssegError(f"sweep {file}: no such file.{guess} Sweeps: {', '.join(known)}.") from error


def _check(options: Options, given: Any, rest: Sequence[str]) -> None:
    """Refuse wrong options of the command's own, and those that each point has for itself."""
    limits.check(vars(given), _RANGES, "sweep: --")
    for name in [word.partition("=")[0] for word in rest]:
        if name in ("--ckpt_path", "--resume"):
            raise FssegError(f"sweep: {name} is each point's own; leave it out.")
    options.refuse_near(rest, _OF_FIT)


def _with_csv(rest: Sequence[str]) -> list[str]:
    """Options of all points: CSV alone, whatever the file has for `wandb agent`, where no other logger is asked for."""
    asked = any(word.partition("=")[0].startswith("--trainer.logger") for word in rest)
    return [*rest] if asked else ["--trainer.logger=true", *rest]


def _settings(out: Path, sweep: Sweep, seed: int, first: Mapping[str, Any]) -> dict[str, Any]:
    """What a sweep is of: noted in its folder, so that no other one is mixed with it.

    Args:
        out: its folder.
        sweep: the file's content.
        seed: of random points.
        first: configuration of the first point; the files that the sweep names may have changed.

    Raises:
        FssegError: the folder holds another sweep.
    """
    from fsseg.episodes.options import Decides
    from fsseg.runs.identity import first_difference, identity

    experiment = identity(first, Decides.TRAINING | Decides.LENGTH | Decides.VALIDATION)
    now = {
        "method": sweep.method,
        "metric": sweep.metric,
        "goal": sweep.goal,
        "parameters": sweep.parameters,
        "experiment": yaml.safe_load(yaml.safe_dump(experiment)),
        **({"seed": seed} if sweep.method == "random" else {}),
    }
    path = out / _SETTINGS
    try:
        before = load_yaml(path.read_text(encoding="utf-8")) if path.is_file() else now
    except ValueError:
        before = None
    if not isinstance(before, dict):
        raise FssegError(f"{path} is broken: delete it, and the same command notes anew what the folder is of.")
    if differing := [key for key in {**before, **now} if before.get(key) != now.get(key)]:
        what = f"its {differing[0]} differs"
        if differing == ["experiment"] and (found := first_difference(before["experiment"] or {}, now["experiment"])):
            what = f"its --{found[0]} is {found[1]}, {found[2]} is asked for"
        raise FssegError(f"--out {out} holds another sweep: {what}. Choose another --out.")
    return now


def _job(sweep: Sweep, point: SweepPoint, words: Sequence[str], folder: Path) -> Job:
    from fsseg.runs.resume import FINISHED

    arguments = (*sweep.arguments(point), *words, "--out", str(folder), "--resume")
    return Job(folder.name, arguments, (folder / FINISHED, folder / "last.ckpt"))


def _finish(sweep: Sweep, points: Sequence[SweepPoint], outcomes: Sequence[Outcome], out: Path) -> int:
    """Write and show what came of all points."""
    results = []
    for number, (point, outcome) in enumerate(zip(points, outcomes, strict=True), 1):
        state = "failed" if outcome.state == "failed" else "done"
        values = logged(out / str(number), sweep.metric) if state == "done" else []
        best = (max if sweep.goal == "maximize" else min)(values, default=None)
        results.append(PointResult(number, point, state, values[-1] if values else None, best))
    ranked = rank(results, sweep.goal)
    write(out, sweep, ranked)
    print(f"\n{text_table(sweep, ranked)}\n\n  results  {out / 'results.json'}  {out / 'results.csv'}")
    if ranked[0].last is not None:
        print(f"  best     point {ranked[0].number}: {out / str(ranked[0].number) / 'last.ckpt'}")
        arguments = outcomes[ranked[0].number - 1].job.arguments[:-3]  # without --out and --resume
        print(f"           {shlex.join(['fsseg', *arguments])}")
    if any(result.state == "done" and result.last is None for result in results):
        print(
            f"note: some points logged no {sweep.metric}: a validation comes every --data.episodes.train training "
            "episodes."
        )
    failed = failures(outcomes, "points")
    if failed:
        print(f"\n{failed}")
    return FAILED if failed else 0


def logged(folder: Path, metric: str) -> list[float]:
    """Values of a metric in the order of the training, over all that it was resumed."""
    try:
        found = read_logs(folder).get(metric, {})
    except FssegError:  # it logged nothing
        return []
    return [value for _, value in sorted(found.items())]


def _words(point: SweepPoint) -> str:
    return "  ".join(f"{name}={value}" for name, value in point.items())
