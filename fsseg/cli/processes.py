"""Which of the processes of one command this is, known before they have found each other."""

import os
import sys


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
