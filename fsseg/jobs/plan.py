"""The plan of a benchmark: the trainings and tests of a cross-validation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from fsseg import atomic
from fsseg.errors import FssegError
from fsseg.jobs.job import Job
from fsseg.untrusted.records import Positive, convert
from fsseg.untrusted.text import load_yaml


@dataclass(frozen=True)
class PlanRecord:
    """The record of a benchmark in its folder, ``benchmark.yaml``, which keeps different benchmarks apart.

    Attributes:
        threads: CPU threads of each job. They affect the rounding of sums, so a resumed benchmark keeps the number.
        train_shot: see `Plan`.
        untrained: see `Plan`.
        experiment: options that all jobs share and that change the numbers.
    """

    threads: Positive
    train_shot: Positive | None
    untrained: bool
    experiment: dict[str, Any]


def read_record(path: Path) -> PlanRecord:
    """The record of a benchmark.

    Raises:
        FssegError: the file is broken.
    """
    try:
        return convert(load_yaml(path.read_text(encoding="utf-8")), PlanRecord, free=("experiment",))
    except ValueError as error:
        raise FssegError(
            f"{path} is broken: delete it and run the same command again, which writes a new one."
        ) from error


def write_record(path: Path, record: PlanRecord) -> None:
    """Write the record of a benchmark as YAML."""
    atomic.write_text(path, yaml.safe_dump(asdict(record), sort_keys=False))


@dataclass(frozen=True)
class Training:
    """One training and its tests; ``fit`` is None for an untrained network."""

    fold: int
    shot: int
    seed: int
    folder: Path
    fit: Job | None
    tests: dict[str, Job]  # by shots and annotation in words
    shots: dict[str, int]  # of the tests, likewise

    def is_trained(self) -> bool:
        """Whether the training is done, or none is needed."""
        return self.fit is None or self.fit.is_done()

    def open_shots(self) -> tuple[int, ...]:
        """Shots of the tests that are not done."""
        return tuple(dict.fromkeys(self.shots[words] for words, test in self.tests.items() if not test.is_done()))


@dataclass(frozen=True)
class Plan:
    """Folds, shots and seeds of one experiment.

    Attributes:
        arguments: configuration files and options of the experiment; ``{fold}`` and ``{seed}`` stand for a job's.
        out: folder of the benchmark.
        folds: folds to test.
        shots: shots of the tests.
        seeds: seeds of the trainings.
        train_shot: shots of every training, which is tested at all ``shots`` (PMMs trains on one shot); None trains
            separately for each of ``shots`` (PANet).
        annotations: annotations of the test supports; empty for the experiment's.
        untrained: test networks without training.
        checkpoint: name of the tested checkpoint file in a run folder.
        weights: file that each training starts from; ``{fold}`` and ``{seed}`` stand for a job's.
    """

    arguments: tuple[str, ...]
    out: Path
    folds: tuple[int, ...]
    shots: tuple[int, ...]
    seeds: tuple[int, ...]
    train_shot: int | None = None
    annotations: tuple[str, ...] = ()
    untrained: bool = False
    checkpoint: str = "last.ckpt"
    weights: str | None = None

    def trainings(self) -> list[Training]:
        """Trainings in the order of work: seed by seed, so that a first table is complete early."""
        shots = self.shots if self.train_shot is None else (self.train_shot,)
        return [self._training(f, k, s) for s, k, f in product(self.seeds, shots, self.folds)]

    def jobs(self) -> list[Job]:
        """All jobs, each training before its tests."""
        return [
            job
            for training in self.trainings()
            for job in ([training.fit] if training.fit else []) + [*training.tests.values()]
        ]

    def _training(self, fold: int, shot: int, seed: int) -> Training:
        name = f"fold{fold}-{shot}shot-seed{seed}" if self.train_shot is None else f"fold{fold}-seed{seed}"
        folder = self.out / name
        common = (
            *filled(self.arguments, fold, seed),
            f"--data.fold={fold}",
            f"--data.shot={shot}",
            f"--seed_everything={seed}",
        )
        fit = None
        if not self.untrained:
            start = () if self.weights is None else filled([f"--model.weights={self.weights}"], fold, seed)
            arguments = ("fit", *common, *start, f"--data.test_shot={shot}", f"--out={folder}", "--resume")
            fit = Job(f"{name}/fit", arguments, (folder / "run.json", folder / self.checkpoint))
        tested = (shot,) if self.train_shot is None else self.shots
        tests, shots = {}, {}
        for k, annotation in product(tested, self.annotations or ("",)):
            words = f"{k}shot-{annotation}" if annotation else f"{k}shot"
            shots[words], tests[words] = k, self._test(name, folder, common, k, annotation, f"test-{words}")
        return Training(fold, shot, seed, folder, fit, tests, shots)

    def _test(self, name: str, folder: Path, common: Sequence[str], shot: int, annotation: str, what: str) -> Job:
        # The experiment's files configure the test: the file beside a checkpoint may name known classes only.
        origin = (*common, "--untrained" if self.untrained else f"--ckpt_path={folder / self.checkpoint}")
        options = [f"--data.test_shot={shot}"]
        options += [f"--data.images.test_support_annotation={annotation}"] if annotation else []
        arguments = ("test", *origin, *options, f"--out={folder / what}", "--resume")
        done = (folder / what / "table.json", folder / what / "rows.csv")
        return Job(f"{name}/{what}", arguments, done, () if self.untrained else (f"{name}/fit",))


def filled(words: Sequence[str], fold: int, seed: int) -> tuple[str, ...]:
    """Words with the numbers of a job in place of ``{fold}`` and ``{seed}``."""
    return tuple(word.replace("{fold}", str(fold)).replace("{seed}", str(seed)) for word in words)


def plan_text(plan: Plan, name: str) -> str:
    """The plan for a terminal, with the state of each job."""
    trainings = plan.trainings()
    jobs = plan.jobs()
    done = sum(job.is_done() for job in jobs)
    sizes = " x ".join(
        f"{len(values)} {what}{'s' if len(values) > 1 else ''}"
        for what, values in (("fold", plan.folds), ("shot", plan.shots), ("seed", plan.seeds))
    )
    tests = sum(len(training.tests) for training in trainings)
    several = "s" * (len(trainings) > 1)
    work = f"{tests} test{'s' * (tests > 1)}"
    work = work if plan.untrained else f"{len(trainings)} training{several}, {work}"
    lines = [f"{name}, {sizes}: {work} into {plan.out}; {done} of {len(jobs)} done", ""]
    columns = ["fold", "shot", "seed", "training", "tests"]
    cells = [columns, *(_cells(training) for training in trainings)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines += ["  " + "  ".join(f"{cell:{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join(lines)


def _cells(training: Training) -> list[str]:
    tests = ", ".join(f"{words} {'done' if job.is_done() else 'to do'}" for words, job in training.tests.items())
    if training.fit is None:
        state = "none"
    elif training.fit.is_done():
        state = "done"
    else:
        state = "started" if (training.folder / "last.ckpt").is_file() else "to do"
    return [str(training.fold), str(training.shot), str(training.seed), state, tests]
