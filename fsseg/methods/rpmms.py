"""RPMMs: residual prototype mixture models; Yang et al., ECCV 2020, section 3.4 and figure 5.

Three stages with mixtures of growing size and shared layers; each stage refines the prediction of the previous one.
Where paper and official code differ, the code is followed:

- The sizes 1, 3 and 6 come from the code; the paper does not give them.
- P-Conv's probabilities are concatenated with the matched feature before a convolution. The previous stage's
  probabilities enter the first residual block, with gradient.
- One shot: the last stage predicts. Several shots: the mean of the stages' probabilities predicts (forward_5shot of the
  code); see `answer`.
- ReLU and dropout of channels replace PMMs' BatchNorm, except after the layer that reduces the encoder's features.
- The loss is one mean over all labelled pixels of a batch per stage (`loss_mean`), summed over stages.

Ours: the starts of the mixtures are seeded and part of the state dict, and a test uses them. The code draws them in
every forward pass; `redraw`, which the experiments of PASCAL-5i and COCO-20i set, does so in training.

The paper reports VGG16 (tables 4 and 5), but the code has no such network. Here RPMMs with VGG16 is the same head on
`DeepLabVGG16`, by analogy to PMMs with VGG16 in the code.
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
    """Stages with prototype mixtures of 1, 3 and 6 components on shared layers.

    Args:
        encoder: image encoder; the paper uses `ResNet` (50 layers) and VGG16 (`DeepLabVGG16`).
        components: K of each stage.
        mixture: settings of expectation maximisation. Its seed belongs to the first stage; stage i adds i.
        answer: what predicts: the ``last`` stage, the ``mean`` of the stages' probabilities, or ``code``: the last
            stage for one shot, the mean for several.
        channels: C of features and prototypes (256).
        dropout: probability of dropping a channel in training (0.5 in the code).
        loss_mean: ``pixels`` (the code): one mean over all labelled pixels of a batch. ``episodes``: a mean per
            episode, then over episodes. Both are equal if no pixel is void.

    Raises:
        FssegError: components are empty.
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
            raise FssegError("RPMMs: components is empty; give one number per stage, e.g. [1, 3, 6].")
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
        """Prototypes of foreground and background of each stage, then the number of shots, for ``answer="code"``."""
        pairs = fit(self._mixtures(), support[0], foreground, background)
        shots = torch.full_like(foreground[:, 0, 0, 0], foreground.shape[1], dtype=torch.long)
        return (*(means for pair in pairs for means in pair), shots)

    def stages(self, state: State, query: Maps) -> list[Tensor]:
        """Logits of each stage; the probabilities of a stage enter the next."""
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
        """Logits of the last stage, or the mean of the stages' probabilities, used like logits."""
        if self.answer == "last":
            return stages[-1]
        mean = torch.stack([stage.float().softmax(1) for stage in stages]).mean(0)
        if self.answer == "mean":
            return mean
        return torch.where(state[-1].view(-1, 1, 1, 1) == 1, stages[-1].float(), mean)

    def explain(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"], query: QueryMaps) -> Explanation:
        """Responses of the prototypes of the last stage."""
        (support_map,), (query_map,), mixtures = support, query, self._mixtures()
        prototypes = fit(mixtures, support_map.flatten(0, 1), *sides(mask))[-1]
        return explain_mixture(mixtures[-1], prototypes, support_map, mask, query_map)

    def _mixtures(self) -> list[PrototypeMixture]:
        return cast(list[PrototypeMixture], list(self.mixtures))
