"""Layers of the heads of CANet, PMMs and RPMMs: convolutions, residual blocks, ASPP, decoder."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fsseg.errors import FssegError

Ending = Literal["batch_norm", "dropout"]
DROPOUT = 0.5  # of channels, in the codes of CANet, PMMs and RPMMs
RATES = (6, 12, 18)  # dilations of ASPP's 3x3 convolutions (models/ASPP.py of PMMs, CANet's one_shot_network.py)


def ending(kind: Ending, channels: int, dropout: float = DROPOUT) -> nn.Sequential:
    """Layers after a convolution: BatchNorm and ReLU (PMMs), or ReLU and dropout of channels (CANet, RPMMs)."""
    if kind == "batch_norm":
        return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
    return nn.Sequential(nn.ReLU(inplace=True), nn.Dropout2d(dropout))


def block(
    width: int, channels: int, kind: Ending, kernel: int = 3, dilation: int = 1, dropout: float = DROPOUT
) -> nn.Sequential:
    """A convolution that preserves the map's size, and its ending.

    Raises:
        FssegError: channels are below 1.
    """
    if channels < 1:
        raise FssegError(f"channels {channels}: at least 1 is needed.")
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(width, channels, kernel, padding=padding, dilation=dilation)
    return nn.Sequential(convolution, *ending(kind, channels, dropout))


class Residual(nn.Module):
    """Residual block ``x + f([x, extra])``; ``f`` is ReLU, 3x3, ReLU, 3x3 without normalisation.

    Args:
        channels: channels of ``x`` and of the output.
        extra: channels of an additional input.
    """

    def __init__(self, channels: int, extra: int = 0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),  # not in place, because x is added later
            nn.Conv2d(channels + extra, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Float[Tensor, "M C h w"], extra: Float[Tensor, "M E h w"] | None = None) -> Tensor:
        """``x`` plus the residual."""
        change: Tensor = self.layers(x if extra is None else torch.cat([x, extra], dim=1))
        return x + change


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: image mean, 1x1 and three dilated 3x3 convolutions, concatenated.

    Each branch ends with ReLU and dropout of channels, without normalisation (models/ASPP.py of PMMs).

    Args:
        channels: channels of the input and of each of the five branches.
        dropout: probability of dropping a channel.
    """

    def __init__(self, channels: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.mean = block(channels, channels, "dropout", kernel=1, dropout=dropout)
        shapes = [{"kernel": 1}, *({"dilation": rate} for rate in RATES)]
        self.branches = nn.ModuleList(
            block(channels, channels, "dropout", **shape, dropout=dropout) for shape in shapes
        )

    def forward(self, x: Float[Tensor, "M C h w"]) -> Float[Tensor, "M D h w"]:
        """Outputs of the branches, ``D = 5 C`` channels: mean, 1x1, then ascending dilations."""
        mean = self.mean(x.mean((-2, -1), keepdim=True)).expand_as(x)
        return torch.cat([mean, *(branch(x) for branch in self.branches)], dim=1)


class Decoder(nn.Module):
    """Three residual blocks, ASPP and a classifier of background and foreground.

    Args:
        channels: channels of the input.
        kind: ending of the layer after ASPP.
        history: channels of an earlier prediction that enter the first residual block; 0 for none.
        dropout: probability of dropping a channel.
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
            x: comparison of query and support.
            history: earlier probabilities of background and foreground, if the decoder has history channels.
        """
        x = self.residual[0](x, history)
        for residual in self.residual[1:]:
            x = residual(x)
        logits: Tensor = self.classify(self.fuse(self.aspp(x)))
        return logits
