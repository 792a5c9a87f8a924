"""CANet, CVPR 2019. Without iterations this is the baseline of the PMMs paper (section 4.1, tables 1 and 6).

Zhang et al., "CANet: Class-Agnostic Segmentation Networks with Iterative Refinement and Attentive Few-Shot Learning".
As in the official code, the loss of a batch is one mean over all its labelled pixels (`loss_mean`). Departures from
the official code:

- History in training. The code stores the last prediction of every training pair and feeds it with probability 0.3,
  zeros otherwise. Here the history is the network's first prediction in the same step, without gradient.
- Attention over shots. This module and all five-shot code were never released. `fusion="attention"` is a
  *reconstruction* from the paper's description: two convolutions, the first with a max pool, the second with a global
  mean, give one score per shot, and a softmax over the shots weights the comparisons.
- The baseline was never released. "CANet without iterative optimization" is taken to be this network without history
  channels, initialised and trained like PMMs.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import Maps, State, StatePer, named
from fsseg.methods.binary import BinaryMethod, WayMaps
from fsseg.ops.blocks import Decoder, block
from fsseg.ops.matching import DenseComparison
from fsseg.ops.pooling import cell_average_pool
from fsseg.ops.precision import full_precision

HISTORY = 0.3  # probability of a history that is not zero, in training (train.py of the official code)


class CANet(BinaryMethod):
    """Dense comparison of the query with one pooled vector per support, then iterative refinement.

    Args:
        encoder: image encoder; the paper uses a frozen `ResNet` (50 layers).
        iterations: rounds of the refinement after the first prediction (4 in the paper). 0 builds no refinement: the
            baseline of the PMMs paper.
        fusion: how the comparisons of the shots are combined: ``average``, or ``attention`` (reconstructed; it gets no
            gradient with one shot).
        channels: C of features (256).
        dropout: probability of dropping a channel in training (0.5 in the code).
        loss_mean: ``pixels`` (the code): one mean over all labelled pixels of a batch. ``episodes``: a mean per
            episode, then over episodes. Both are equal if no pixel is void.

    Raises:
        FssegError: iterations are negative.
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"iterations", "dropout"})
    state_per: ClassVar[StatePer] = "shot"

    def __init__(
        self,
        encoder: Encoder,
        iterations: int = 4,
        fusion: Literal["average", "attention"] = "average",
        channels: int = 256,
        dropout: float = 0.5,
        loss_mean: LossMean = "pixels",
    ) -> None:
        super().__init__(encoder, loss_mean)
        if iterations < 0:
            raise FssegError(f"CANet: iterations {iterations}; 0 or more are needed.")
        departures = {
            "iterations": "" if iterations in (0, 4) else f"iterations={iterations}",
            "fusion": "attention" if fusion == "attention" else "",
        }
        self.name = named(self, CANet, "CANet" if iterations else "CANet baseline", departures)
        self.align_corners = iterations > 0  # True in CANet's train.py, False in PMMs' code
        self.iterations = iterations
        self.reduce = block(encoder.channels, channels, "dropout", dilation=2, dropout=dropout)
        self.match = DenseComparison(channels, "dropout", dropout)
        self.attention = _Attention(channels) if fusion == "attention" else None
        self.decoder = Decoder(channels, "dropout", history=2 if iterations else 0, dropout=dropout)
        for name, module in self.named_modules() if iterations else ():
            if isinstance(module, nn.Conv2d) and self.learns_fast(name):
                nn.init.normal_(module.weight, std=0.01)  # one_shot_network.py of the official code

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """The mean foreground feature of each support, ``M K C``."""
        with full_precision(support[0]):
            return (cell_average_pool(support[0].float(), foreground),)

    def stages(self, state: State, query: Maps) -> list[Tensor]:
        """Logits after the last iteration. Training runs the decoder once and supervises that prediction."""
        feature = query[0]
        vectors = state[0].to(feature.dtype)  # M K C
        compared = torch.stack(self.match(feature, vectors))  # K M C h w
        weight = compared.new_full((len(compared), 1), 1 / len(compared))
        if self.attention is not None:
            each = [self.attention(feature, vector) for vector in vectors.transpose(0, 1)]
            weight = torch.stack(each).float().softmax(0)
        matched = torch.einsum("kmchw,km->mchw", compared, weight.expand(-1, feature.shape[0]).to(compared.dtype))
        if not self.iterations:
            return [self.decoder(matched)]
        zeros = torch.zeros_like(feature[:, :2])
        if self.training:
            return [self.decoder(matched, self._training_history(matched, zeros))]
        logits = self.decoder(matched, zeros)
        for _ in range(self.iterations):
            logits = self.decoder(matched, logits.softmax(1))
        return [logits]

    @torch.no_grad()
    def _training_history(self, matched: Tensor, zeros: Tensor) -> Tensor:
        """A first prediction for a random `HISTORY` of the ways, zeros for the others."""
        chosen = torch.rand(len(matched), 1, 1, 1, device=matched.device) < HISTORY
        first: Tensor = self.decoder(matched, zeros)
        return torch.where(chosen, first.softmax(1).to(zeros.dtype), zeros)


class _Attention(nn.Module):
    """Score of a support's comparison, from the query and the tiled support vector."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(channels, 1, 3, padding=1, bias=False),  # the softmax over shots cancels a bias
        )

    def forward(self, query: Float[Tensor, "M C h w"], vector: Float[Tensor, "M C"]) -> Float[Tensor, " M"]:
        tiled = vector[:, :, None, None].expand_as(query)
        score: Tensor = self.layers(torch.cat([query, tiled], dim=1)).mean((1, 2, 3))
        return score
