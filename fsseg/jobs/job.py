"""A job: one command of fsseg that can be started again until its work is done."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

JobState = Literal["done", "failed", "left", "before"]


@dataclass(frozen=True)
class Job:
    """A command, and how to know that it is done.

    Attributes:
        name: unique among the jobs; its log is ``logs/<name>.log``, slashes as dashes.
        arguments: of ``fsseg``; the command begins anew or goes on where it was (``--resume``).
        done: files that exist once the work is done, and not before.
        after: names of jobs that must be done first.
    """

    name: str
    arguments: tuple[str, ...]
    done: tuple[Path, ...]
    after: tuple[str, ...] = ()

    def is_done(self, where: Path | None = None) -> bool:
        """Whether its work is done; relative files are looked for in ``where``."""
        return all(((where / path) if where else path).is_file() for path in self.done)

    @property
    def command(self) -> list[str]:
        """What a process is started with."""
        return [sys.executable, "-m", "fsseg", *self.arguments]

    def log(self, folder: Path) -> Path:
        """Where its output goes, below the folder of all jobs."""
        return folder / "logs" / f"{self.name.replace('/', '-')}.log"


class Outcome(NamedTuple):
    """What became of a job.

    Attributes:
        job: the job.
        state: ``done`` now, done ``before``, ``failed``, or ``left`` because a job before it failed.
        seconds: that it took.
        log: its output; none of a job that was not started.
        said: last line of a failure, or why it was left.
    """

    job: Job
    state: JobState
    seconds: float
    log: Path
    said: str = ""


def left_out(job: Job, log: Path) -> Outcome:
    """Of a job that is not started, since one before it failed."""
    return Outcome(job, "left", 0, log, f"not started: {', '.join(job.after)} failed")


def ended(job: Job, code: int, seconds: float, log: Path, where: Path | None = None) -> Outcome:
    """Of a job whose process has ended.

    Args:
        job: the job.
        code: the process's exit code; negative where a signal killed it.
        seconds: that it took.
        log: its output.
        where: see `Job.is_done`.
    """
    if code == 0 and job.is_done(where):
        return Outcome(job, "done", seconds, log)
    return Outcome(job, "failed", seconds, log, _last_line(log) if code >= 0 else f"killed by signal {-code}")


def _last_line(log: Path) -> str:
    """The last line that a job said: where it failed, why."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip() if lines else "it said nothing"


def failures(outcomes: Sequence[Outcome], what: str) -> str:
    """Which jobs failed, each with what it said and its log; empty where none did.

    Args:
        outcomes: of all jobs.
        what: they are called.
    """
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    if not failed:
        return ""
    left = sum(outcome.state == "left" for outcome in outcomes)
    more = f", {left} were not started" if any(outcome.job.after for outcome in outcomes) else ""
    lines = [f"{len(failed)} of {len(outcomes)} {what} failed{more}:"]
    lines += [f"  {outcome.job.name}: {outcome.said}\n    log: {outcome.log}" for outcome in failed]
    return "\n".join([*lines, "The same command tries them again, and leaves alone what is done."])


def chains(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs that hang together, in order: a training and its tests; each chain could run on a machine of its own."""
    found: list[list[Job]] = []
    for job in jobs:
        chain = next((chain for chain in found if any(other.name in job.after for other in chain)), None)
        if chain is None:
            found.append([job])
        else:
            chain.append(job)
    return found
