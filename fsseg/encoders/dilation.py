"""Smaller output stride of a convolutional network by dilation."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def trade_stride_for_dilation(network: nn.Module, stride: int, size: int = 512) -> None:
    """Set the output stride of a convolutional network in place, without changing weights ("a trous").

    A probe image measures the input stride of each layer. A layer whose output stride would exceed ``stride`` gets
    stride 1. A layer with an input stride ``s > stride`` is dilated by ``s / stride``, so that its kernel covers the
    same pixels. Branches and shortcuts need no special case.

    Args:
        network: network whose strides are in ``Conv2d`` and pooling layers.
        stride: output stride, a power of two.
        size: height and width of the probe image.
    """
    working: dict[nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, int] = {}

    def note(module: Any, inputs: tuple[Tensor, ...]) -> None:
        working[module] = nearest_power_of_two(size / inputs[0].shape[-1])

    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)]
    handles = [layer.register_forward_pre_hook(note) for layer in layers]
    mode = network.training
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, size, size))
    network.train(mode)
    for handle in handles:
        handle.remove()
    for layer, at in working.items():
        if at * _first(layer.stride) > stride:
            _at_stride_one(layer, dilation=max(at // stride, 1))


def _at_stride_one(layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, dilation: int) -> None:
    """Set stride 1 and a dilation, and pad so that the output has the size of the input."""
    if isinstance(layer, nn.AvgPool2d):
        dilation = 1  # AvgPool2d has no dilation; averaging adjacent cells is close enough
    elif layer.kernel_size in (1, (1, 1)):
        dilation = 1  # no effect on a 1x1 kernel, but slower
    else:
        dilation *= _first(layer.dilation)
        layer.dilation = (dilation, dilation)
    reach = dilation * (_first(layer.kernel_size) - 1)
    before = reach // 2
    layer.stride = (1, 1)
    if isinstance(layer, nn.Conv2d) and reach % 2 == 0:
        layer.padding = (before, before)
        return
    # Even kernels need one more cell at the end than at the start; pools refuse padding above half of their kernel.
    layer.padding = (0, 0)
    if not isinstance(layer, nn.Conv2d):
        layer.ceil_mode = False
    value = float("-inf") if isinstance(layer, nn.MaxPool2d) else 0.0
    layer.register_forward_pre_hook(partial(_pad, margin=(before, reach - before) * 2, value=value))


def _pad(layer: nn.Module, inputs: tuple[Tensor, ...], margin: tuple[int, ...], value: float) -> Tensor:
    return F.pad(inputs[0], margin, value=value)


def _first(value: object) -> int:
    return int(value[0]) if isinstance(value, tuple) else int(value)  # type: ignore[call-overload]


def nearest_power_of_two(ratio: float) -> int:
    """The power of two that is nearest to a ratio of sizes, which padding makes inexact."""
    return 1 << max(round(torch.tensor(ratio).log2().item()), 0)
