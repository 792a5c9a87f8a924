"""Which of the processes of one command this is, known before they have found each other."""

import os
import re
import sys

from fsseg.errors import FssegError


def leads() -> bool:
    """Whether this process is the first of its command's: the one that decides, writes and talks.

    torchrun says the rank; Lightning says it to the processes that it starts, on each node; SLURM to those of srun.
    """
    if "RANK" in os.environ:  # torchrun's within SLURM count, whose order need not be SLURM's
        return os.environ["RANK"] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def note(text: str) -> None:
    """Say once, whatever the number of processes, what a person might not expect."""
    if leads():
        print(f"note: {text}", file=sys.stderr)


def tell(line: str) -> None:
    """Say how far something is, beside what a command prints as its result."""
    print(line, file=sys.stderr, flush=True)


def settle_slurm() -> None:
    """Tell Lightning what it cannot see itself of SLURM, by environment variables of this process.

    It takes SLURM_NTASKS for the number of processes, also in a batch script that calls fsseg without srun, which is
    one process; and it refuses --ntasks without --ntasks-per-node.

    Raises:
        FssegError: nodes have different numbers of tasks.
    """
    if "SLURM_NTASKS" not in os.environ:
        return
    if not {"SLURM_STEP_ID", "SLURM_STEPID"} & os.environ.keys():  # of srun
        del os.environ["SLURM_NTASKS"]
        return
    if "SLURM_NTASKS_PER_NODE" in os.environ or os.environ["SLURM_NTASKS"] == "1":
        return
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_TASKS_PER_NODE", "")
    if not (found := re.fullmatch(r"(\d+)(\(x\d+\))?", tasks)):
        raise FssegError(
            f"SLURM runs {tasks or 'some'} tasks on its nodes; as many on each are needed: --ntasks-per-node."
        )
    os.environ["SLURM_NTASKS_PER_NODE"] = found[1]
