"""Convolutions of the heads of CANet, PMMs and RPMMs, and their decoder: residual blocks, ASPP, classifier."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fsseg.errors import FssegError

Ending = Literal["batch_norm", "dropout"]
DROPOUT = 0.5  # of whole channels, in every head of the three codes
RATES = (6, 12, 18)  # dilations of ASPP's 3x3 convolutions


def ending(kind: Ending, channels: int, dropout: float = DROPOUT) -> nn.Sequential:
    """What follows a convolution: BatchNorm and ReLU (PMMs), or ReLU and dropout of channels (CANet, RPMMs)."""
    if kind == "batch_norm":
        return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
    return nn.Sequential(nn.ReLU(inplace=True), nn.Dropout2d(dropout))


def block(
    width: int, channels: int, kind: Ending, kernel: int = 3, dilation: int = 1, dropout: float = DROPOUT
) -> nn.Sequential:
    """A convolution that keeps the map's size, and its ending.

    Raises:
        FssegError: no channels.
    """
    if channels < 1:
        raise FssegError(f"--model.method.channels {channels}: at least 1 is needed.")
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(width, channels, kernel, padding=padding, dilation=dilation)
    return nn.Sequential(convolution, *ending(kind, channels, dropout))


class Residual(nn.Module):
    """``x + f([x, extra])`` of ReLU, 3x3, ReLU, 3x3; no norm.

    Args:
        channels: of ``x``.
        extra: channels that only enter.
    """

    def __init__(self, channels: int, extra: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),  # not in place: x is still to be added
            nn.Conv2d(channels + extra, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "M C h w"], extra: Float[Tensor, "M E h w"] | None = None) -> Tensor:
        """The map with its correction added."""
        change: Tensor = self.layers(x if extra is None else torch.cat([x, extra], dim=1))
        return x + change


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: image mean, 1x1 and three dilated 3x3 convolutions, concatenated.

    Each branch ends with ReLU and dropout of channels; there is no norm (models/ASPP.py of PMMs, CANet's inline).

    Args:
        channels: of the input and of each of the five branches.
        dropout: probability that a channel is dropped.
    """

    def __init__(self, channels: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.mean = block(channels, channels, "dropout", kernel=1, dropout=dropout)
        shapes = [{"kernel": 1}, *({"dilation": rate} for rate in RATES)]
        self.branches = nn.ModuleList(
            block(channels, channels, "dropout", **shape, dropout=dropout) for shape in shapes
        )

    def forward(self, x: Float[Tensor, "M C h w"]) -> Float[Tensor, "M D h w"]:
        """``D = 5 C`` channels: mean, 1x1, and the dilations in ascending order."""
        mean = self.mean(x.mean((-2, -1), keepdim=True)).expand_as(x)
        return torch.cat([mean, *(branch(x) for branch in self.branches)], dim=1)


class Decoder(nn.Module):
    """Three residual blocks, ASPP and the classifier of background and foreground.

    Args:
        channels: of the input.
        kind: ending of the layer behind ASPP.
        history: channels of an earlier decision that enter the first residual block; 0 for none.
        dropout: probability that a channel is dropped.
    """

    def __init__(self, channels: int, kind: Ending, history: int = 0, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.residual = nn.ModuleList([Residual(channels, history), Residual(channels), Residual(channels)])
        self.aspp = ASPP(channels, dropout)
        self.fuse = block(5 * channels, channels, kind, kernel=1, dropout=dropout)
        self.classify = nn.Conv2d(channels, 2, 1)

    def forward(
        self, x: Float[Tensor, "M C h w"], history: Float[Tensor, "M E h w"] | None = None
    ) -> Float[Tensor, "M 2 h w"]:
        """Logits of background and foreground.

        Args:
            x: what comparing query and support gave.
            history: probabilities of background and foreground, where the decoder was built for them.
        """
        x = self.residual[0](x, history)
        for residual in self.residual[1:]:
            x = residual(x)
        logits: Tensor = self.classify(self.fuse(self.aspp(x)))
        return logits
