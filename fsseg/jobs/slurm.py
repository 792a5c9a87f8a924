"""Jobs as a SLURM script: an array job with one element per training and its tests."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from fsseg.jobs.job import Job, chains


def slurm_script(jobs: Sequence[Job], folder: Path, name: str, threads: int = 4) -> str:
    """A script for ``sbatch`` that runs the remaining jobs; a requeued element resumes.

    Args:
        jobs: all jobs; chains whose jobs are all done are left out.
        folder: folder of all jobs, on a file system of all nodes.
        name: name of the array job.
        threads: CPU threads of each element.
    """
    left = [chain for chain in chains(jobs) if not all(job.is_done() for job in chain)]
    if not left:
        return "# nothing is left to do\n"
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={name}",
        f"#SBATCH --array=0-{len(left) - 1}",
        "#SBATCH --gres=gpu:1",
        f"#SBATCH --cpus-per-task={threads}",
        "#SBATCH --requeue",
        f"#SBATCH --output={shlex.quote(str(folder / 'logs' / 'slurm-%a.log'))}",
        "#SBATCH --open-mode=append",
        "# Add what your cluster wants (--partition, --time, --account), and what makes `fsseg` known there.",
        "set -e",
        f"export OMP_NUM_THREADS={threads}",
        f"cd {shlex.quote(str(Path.cwd()))}",
        'case "$SLURM_ARRAY_TASK_ID" in',
    ]
    for number, chain in enumerate(left):
        lines.append(f"{number})  # {chain[0].name}")
        lines += [f"  fsseg {shlex.join(job.arguments)}" for job in chain]
        lines.append("  ;;")
    return "\n".join([*lines, "esac"]) + "\n"
