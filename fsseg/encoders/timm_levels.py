"""Which of timm's networks compute their last level from the one before it alone."""

from collections.abc import Sequence

import torch
from torch import nn

from fsseg.encoders.base import Encoder

_SIDE = 128  # pixels of the probe's sides, if the network takes any size
_UNFIT = (AssertionError, AttributeError, IndexError, RuntimeError, TypeError, ValueError)


def layers_between(network: nn.Module, levels: Sequence[str]) -> tuple[str, ...]:
    """Names of the layers after the last level but one, up to the last level, if they stand in a row in one module.

    Args:
        network: network of timm.
        levels: name of the layer of each tapped level.

    Returns:
        Names in their order; empty if there are none, or if the two levels are in different modules.
    """
    parents, names = zip(*((each.rpartition(".")[0], each.rpartition(".")[2]) for each in levels[-2:]), strict=True)
    try:
        row = [name for name, _ in network.get_submodule(parents[0]).named_children()]
    except AttributeError:
        return ()
    if len(set(parents)) > 1 or len(names) < 2 or not {*names} <= {*row}:
        return ()
    start = f"{parents[0]}." if parents[0] else ""
    return tuple(f"{start}{name}" for name in row[row.index(names[0]) + 1 : row.index(names[1]) + 1])


def resumes(encoder: Encoder, own_size: tuple[int, int]) -> bool:
    """Whether `Encoder.last_map` gives the last map of a probe image."""
    height, width = (min(side, _SIDE) for side in own_size)
    ramp = torch.linspace(0, 255, 3 * height * width).reshape(1, 3, height, width)
    mode = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            *_, before, last = encoder(ramp)
            found = encoder.last_map(before)
        return found.shape == last.shape and torch.allclose(found, last, rtol=1e-4, atol=1e-5 * float(last.abs().max()))
    except _UNFIT:
        return False
    finally:
        encoder.train(mode)
