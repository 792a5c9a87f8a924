"""A job: one command of fsseg that can be started again until its work is done."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

State = Literal["done", "failed", "left", "before"]


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
    state: State
    seconds: float
    log: Path
    said: str = ""


def last_line(log: Path) -> str:
    """The last line that a job said: where it failed, why."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip() if lines else "it said nothing"


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
