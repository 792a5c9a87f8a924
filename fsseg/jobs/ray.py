"""Jobs as tasks of a Ray cluster, which schedules them and restarts tasks of lost machines."""

import logging
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fsseg.errors import FssegError
from fsseg.jobs.job import Job, Outcome, ended, left_out
from fsseg.jobs.local import alone, duration


def run_ray(
    jobs: Sequence[Job],
    folder: Path,
    threads: int,
    tell: Callable[[str], None],
    address: str | None = None,
    gpus: float | None = None,
    retries: int = 2,
) -> list[Outcome]:
    """Run jobs as Ray tasks; a task takes the tasks that it needs as arguments, so that Ray keeps the order.

    Args:
        jobs: jobs to run; those that are done already are skipped.
        folder: folder of all jobs, on a file system of all nodes.
        threads: CPU cores of each task.
        tell: prints a line at each end of a job.
        address: address of the cluster, such as ``auto``; by default a cluster on this machine.
        gpus: GPUs of each task; by default one if the cluster has any.
        retries: number of restarts of a task whose machine or worker process died.

    Returns:
        outcomes, in the order of ``jobs``.

    Raises:
        FssegError: Ray is not installed, no cluster answers at the address, or no machine is large enough for a task.
    """
    try:
        import ray
    except ImportError as error:
        raise FssegError("--engine ray needs Ray: pip install 'fsseg[ray]'.") from error
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    started = not ray.is_initialized()
    with alone(folder, tell):
        try:
            if started:
                ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            raise FssegError(
                f"--address {address}: no Ray cluster answers, or the cluster needs a token that this machine lacks "
                f"(RAY_AUTH_TOKEN): {' '.join(str(error).split())[:200]}"
            ) from error
        gpus = _wanted_gpus(ray, gpus, threads)
        task = ray.remote(_run).options(num_cpus=threads, num_gpus=gpus, max_retries=retries)
        try:
            return _collect(ray, task, jobs, folder.resolve(), threads, tell)
        finally:
            if started:
                ray.shutdown()


def _wanted_gpus(ray: Any, gpus: float | None, threads: int) -> float:
    """GPUs of a task.

    Raises:
        FssegError: no machine of the cluster is large enough for a task.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = {name: max((node.get(name, 0.0) for node in nodes), default=0.0) for name in ("GPU", "CPU")}
    wanted = gpus if gpus is not None else float(most["GPU"] > 0)
    if wanted > most["GPU"] or threads > most["CPU"]:
        raise FssegError(
            f"a task needs {wanted:g} GPUs and {threads} cores; no machine of the cluster has more than "
            f"{most['GPU']:g} and {most['CPU']:g}. Lower --gpus or --threads."
        )
    return wanted


def _collect(
    ray: Any, task: Any, jobs: Sequence[Job], folder: Path, threads: int, tell: Callable[[str], None]
) -> list[Outcome]:
    """Submit all jobs, and report each at its end."""
    references: dict[str, Any] = {}
    for job in jobs:
        before = [references[name] for name in job.after]
        references[job.name] = task.remote(job, folder, threads, os.getcwd(), *before)
    names = {reference: name for name, reference in references.items()}
    outcomes: dict[str, Outcome] = {}
    waiting = list(names)
    while waiting:
        (reference,), waiting = ray.wait(waiting, num_returns=1)
        name = names[reference]
        job = next(job for job in jobs if job.name == name)
        try:
            outcome: Outcome = ray.get(reference)
        except ray.exceptions.RayError as error:  # lost more often than ``retries``
            outcome = Outcome(job, "failed", 0, job.log(folder), " ".join(str(error).split())[:200])
        outcomes[name] = outcome
        if outcome.state != "before":
            details = f": {outcome.message}" if outcome.message else f" in {duration(outcome.seconds)}"
            tell(f"[{len(outcomes)}/{len(jobs)}] {name}: {outcome.state}{details}")
    return [outcomes[job.name] for job in jobs]


def _run(job: Job, folder: Path, threads: int, where: str, *before: Outcome) -> Outcome:
    """Run one job in a Ray task; Ray sets the visible GPUs."""
    log = job.log(folder)
    if job.is_done(Path(where)):
        return Outcome(job, "before", 0, log)
    if any(outcome.state in ("failed", "left") for outcome in before):
        return left_out(job, log)
    begun = time.monotonic()
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with log.open("ab") as file:
        code = subprocess.run(
            job.command, stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=where, check=False
        ).returncode
    return ended(job, code, time.monotonic() - begun, log, Path(where))
