"""Rank of this process among the processes of one command, known before they are connected."""

import logging
import os
import re

from fsseg.errors import FssegError

_log = logging.getLogger(__name__)


def leads() -> bool:
    """Whether this process is the first one of its command, which decides, writes and prints.

    torchrun sets the rank in RANK; Lightning sets LOCAL_RANK and NODE_RANK in the processes that it starts; srun sets
    SLURM_PROCID.
    """
    if "RANK" in os.environ:  # torchrun's rank within SLURM may differ from SLURM's
        return os.environ["RANK"] == "0"
    return all(os.environ.get(name, "0") == "0" for name in ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"))


def note(text: str) -> None:
    """Log a warning once, in the first process only."""
    if leads():
        _log.warning(text)


def settle_slurm() -> None:
    """Correct SLURM's environment variables of this process for Lightning.

    Lightning takes SLURM_NTASKS for the number of processes even in a batch script that calls fsseg without srun, where
    fsseg is one process. Lightning also refuses --ntasks without --ntasks-per-node.

    Raises:
        FssegError: The nodes have different numbers of tasks.
    """
    if "SLURM_NTASKS" not in os.environ:
        return
    if not {"SLURM_STEP_ID", "SLURM_STEPID"} & os.environ.keys():  # not started by srun
        del os.environ["SLURM_NTASKS"]
        return
    if "SLURM_NTASKS_PER_NODE" in os.environ or os.environ["SLURM_NTASKS"] == "1":
        return
    tasks = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_TASKS_PER_NODE", "")
    if not (found := re.fullmatch(r"(\d+)(\(x\d+\))?", tasks)):
        raise FssegError(
            f"SLURM runs {tasks or 'some'} tasks on its nodes; every node needs the same number: --ntasks-per-node."
        )
    os.environ["SLURM_NTASKS_PER_NODE"] = found[1]
