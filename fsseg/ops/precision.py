"""Precision: the parts of a head that 16 bits cannot carry."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Context in which prototypes are made: float32 whatever the precision around them.

    Epsilons of 1e-5, exponents of kappa |x| and sums over 417 x 417 pixels don't survive 16 bits. Inputs must be cast
    with ``.float()`` too: leaving autocast does not change what is already narrow.
    """
    if torch.compiler.is_exporting():  # float32 anyway; a graph with this in it could not be read again
        return nullcontext()
    return torch.autocast(device_type=tensor.device.type, enabled=False)
