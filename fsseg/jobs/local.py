"""Jobs on this machine: several processes at a time, none of which outlives the one that started it."""

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

_PATIENCE = 60.0  # seconds that jobs of a killed runner may take to end
_POLL = 0.05  # seconds between two looks at the processes
_PR_SET_PDEATHSIG = 1  # Linux: a signal to the child when its parent dies


@contextmanager
def alone(folder: Path, tell: Callable[[str], None]) -> Iterator[int]:
    """Hold a folder against other runners, and against jobs that a killed one left.

    The lock is on an open file that jobs inherit, so that it is free only once the last of them has ended.

    Args:
        folder: of the jobs.
        tell: where waiting is said.

    Yields:
        the descriptor that jobs are to inherit.

    Raises:
        FssegError: another runner, or one of its jobs, is at work there.
    """
    with (folder / ".lock").open("w") as file:
        for attempt in range(round(_PATIENCE)):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if attempt == 0:
                    tell(f"waiting for another command, or a job that it left, to end in {folder}")
                time.sleep(1)
        else:
            raise FssegError(f"{folder}: another command is at work there. Wait for it, or stop it.")
        yield file.fileno()


def run_local(
    jobs: Sequence[Job],
    folder: Path,
    workers: int,
    threads: int,
    tell: Callable[[str], None],
    devices: Sequence[str] = (),
) -> list[Outcome]:
    """Run jobs as processes, in order, those that must wait for others once these are done.

    Args:
        jobs: what is to be done; one whose file is there is done.
        folder: of all jobs; logs go below it.
        workers: processes at a time.
        threads: of each process on the CPU.
        tell: where beginnings and ends are said, a line each.
        devices: GPUs of each worker, see `deal`; none leaves the choice to the jobs.

    Returns:
        what became of each, in the order of ``jobs``.

    Raises:
        FssegError: another runner is at work in the folder.
        KeyboardInterrupt: Ctrl-C; the jobs have been told to stop, too.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    with alone(folder, tell) as lock:
        return _Runner(jobs, folder, workers, threads, tell, devices, lock).run()


def deal(count: int, workers: int, each: int = 1) -> tuple[str, ...]:
    """GPUs of each worker, as CUDA_VISIBLE_DEVICES has them; none where one worker has them all.

    Args:
        count: GPUs that this process sees.
        workers: to share them.
        each: GPUs that a job wants; workers share where there are too few.
    """
    if count == 0 or workers == 1:
        return ()
    visible = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    names = visible if len(visible) == count else [str(number) for number in range(count)]
    each = min(each, count)
    return tuple(",".join(names[(worker * each + i) % count] for i in range(each)) for worker in range(workers))


class _Runner:
    """One thread that starts processes and looks after them; see `run_local`."""

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
        """Start as many as there are free workers; whether a job waits or runs."""
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
                start_new_session=True,  # Ctrl-C reaches it once, from here
                pass_fds=(self.lock,),
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # safe: this process has one thread
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
            words = f"done in {took}" if outcome.state == "done" else f"FAILED after {took}: {outcome.said}"
            self.tell(f"{self._place(job)} {job.name}: {words}")
            self.outcomes[job.name] = outcome

    def _place(self, job: Job) -> str:
        width = len(str(len(self.jobs)))
        return f"[{self.jobs.index(job) + 1:{width}}/{len(self.jobs)}]"

    def _stop(self) -> None:
        """Let what still runs keep its state: a training writes a checkpoint at SIGINT."""
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
    """CPU threads of each of several jobs: what OMP_NUM_THREADS says, or a share of the cores."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else max(1, (os.cpu_count() or 1) // workers)


def duration(seconds: float) -> str:
    """Such as 0:07 or 1:02:03."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
