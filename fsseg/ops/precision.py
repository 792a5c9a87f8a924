"""Precision: the parts of a head that 16 bits cannot carry."""

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> torch.autocast:
    """Context in which prototypes are made: float32 whatever the precision around them.

    Epsilons of 1e-5, exponents of kappa |x| and sums over 417 x 417 pixels don't survive 16 bits. Inputs must be cast
    with ``.float()`` too: leaving autocast does not change what is already narrow.
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)
