"""`fsseg sweep`: trains the points of a W&B sweep file on this machine and ranks them in a table."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from fsseg import atomic, limits
from fsseg.cli.options import Options
from fsseg.errors import FAILED, FssegError
from fsseg.experiment.arguments import flags
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

_OF_FIT = ("--config", "--seed_everything")  # resemble options of this command
_RANGES = {"count": limits.Range(1, 1_000_000), "workers": limits.JOBS, "seed": limits.SEED}
_SETTINGS = "sweep.yaml"  # record of the sweep in its folder


def options() -> Options:
    """The command's options."""
    made = Options("sweep", {"--OPTION VALUE": "any option of `fsseg fit`, e.g. --data.root DIR"})
    made.option("file", str, "W&B sweep file (grid or random), e.g. experiments/sweeps/quickstart.yaml")
    made.option("--local", bool, "run on this machine, without W&B's server")
    made.option("--count", int, "number of points (default: the file's run_cap, or the grid)")
    made.option("--seed", int, "seed of random points (%(default)s)", default=0)
    made.option("--out", Path, "folder; the same command resumes (runs/sweeps/NAME)", metavar="DIR")
    made.option("--workers", int, "trainings at a time, which share the GPUs (%(default)s)", default=1)
    made.option("--dry_run", bool, "list the points and which are done, without running")
    return made


def run(arguments: Sequence[str]) -> int:
    """Run the points of a sweep that are not done; return the exit code.

    Raises:
        FssegError: An option or the file is wrong, or the folder holds another sweep.
    """
    quieten()
    made = options()
    given, rest = made.read_known(arguments)
    _check(made, given, rest)
    path = _find(given.file)
    if not given.local:
        raise FssegError(f"a sweep by W&B's server starts with: wandb sweep {path}. Give --local here.")
    sweep = read_sweep(path)
    points = sweep.points(given.count, given.seed)
    if swept := sorted(flags(rest) & {f"--{name}" for name in sweep.parameters}):
        raise FssegError(f"sweep: {swept[0]} is what the sweep varies; leave it out, or take it out of the file.")
    words = _with_csv(rest)
    from fsseg.experiment.session import settled  # imports torch

    command, *asked = sweep.arguments(points[0])
    with settled(command, [*asked, *words]) as first:  # errors of all points come before any runs
        pass
    out = given.out or Path("runs/sweeps") / path.stem
    settings = _settings(out, sweep, given.seed, first.saved)
    for key in sweep.left_out:
        print(f"note: {key} is for W&B's server; every point runs to its end here.", file=sys.stderr)
    jobs = [_job(sweep, point, words, out / str(number)) for number, point in enumerate(points, 1)]
    print(f"{path.stem}: {len(jobs)} points, {sum(job.is_done() for job in jobs)} of them done, in {out}", flush=True)
    if given.dry_run:
        for job, point in zip(jobs, points, strict=True):
            print(f"  {job.name:>3}  {'done' if job.is_done() else 'left'}  {_words(point)}")
        return 0
    with locked(out):
        settings = _settings(out, sweep, given.seed, first.saved)  # again: another sweep may have begun meanwhile
        folders.make(out)
        folders.refuse_links(out)
        atomic.write_text(out / _SETTINGS, yaml.safe_dump(settings, sort_keys=False))
        import torch

        devices = deal(torch.cuda.device_count(), given.workers)
        outcomes = run_local(jobs, out, given.workers, share_of_cores(given.workers), tell, devices)
        return _finish(sweep, points, outcomes, out)


def _find(file: str) -> Path:
    """Path of a sweep file; ``experiments/sweeps/NAME.yaml`` is found from any working folder."""
    try:
        return Path(find_experiment(file))
    except FssegError as error:
        folder = experiment_folder()
        known = sorted(path.stem for path in (folder / "sweeps").glob("*.yaml")) if folder else []
        guess = did_you_mean(Path(file).stem, known)
        raise FssegError(f"sweep {file}: no such file.{guess} Sweeps: {', '.join(known)}.") from error


def _check(options: Options, given: Any, rest: Sequence[str]) -> None:
    """Refuse wrong options, and options that are set for each point."""
    limits.check(vars(given), _RANGES, "sweep: --{}")
    for name in ("--ckpt_path", "--resume"):
        if name in flags(rest):
            raise FssegError(f"sweep: {name} is set for each point; leave it out.")
    options.refuse_near(rest, _OF_FIT)


def _with_csv(rest: Sequence[str]) -> list[str]:
    """Options of all points: without a logger among the options, only CSVLogger is used, not the file's loggers."""
    asked = any(word.startswith("--trainer.logger") for word in rest)
    return [*rest] if asked else ["--trainer.logger=true", *rest]


def _settings(out: Path, sweep: Sweep, seed: int, first: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a sweep, which keeps other sweeps out of its folder.

    Args:
        out: Folder of the sweep.
        sweep: Content of the file.
        seed: Seed of random points.
        first: Configuration of the first point, because files that the sweep names may change.

    Raises:
        FssegError: The folder holds another sweep.
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
        raise FssegError(f"{path} is broken. Delete it and give the same command again.")
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
    """Write and print the results of all points."""
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
            f"note: some points logged no {sweep.metric}: a validation follows every --data.episodes.train training "
            "episodes."
        )
    failed = failures(outcomes, "points")
    if failed:
        print(f"\n{failed}")
    return FAILED if failed else 0


def logged(folder: Path, metric: str) -> list[float]:
    """Values of a metric in the order of steps, also of a resumed training."""
    try:
        found = read_logs(folder).get(metric, {})
    except FssegError:  # it logged nothing
        return []
    return [value for _, value in sorted(found.items())]


def _words(point: SweepPoint) -> str:
    return "  ".join(f"{name}={value}" for name, value in point.items())
