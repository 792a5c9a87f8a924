"""A job: one command of fsseg that can be restarted until it is done."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

JobState = Literal["done", "failed", "left", "before"]


@dataclass(frozen=True)
class Job:
    """A command, and the files that show that it is done.

    Attributes:
        name: unique name; the log is ``logs/<name>.log``, with dashes for slashes.
        arguments: arguments of ``fsseg``, so that the command starts or resumes (``--resume``).
        done: files that exist if and only if the command has done its work.
        after: names of the jobs that must be done first.
    """

    name: str
    arguments: tuple[str, ...]
    done: tuple[Path, ...]
    after: tuple[str, ...] = ()

    def is_done(self, where: Path | None = None) -> bool:
        """Whether the files of ``done`` exist; relative paths start at the folder ``where``."""
        return all(((where / path) if where else path).is_file() for path in self.done)

    @property
    def command(self) -> list[str]:
        """Command line of the process."""
        return [sys.executable, "-m", "fsseg", *self.arguments]

    def log(self, folder: Path) -> Path:
        """Path of the log, below the folder of all jobs."""
        return folder / "logs" / f"{self.name.replace('/', '-')}.log"


class Outcome(NamedTuple):
    """Outcome of a job.

    Attributes:
        job: the job.
        state: ``done`` now, done ``before``, ``failed``, or ``left`` because a job that it needs failed.
        seconds: run time.
        log: path of its output; the file is missing if the job was not started.
        message: last line of the log of a failed job, or the reason why a job was left out.
    """

    job: Job
    state: JobState
    seconds: float
    log: Path
    message: str = ""


def left_out(job: Job, log: Path) -> Outcome:
    """Outcome of a job that is not started because a job that it needs failed."""
    return Outcome(job, "left", 0, log, f"not started: {', '.join(job.after)} failed")


def ended(job: Job, code: int, seconds: float, log: Path, where: Path | None = None) -> Outcome:
    """Outcome of a job whose process has ended.

    Args:
        job: the job.
        code: exit code of the process; negative if a signal killed the process.
        seconds: run time.
        log: path of the output.
        where: see `Job.is_done`.
    """
    if code == 0 and job.is_done(where):
        return Outcome(job, "done", seconds, log)
    return Outcome(job, "failed", seconds, log, _last_line(log) if code >= 0 else f"killed by signal {-code}")


def _last_line(log: Path) -> str:
    """Last line of a log, which has the error of a failed job."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip() if lines else "its log is empty"


def failures(outcomes: Sequence[Outcome], what: str) -> str:
    """Report of the failed jobs with their errors and logs; empty if no job failed.

    Args:
        outcomes: outcomes of all jobs.
        what: noun for the jobs in the plural, e.g. ``jobs`` or ``points``.
    """
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if not failed:
        return ""
    left = sum(outcome.state == "left" for outcome in outcomes)
    more = f", {left} were not started" if any(outcome.job.after for outcome in outcomes) else ""
    lines = [f"{len(failed)} of {len(outcomes)} {what} failed{more}:"]
    lines += [f"  {outcome.job.name}: {outcome.message}\n    log: {outcome.log}" for outcome in failed]
    return "\n".join([*lines, "The same command tries them again, and skips jobs that are done."])


def chains(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs grouped by their dependencies, in order, e.g. a training and its tests; chains are independent."""
    found: list[list[Job]] = []
    for job in jobs:
        chain = next((chain for chain in found if any(other.name in job.after for other in chain)), None)
        if chain is None:
            found.append([job])
        else:
            chain.append(job)
    return found
