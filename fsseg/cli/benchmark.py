"""`fsseg benchmark`: a whole cross-validation, planned, run, resumed, and brought together in a table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, get_args
from zipfile import is_zipfile

import torch
import yaml

from fsseg import limits
from fsseg.cli.options import Options
from fsseg.episodes.options import Decides
from fsseg.episodes.weak_annotations import Annotation
from fsseg.errors import FAILED, FssegError
from fsseg.experiment.dry_check import Checked, checked
from fsseg.experiment.files import find_experiment
from fsseg.jobs.job import Outcome, failures
from fsseg.jobs.local import deal, run_local, share_of_cores
from fsseg.jobs.plan import Plan, PlanRecord, plan_text, read_record, write_record
from fsseg.jobs.ray import run_ray
from fsseg.jobs.slurm import slurm_script
from fsseg.progress import tell
from fsseg.runs import folders
from fsseg.runs.checkpoint_files import LAST
from fsseg.runs.identity import TEST, first_difference, identity
from fsseg.runs.library_errors import quieten
from fsseg.runs.lock import locked
from fsseg.runs.resume import FINISHED
from fsseg.untrusted.text import load_yaml

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


def run(arguments: Sequence[str]) -> int:
    """Plan, and run what is left of the plan; returns the exit code.

    Raises:
        FssegError: an option is wrong, or the folder holds another benchmark.
    """
    quieten()
    given, rest = _options().parse_known_args(list(arguments))
    given.config = [find_experiment(path) for path in given.config]
    experiment = _experiment(given.config, rest)
    plan = _plan(given, rest, experiment)
    threads = given.threads or share_of_cores(given.workers)
    record = _record(plan, experiment.own, threads)
    if given.engine != "slurm" or given.dry_run:
        print(plan_text(plan, experiment.experiment), flush=True)
    if given.dry_run:
        return 0
    with locked(plan.out):
        record = _record(plan, experiment.own, threads)  # what another benchmark may have noted since
        return _carry_out(plan, given, experiment, record)


def _carry_out(plan: Plan, given: Any, experiment: Checked, record: PlanRecord) -> int:
    folders.make(plan.out)
    folders.refuse_links(plan.out)
    _take_back(plan)
    write_record(plan.out / _RECORD, record)
    if given.engine == "slurm":
        (plan.out / "logs").mkdir(exist_ok=True)
        print(slurm_script(plan.jobs(), plan.out, experiment.experiment, record.threads), end="")
        return 0
    return _finish(plan, _run(plan, given, record.threads, experiment.own["trainer"]["devices"]))


def _take_back(plan: Plan) -> None:
    """Let a training that was finished go on where its last checkpoint is broken now and a test still wants it."""
    for training in plan.trainings():
        last = training.folder / plan.checkpoint
        wanted = training.fit and training.fit.is_done() and not all(test.is_done() for test in training.tests.values())
        if wanted and plan.checkpoint == LAST and not is_zipfile(last):
            tell(f"note: {last} cannot be read (truncated?); its training goes on from the checkpoint before it.")
            (training.folder / FINISHED).unlink()


def _options() -> Options:
    options = Options("benchmark")
    options.add_argument("--config", action="append", default=[])
    options.add_argument("--folds", nargs="+", type=int, default=None)
    options.add_argument("--shots", nargs="+", type=int, default=None)
    options.add_argument("--seeds", nargs="+", type=int, default=[0])
    options.add_argument("--train_shot", default=None)
    options.add_argument("--annotations", nargs="+", choices=get_args(Annotation), default=[])
    options.add_argument("--untrained", action="store_true")
    options.add_argument("--out", type=Path, default=None)
    options.add_argument("--dry-run", action="store_true")
    options.add_argument("--engine", choices=("local", "ray", "slurm"), default="local")
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--threads", type=int, default=None)
    options.add_argument("--address", default=None)
    options.add_argument("--gpus", type=float, default=None)
    options.add_argument("--retries", type=int, default=2)
    return options


def _experiment(configs: Sequence[str], rest: Sequence[str]) -> Checked:
    if not configs:
        raise FssegError("benchmark needs --config FILE, e.g. --config experiments/panet_shapes_1shot.yaml.")
    for option, instead in {"--data.fold": "--folds", "--data.shot": "--shots", "--data.test_shot": "--shots",
                            "--seed_everything": "--seeds", "--ckpt_path": "nothing", "--resume": "nothing",
                            "--data.images.test_support_annotation": "--annotations"}.items():  # fmt: skip
        if any(word.partition("=")[0] == option for word in rest):
            raise FssegError(f"benchmark: {option} is the benchmark's to say; give {instead} instead.")
    if rest and not rest[0].startswith("-"):
        raise FssegError(f"benchmark: {rest[0]!r} belongs to no option.")
    return checked(["fit", *(word for path in configs for word in ("--config", path)), *rest])


def _plan(given: Any, rest: Sequence[str], experiment: Checked) -> Plan:
    data = experiment.own["data"]
    limits.check(vars(given), _RANGES, "benchmark: --")
    for name in ("folds", "shots", "seeds"):
        values = getattr(given, name) or []
        if len(set(values)) < len(values):
            raise FssegError(f"benchmark: --{name}: each number once is needed.")
    shots = given.shots or [data["test_shot"] or data["shot"]]
    arguments = [word for path in given.config for word in ("--config", str(Path(path).resolve()))]
    tested = data["images"]["test_support_annotation"]
    if tested is not None:  # of the file: a flag for trainings is none for tests
        arguments.append(f"--data.images.test_support_annotation={tested}")
    return Plan(
        arguments=(*arguments, *rest),
        out=given.out or Path("runs") / experiment.experiment,
        folds=tuple(_all_folds(data) if given.folds is None else given.folds),
        shots=tuple(shots),
        seeds=tuple(given.seeds),
        train_shot=_train_shot(given.train_shot, data),
        annotations=tuple(given.annotations),
        untrained=given.untrained,
        checkpoint="last.ckpt" if experiment.protocol.selection == "last" else "best.ckpt",
    )


def _train_shot(asked: str | None, data: dict[str, Any]) -> int | None:
    """Shots of all trainings, or None for those of each test; the experiment's own way where nothing is asked for."""
    if asked == "same" or (asked is None and data["test_shot"] is None):
        return None
    if asked is None:
        return int(data["shot"])
    if not asked.isdecimal() or not 1 <= int(asked) <= limits.SHOTS.most:
        raise FssegError(f"benchmark: --train_shot {asked}: `same` (as the tests'), or a number from 1 on, is needed.")
    return int(asked)


def _all_folds(data: dict[str, Any]) -> Sequence[int]:
    kind = folders.named_class(data["dataset"]["class_path"])
    asked = (data["dataset"].get("init_args") or {}).get("folds")
    found = asked if asked is not None else getattr(kind, "folds", None)
    if not isinstance(found, int):
        raise FssegError(
            f"benchmark: --folds is needed, e.g. --folds 0 1: {kind.__name__} has as many as its files say."
        )
    return range(found)


def _record(plan: Plan, own: dict[str, Any], threads: int) -> PlanRecord:
    """The record of a benchmark, with the threads of the folder's where it has one.

    Raises:
        FssegError: the folder holds another benchmark.
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
    """The options that all jobs of a benchmark have in common and that decide its numbers."""
    role = Decides.TRAINING | Decides.LENGTH | TEST
    found = identity(own, role if plan.checkpoint == LAST else role | Decides.VALIDATION)
    found.pop("seed_everything")
    for name in ("fold", "shot", "test_shot", "images.test_support_annotation"):
        found["data"].pop(name)
    plain: dict[str, Any] = yaml.safe_load(yaml.safe_dump(found))
    return plain


def _refuse_other(plan: Plan, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if difference := first_difference(before, now):
        option, was, asked = difference
        raise FssegError(
            f"--out {plan.out} holds a benchmark with --{option.removeprefix('experiment.')} {was}; {asked} is asked "
            "for. Choose another --out."
        )


def _refuse_others_runs(plan: Plan, experiment: Mapping[str, Any]) -> None:
    """Where nothing says what the folder is of, ask its finished trainings."""
    for training in plan.trainings():
        if training.fit and training.fit.is_done():
            path = training.folder / "config.yaml"
            try:
                before = _decides(plan, load_yaml(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise FssegError(f"{path} cannot be read; {training.folder} says that it is trained.") from error
            _refuse_other(plan, before, experiment)


def _run(plan: Plan, given: Any, threads: int, asked: Any) -> list[Outcome]:
    if given.engine == "ray":
        return run_ray(plan.jobs(), plan.out, threads, tell, given.address, given.gpus, given.retries)
    each = asked if isinstance(asked, int) and asked > 0 else 1  # --trainer.devices
    devices = deal(torch.cuda.device_count(), given.workers, each)
    return run_local(plan.jobs(), plan.out, given.workers, threads, tell, devices)


def _finish(plan: Plan, outcomes: Sequence[Outcome]) -> int:
    from fsseg.cli.table import write_tables  # draws charts, which a plan need not wait for

    failed = failures(outcomes, "jobs")
    if failed:
        print(f"\n{failed}")
    if any(outcome.state in ("done", "before") and outcome.job.arguments[0] == "test" for outcome in outcomes):
        print(f"\n{write_tables([plan.out], plan.out)}")
    return FAILED if failed else 0
