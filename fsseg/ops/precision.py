"""Full precision for the parts of a method that need more than 16 bits."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Context without autocast on the tensor's device, for prototypes.

    16 bits are too few for epsilons of 1e-5, exponents kappa |x| and sums over 417 x 417 pixels. Callers also cast
    their inputs with ``.float()``, because disabling autocast does not widen tensors.
    """
    if torch.compiler.is_exporting():  # exports are float32, and a graph with an autocast context cannot be loaded
        return nullcontext()
    return torch.autocast(device_type=tensor.device.type, enabled=False)
