"""Jobs as processes on this machine. The processes end when their parent process ends."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fsseg.errors import FssegError
from fsseg.jobs.job import Job, Outcome, ended, left_out

_PATIENCE = 60.0  # seconds that jobs may take to end after a signal, enough to write a checkpoint
_POLL = 0.05  # seconds between two polls of the processes
_PR_SET_PDEATHSIG = 1  # from Linux's <sys/prctl.h>: the child gets a signal when its parent dies


@contextmanager
def alone(folder: Path, tell: Callable[[str], None]) -> Iterator[int]:
    """Lock a folder against other runners, and against running jobs of a killed runner.

    The lock belongs to an open file that jobs inherit; it is released when the last of them has ended.

    Args:
        folder: folder of the jobs.
        tell: prints a line when this process waits.

    Yields:
        the file descriptor that jobs must inherit.

    Raises:
        FssegError: another runner, or one of its jobs, holds the lock for a minute.
    """
    with (folder / ".lock").open("w") as file:
        for attempt in range(round(_PATIENCE)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == 0:
                    tell(f"waiting in {folder} for another command or its jobs to end")
                time.sleep(1)
        else:
            raise FssegError(f"{folder}: another command uses this folder. Wait for its end, or stop it.")
        yield file.fileno()


def run_local(
    jobs: Sequence[Job],
    folder: Path,
    workers: int,
    threads: int,
    tell: Callable[[str], None],
    devices: Sequence[str] = (),
) -> list[Outcome]:
    """Run jobs as processes, in order; a job starts when the jobs that it needs are done.

    Args:
        jobs: jobs to run; those that are done already are skipped.
        folder: folder of all jobs; logs are written below it.
        workers: largest number of processes at a time.
        threads: CPU threads of each process.
        tell: prints a line at each start and end of a job.
        devices: GPUs of each worker, see `deal`; with none the jobs choose.

    Returns:
        outcomes, in the order of ``jobs``.

    Raises:
        FssegError: another runner uses the folder.
        KeyboardInterrupt: Ctrl-C; the jobs have been interrupted too.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    with alone(folder, tell) as lock:
        return _Runner(jobs, folder, workers, threads, tell, devices, lock).run()


def deal(count: int, workers: int, each: int = 1) -> tuple[str, ...]:
    """GPUs of each worker as values of CUDA_VISIBLE_DEVICES; empty if one worker has all GPUs.

    Args:
        count: number of GPUs that this process sees.
        workers: number of workers.
        each: GPUs per job; workers share GPUs if there are too few.
    """
    if count == 0 or workers == 1:
        return ()
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = visible if len(visible) == count else [str(number) for number in range(count)]
    each = min(each, count)
    return tuple(",".join(names[(worker * each + i) % count] for i in range(each)) for worker in range(workers))


class _Runner:
    """Starts and polls the processes of `run_local` in one thread."""

    def __init__(
        self,
        jobs: Sequence[Job],
        folder: Path,
        workers: int,
        threads: int,
        tell: Callable[[str], None],
        devices: Sequence[str],
        lock: int,
    ) -> None:
        self.jobs, self.folder, self.tell, self.lock = jobs, folder, tell, lock
        self.threads, self.devices = threads, devices
        self.free = list(range(workers))
        self.running: dict[str, tuple[subprocess.Popen[bytes], int, float]] = {}
        self.outcomes: dict[str, Outcome] = {}

    def run(self) -> list[Outcome]:
        for job in self.jobs:
            if job.is_done():
                self.outcomes[job.name] = Outcome(job, "before", 0, job.log(self.folder))
        try:
            while self._start_what_can() or self.running:
                self._look()
                time.sleep(_POLL)
        finally:
            self._stop()
        return [self.outcomes[job.name] for job in self.jobs]

    def _start_what_can(self) -> bool:
        """Start jobs while workers are free; returns whether jobs are waiting or running."""
        waiting = [job for job in self.jobs if job.name not in self.outcomes and job.name not in self.running]
        for job in waiting:
            before = [self.outcomes.get(name) for name in job.after]
            if any(outcome and outcome.state in ("failed", "left") for outcome in before):
                self.outcomes[job.name] = left_out(job, job.log(self.folder))
            elif all(before) and self.free:
                self._start(job)
        return any(job.name not in self.outcomes for job in self.jobs)

    def _start(self, job: Job) -> None:
        worker = self.free.pop(0)
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.threads)}
        environment.pop("FSSEG_RUN_FOLDER", None)
        if self.devices:
            environment["CUDA_VISIBLE_DEVICES"] = self.devices[worker]
        with job.log(self.folder).open("ab") as log:
            process = subprocess.Popen(
                job.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # otherwise a terminal's Ctrl-C would reach the job twice
                pass_fds=(self.lock,),
                preexec_fn=_die_with_parent
                if sys.platform == "linux"
                else None,  # preexec_fn is safe in a process with one thread
            )
        self.running[job.name] = (process, worker, time.monotonic())
        self.tell(f"{self._place(job)} {job.name} ...")

    def _look(self) -> None:
        for job in [job for job in self.jobs if job.name in self.running]:
            process, worker, begun = self.running[job.name]
            if process.poll() is None:
                continue
            del self.running[job.name]
            self.free.append(worker)
            outcome = ended(job, process.returncode, time.monotonic() - begun, job.log(self.folder))
            took = duration(outcome.seconds)
            words = f"done in {took}" if outcome.state == "done" else f"FAILED after {took}: {outcome.message}"
            self.tell(f"{self._place(job)} {job.name}: {words}")
            self.outcomes[job.name] = outcome

    def _place(self, job: Job) -> str:
        width = len(str(len(self.jobs)))
        return f"[{self.jobs.index(job) + 1:{width}}/{len(self.jobs)}]"

    def _stop(self) -> None:
        """End running jobs by SIGINT, at which a training writes a checkpoint; kill them after a minute."""
        for process, _, _ in self.running.values():
            process.send_signal(signal.SIGINT)
        for process, _, _ in self.running.values():
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def share_of_cores(workers: int) -> int:
    """CPU threads of each of several jobs: the value of OMP_NUM_THREADS, or a share of the cores."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) else max(1, (os.cpu_count() or 1) // workers)


def duration(seconds: float) -> str:
    """A duration as text, such as 0:07 or 1:02:03."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
