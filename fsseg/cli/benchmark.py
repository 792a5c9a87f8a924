"""`fsseg benchmark`: plans, runs and resumes a cross-validation, and writes its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import is_zipfile

import yaml

from fsseg import class_paths, limits
from fsseg.cli.options import Options
from fsseg.cli.plan_checks import refuse_untestable
from fsseg.errors import FAILED, FssegError
from fsseg.experiment.arguments import flags, last, take
from fsseg.experiment.files import find_experiment
from fsseg.jobs.job import Outcome, failures
from fsseg.jobs.local import deal, run_local, share_of_cores
from fsseg.jobs.plan import Plan, PlanRecord, filled, plan_text, read_record, write_record
from fsseg.jobs.ray import run_ray
from fsseg.jobs.slurm import slurm_script
from fsseg.progress import tell
from fsseg.runs import folders
from fsseg.runs.library_errors import plain_errors, quieten
from fsseg.runs.lock import locked
from fsseg.untrusted.text import load_yaml

if TYPE_CHECKING:
    from fsseg.experiment.configuration import Configuration
    from fsseg.experiment.data_alone import DataChecks

_RANGES = {
    "workers": limits.JOBS,
    "threads": limits.JOBS,
    "folds": limits.Range(0, 10_000),
    "shots": limits.SHOTS,
    "seeds": limits.SEED,
    "gpus": limits.Range(0, 1_000),
    "retries": limits.Range(0, 1_000),
}
_RECORD = "benchmark.yaml"


def options() -> Options:
    """The command's options."""
    made = Options("benchmark", {"--OPTION VALUE": "any option of `fsseg fit`, e.g. --data.root DIR"})
    made.option("--config", str, "experiment; several are merged", action="append", default=[], metavar="FILE")
    made.option("--folds", int, "folds (default: all)", nargs="+")
    made.option("--shots", int, "shots of the tests (default: the experiment's)", nargs="+")
    made.option("--seeds", int, "seeds of the trainings (0)", nargs="+", default=[0])
    trained = "shots of the trainings: same as the tests', or K (the experiment's)"
    made.option("--train_shot", str, trained, metavar="same|K")
    weak = "supports of tests: mask, scribble, box or points"
    kinds = Literal["mask", "scribble", "box", "points"]
    made.option("--annotations", kinds, weak, nargs="+", default=[], metavar="KIND")
    made.option("--untrained", bool, "test untrained networks")
    made.option("--out", Path, "folder; the same command resumes (runs/EXPERIMENT)", metavar="DIR")
    made.option("--dry_run", bool, "list the jobs and which are done, without running")
    engine = "run here, on a Ray cluster, or print a script for sbatch"
    made.option("--engine", Literal["local", "ray", "slurm"], engine, default="local")
    made.option("--workers", int, "jobs at a time on this machine, which share its GPUs (1)", default=1)
    made.option("--threads", int, "CPU threads of a job; fixed when a benchmark begins")
    made.option("--address", str, "address of the Ray cluster", metavar="HOST:PORT")
    made.option("--gpus", float, "GPUs of each job on Ray")
    made.option("--retries", int, "restarts of a job that Ray loses (%(default)s)", default=2)
    return made


def run(arguments: Sequence[str]) -> int:
    """Plan the jobs and run those that are not done; return the exit code.

    Raises:
        FssegError: An option is wrong, or the folder holds another benchmark.
    """
    quieten()
    made = options()
    given, rest = made.read_known(arguments)
    given.config = [find_experiment(path) for path in given.config]
    _check_rest(made, given.config, rest)
    from fsseg.experiment.session import settled  # imports torch

    first = filled(rest, given.folds[0] if given.folds else 0, given.seeds[0])
    with settled("fit", [*(f"--config={path}" for path in given.config), *first]) as experiment:
        pass
    if weights := last(rest, "--model.weights"):  # with {fold}, so that more folds are the same benchmark
        experiment.saved["model"]["weights"] = weights
    from fsseg.experiment.data_alone import DataChecks

    checks = DataChecks(experiment)
    with plain_errors():
        plan = _plan(given, rest, experiment, checks)
    threads = given.threads or share_of_cores(given.workers)
    record = _record(plan, experiment.saved, threads)
    if given.engine != "slurm" or given.dry_run:
        print(plan_text(plan, experiment.name), flush=True)
    with plain_errors():
        refuse_untestable(plan, checks)
    if given.dry_run:
        return 0
    with locked(plan.out):
        record = _record(plan, experiment.saved, threads)  # again: another benchmark may have begun meanwhile
        return _carry_out(plan, given, experiment, record)


def _carry_out(plan: Plan, given: Any, experiment: Configuration, record: PlanRecord) -> int:
    folders.make(plan.out)
    folders.refuse_links(plan.out)
    _take_back(plan)
    write_record(plan.out / _RECORD, record)
    if given.engine == "slurm":
        (plan.out / "logs").mkdir(exist_ok=True)
        print(slurm_script(plan.jobs(), plan.out, experiment.name, record.threads), end="")
        return 0
    return _finish(plan, _run(plan, given, record.threads, experiment.saved["trainer"]["devices"]))


def _take_back(plan: Plan) -> None:
    """Resume a finished training if its last checkpoint is broken and a test still needs it."""
    from fsseg.runs.checkpoint_files import LAST
    from fsseg.runs.resume import FINISHED

    for training in plan.trainings():
        last = training.folder / plan.checkpoint
        wanted = training.fit and training.fit.is_done() and not all(test.is_done() for test in training.tests.values())
        if wanted and plan.checkpoint == LAST and not is_zipfile(last):
            tell(f"note: {last} cannot be read (truncated?); its training resumes from the checkpoint before it.")
            (training.folder / FINISHED).unlink()


def _check_rest(options: Options, configs: Sequence[str], rest: Sequence[str]) -> None:
    if not configs:
        raise FssegError("benchmark needs --config FILE, e.g. --config experiments/panet_shapes_1shot.yaml.")
    for option, instead in {"--data.fold": "--folds", "--data.shot": "--shots", "--data.test_shot": "--shots",
                            "--seed_everything": "--seeds", "--ckpt_path": "nothing", "--resume": "nothing",
                            "--data.images.test_support_annotation": "--annotations"}.items():  # fmt: skip
        if option in flags(rest):
            raise FssegError(f"benchmark: {option} is set for each job; give {instead} instead.")
    options.refuse_near(rest, ())


def _plan(given: Any, rest: Sequence[str], experiment: Configuration, checks: DataChecks) -> Plan:
    data = experiment.saved["data"]
    limits.check(vars(given), _RANGES, "benchmark: --{}")
    for name in ("folds", "shots", "seeds"):
        values = getattr(given, name) or []
        if len(set(values)) < len(values):
            raise FssegError(f"benchmark: --{name}: a number is given twice. Give each number once.")
    shots = given.shots or [data["test_shot"] or data["shot"]]
    arguments = [word for path in given.config for word in ("--config", str(Path(path).resolve()))]
    tested = data["images"]["test_support_annotation"]
    if tested is not None:  # from the file; a flag would apply to trainings too
        arguments.append(f"--data.images.test_support_annotation={tested}")
    weights, shared = take(rest, "--model.weights")  # a test of the training takes its checkpoint
    return Plan(
        arguments=(*arguments, *shared),
        out=given.out or Path("runs") / experiment.name,
        folds=tuple(_all_folds(data, checks) if given.folds is None else given.folds),
        shots=tuple(shots),
        seeds=tuple(given.seeds),
        train_shot=_train_shot(given.train_shot, data),
        annotations=tuple(given.annotations),
        untrained=given.untrained,
        checkpoint="last.ckpt" if experiment.protocol.selection == "last" else "best.ckpt",
        weights=weights[-1] if weights else None,
    )


def _train_shot(asked: str | None, data: dict[str, Any]) -> int | None:
    """Shots of all trainings, or None for the shots of each test; by default, as the experiment has it."""
    if asked == "same" or (asked is None and data["test_shot"] is None):
        return None
    if asked is None:
        return int(data["shot"])
    if not asked.isdecimal() or not 1 <= int(asked) <= limits.SHOTS.most:
        raise FssegError(f"benchmark: --train_shot {asked}: `same` (as the tests'), or a number from 1 on, is needed.")
    return int(asked)


def _all_folds(data: dict[str, Any], checks: DataChecks) -> Sequence[int]:
    """All folds of the data set, which is opened if its class does not know them."""
    kind = class_paths.load(data["dataset"]["class_path"])
    known = getattr(kind, "class_names", ()) and isinstance(kind.folds, int)
    return range(kind.folds if known else checks.open(0, test=False).folds)


def _record(plan: Plan, own: dict[str, Any], threads: int) -> PlanRecord:
    """The record of a benchmark; the number of threads is taken from the folder's record if there is one.

    Raises:
        FssegError: The folder holds another benchmark.
    """
    path = plan.out / _RECORD
    now = PlanRecord(threads, plan.train_shot, plan.untrained, _decides(plan, own))
    if path.is_file():
        before = read_record(path)
        now = replace(now, threads=before.threads)
        _refuse_other(plan, asdict(before), asdict(now))
    else:
        _refuse_others_runs(plan, now.experiment)
    return now


def _decides(plan: Plan, own: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are common to all jobs of a benchmark and decide its numbers."""
    from fsseg.episodes.options import Decides
    from fsseg.runs.checkpoint_files import LAST
    from fsseg.runs.identity import TEST, identity

    role = Decides.TRAINING | Decides.LENGTH | TEST
    found = identity(own, role if plan.checkpoint == LAST else role | Decides.VALIDATION)
    found.pop("seed_everything")
    for name in ("fold", "shot", "test_shot", "images.test_support_annotation"):
        found["data"].pop(name)
    plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(found))
    return plain


def _refuse_other(plan: Plan, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    from fsseg.runs.identity import first_difference

    if difference := first_difference(before, now):
        option, was, asked = difference
        raise FssegError(
            f"--out {plan.out} holds a benchmark with --{option.removeprefix('experiment.')} {was}; {asked} is asked "
            "for. Choose another --out."
        )


def _refuse_others_runs(plan: Plan, experiment: Mapping[str, Any]) -> None:
    """In a folder without a record, compare the configurations of its finished trainings."""
    for training in plan.trainings():
        if training.fit and training.fit.is_done():
            path = training.folder / "config.yaml"
            try:
                before = _decides(plan, load_yaml(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise FssegError(f"{path} of a finished training cannot be read. Choose another --out.") from error
            _refuse_other(plan, before, experiment)


def _run(plan: Plan, given: Any, threads: int, asked: Any) -> list[Outcome]:
    if given.engine == "ray":
        return run_ray(plan.jobs(), plan.out, threads, tell, given.address, given.gpus, given.retries)
    import torch

    each = asked if isinstance(asked, int) and asked > 0 else 1  # --trainer.devices
    devices = deal(torch.cuda.device_count(), given.workers, each)
    return run_local(plan.jobs(), plan.out, given.workers, threads, tell, devices)


def _finish(plan: Plan, outcomes: Sequence[Outcome]) -> int:
    from fsseg.cli.table import write_tables  # imports matplotlib

    failed = failures(outcomes, "jobs")
    if failed:
        print(f"\n{failed}")
    if any(outcome.state in ("done", "before") and outcome.job.arguments[0] == "test" for outcome in outcomes):
        print(f"\n{write_tables([plan.out], plan.out)}")
    return FAILED if failed else 0
