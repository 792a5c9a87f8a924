"""Processes of a data-parallel run."""

import torch
import torch.distributed as dist
from torch import Tensor


def rank_and_count() -> tuple[int, int]:
    """Rank of this process and number of processes; 0 and 1 before the process group exists, and without one."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gathered_random_states(device: torch.device) -> list[dict[str, Tensor]]:
    """States of torch's random generators, of the CPU and of a GPU, of each process."""
    own = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        own["cuda"] = torch.cuda.get_rng_state(device)
    states = [own] * rank_and_count()[1]
    if len(states) > 1:
        dist.all_gather_object(states, own)
    return states


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Set torch's random generators to the state of one process from `gathered_random_states`."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
