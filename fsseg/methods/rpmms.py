"""RPMMs: residual prototype mixture models; Yang et al., ECCV 2020, section 3.4 and figure 5.

Three mixtures of growing size in a row, each refining the decision before it, with shared layers. Where paper and
official code differ, the code's way is the default:

- the sizes, 1, 3 and 6, are the code's; the paper doesn't give them.
- P-Conv's probabilities join the matched feature before a convolution; the decision of the stage before enters the
  first residual block, and the gradient passes through it.
- one shot: the last stage answers. Several shots: the mean of the stages' probabilities does (forward_5shot of the
  code); `answer`.
- ReLU and dropout of channels where PMMs has BatchNorm, except behind the features.
- the loss of a batch is one mean over all its labelled pixels, stage by stage (`loss_mean`), summed over stages.

Ours: the mixtures' starts are seeded and part of the state dict, and testing uses them. The code draws them anew in
every forward pass; in training so does `redraw`, which the experiments of PASCAL-5i and COCO-20i set.

With VGG16 the paper reports numbers (tables 4 and 5), but the code has no such network: here it is the same head on
`DeepLabVGG16`, by analogy to the code's PMMs with VGG16.
"""

from typing import ClassVar, Literal, cast

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import Explanation, Maps, QueryMaps, State, SupportMaps, named
from fsseg.methods.binary import BinaryMethod, WayMaps, explain_mixture, sides
from fsseg.ops.blocks import Decoder, block
from fsseg.ops.em import INFERENCE_OPTIONS, Mixture, PrototypeMixture, Prototypes, fit
from fsseg.ops.matching import DenseComparison


class RPMMs(BinaryMethod):
    """Prototype mixtures of 1, 3 and 6 components, one stage each, on shared layers.

    Args:
        encoder: image encoder; the paper's is `ResNet` (50 layers).
        components: K of each stage.
        mixture: how prototypes are estimated; its seed is the first stage's, and each stage adds 1.
        answer: ``last`` stage, ``mean`` of the stages' probabilities, or ``code``: last at one shot, mean at more.
        channels: C of features and prototypes (256).
        dropout: probability that a channel is dropped, in training (0.5 in the code).
        loss_mean: what the loss of a batch is a mean over: all ``pixels`` (the code), or pixels, then ``episodes``; the
            same where no pixel is void.

    Raises:
        FssegError: no stage.
    """

    inference_options: ClassVar[frozenset[str]] = INFERENCE_OPTIONS | {"answer", "dropout"}

    def __init__(
        self,
        encoder: Encoder,
        components: tuple[int, ...] = (1, 3, 6),
        mixture: Mixture = Mixture(),  # noqa: B008 - frozen
        answer: Literal["code", "last", "mean"] = "code",
        channels: int = 256,
        dropout: float = 0.5,
        loss_mean: LossMean = "pixels",
    ) -> None:
        super().__init__(encoder, loss_mean)
        if not components:
            raise FssegError("RPMMs: components is empty; one number for each stage is needed, e.g. [1, 3, 6].")
        self.support_gradient = mixture.gradient
        self.answer = answer
        self.reduce = block(encoder.channels, channels, "batch_norm", dilation=2)
        mixtures = [PrototypeMixture(channels, k, mixture, stage) for stage, k in enumerate(components)]
        self.mixtures = nn.ModuleList(mixtures)
        departures = {
            "components": "" if tuple(components) == (1, 3, 6) else f"K={','.join(map(str, components))}",
            **mixture.departures,
            "answer": "" if answer == "code" else f"{answer} of stages",
        }
        self.name = named(self, RPMMs, "RPMMs", departures)
        self.match = DenseComparison(channels, "dropout", dropout)
        self.refine = block(channels + 2, channels, "dropout", dropout=dropout)
        self.decoder = Decoder(channels, "dropout", history=2, dropout=dropout)

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """Prototypes of foreground and background, stage by stage, and the number of shots, which `answer` asks for."""
        pairs = fit(self._mixtures(), support[0], foreground, background)
        shots = torch.full_like(foreground[:, 0, 0, 0], foreground.shape[1], dtype=torch.long)
        return (*(means for pair in pairs for means in pair), shots)

    def stages(self, state: State, query: Maps) -> list[Tensor]:
        """Logits of each stage; the decision of one enters the next."""
        feature, pairs = query[0], [Prototypes(*pair) for pair in zip(state[:-1:2], state[1:-1:2], strict=True)]
        sizes = [pair.foreground.shape[1] for pair in pairs]
        vectors = torch.cat([pair.foreground for pair in pairs], dim=1).to(feature.dtype)
        compared = iter(self.match(feature, vectors))
        history = torch.zeros_like(feature[:, :2])
        stages = []
        for mixture, prototypes, size in zip(self._mixtures(), pairs, sizes, strict=True):
            matched = torch.stack([next(compared) for _ in range(size)]).sum(0)
            probability = mixture.probability(feature, prototypes).to(feature.dtype)
            stages.append(self.decoder(self.refine(torch.cat([matched, probability], dim=1)), history))
            history = stages[-1].softmax(1)
        return stages

    def decide(self, stages: list[Tensor], state: State) -> Float[Tensor, "M 2 u v"]:
        """Logits of the last stage, or the mean of the stages' probabilities in their place."""
        if self.answer == "last":
            return stages[-1]
        mean = torch.stack([stage.float().softmax(1) for stage in stages]).mean(0)
        if self.answer == "mean":
            return mean
        return torch.where(state[-1].view(-1, 1, 1, 1) == 1, stages[-1].float(), mean)

    def explain(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"], query: QueryMaps) -> Explanation:
        """Responses of the prototypes of the last stage's mixture."""
        (support_map,), (query_map,), mixtures = support, query, self._mixtures()
        prototypes = fit(mixtures, support_map.flatten(0, 1), *sides(mask))[-1]
        return explain_mixture(mixtures[-1], prototypes, support_map, mask, query_map)

    def _mixtures(self) -> list[PrototypeMixture]:
        return cast(list[PrototypeMixture], list(self.mixtures))
