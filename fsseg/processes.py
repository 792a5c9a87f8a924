"""Processes of a data-parallel run."""

import torch.distributed as dist


def rank_and_count() -> tuple[int, int]:
    """Rank of this process and number of processes; 0 and 1 before the process group exists, and without one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
