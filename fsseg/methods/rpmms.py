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

from collections.abc import Iterable
from typing import ClassVar, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import BinaryMethod, Look, named
from fsseg.ops.blocks import Decoder, block
from fsseg.ops.em import Kernel, PrototypeMixture, Prototypes, fit
from fsseg.ops.matching import DenseComparison


class RPMMs(BinaryMethod):
    """Prototype mixtures of 1, 3 and 6 components, one stage each, on shared layers.

    Args:
        encoder: image encoder; the paper's is `ResNet` (50 layers).
        components: K of each stage.
        rounds: of expectation maximisation (10).
        kappa: concentration of the vMF kernel (20).
        kernel: ``vmf`` or ``gaussian``.
        em_gradient: train through mixtures and P-Conv.
        normalise_samples: cosine kernel, as the paper defines vMF (section 3.2).
        hard_selection: samples chosen by the mask instead of weighted by it, as in the paper.
        redraw: draw the mixtures' start anew in every training step, as the code does; testing uses the stored one.
        answer: ``last`` stage, ``mean`` of the stages' probabilities, or ``code``: last at one shot, mean at more.
        channels: C of features and prototypes (256).
        dropout: probability that a channel is dropped, in training (0.5 in the code).
        seed: of the mixtures' starts.
        loss_mean: what the loss of a batch is a mean over: all ``pixels`` (the code), or pixels, then ``episodes``; the
            same where no pixel is void.

    Raises:
        FssegError: no stage.
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"rounds", "kappa", "answer", "dropout", "seed", "redraw"})

    def __init__(
        self,
        encoder: Encoder,
        components: tuple[int, ...] = (1, 3, 6),
        rounds: int = 10,
        kappa: float = 20.0,
        kernel: Kernel = "vmf",
        em_gradient: bool = False,
        normalise_samples: bool = False,
        hard_selection: bool = False,
        redraw: bool = False,
        answer: Literal["code", "last", "mean"] = "code",
        channels: int = 256,
        dropout: float = 0.5,
        seed: int = 0,
        loss_mean: LossMean = "pixels",
    ) -> None:
        super().__init__(encoder, loss_mean)
        if not components:
            raise FssegError("RPMMs: components is empty; one number for each stage is needed, e.g. [1, 3, 6].")
        self.support_gradient = em_gradient
        self.answer = answer
        self.reduce = block(encoder.channels, channels, "batch_norm", dilation=2)
        mixtures = [
            PrototypeMixture(
                channels, k, rounds, kappa, kernel, em_gradient, normalise_samples, hard_selection, redraw, seed + stage
            )
            for stage, k in enumerate(components)
        ]
        self.mixtures = nn.ModuleList(mixtures)
        sizes = {f"K={','.join(map(str, components))}": tuple(components) != (1, 3, 6)}
        departures = {**sizes, **mixtures[0].departures, f"{answer} of stages": answer != "code"}
        self.name = named(self, RPMMs, "RPMMs", departures)
        self.match = DenseComparison(channels, "dropout", dropout)
        self.refine = block(channels + 2, channels, "dropout", dropout=dropout)
        self.decoder = Decoder(channels, "dropout", history=2, dropout=dropout)

    def learn(
        self,
        support_feature: Float[Tensor, "M K C h w"],
        foreground: Float[Tensor, "M K H W"],
        background: Float[Tensor, "M K H W"],
    ) -> tuple[Tensor, ...]:
        """Prototypes of foreground and background, stage by stage."""
        mixtures = cast(list[PrototypeMixture], list(self.mixtures))
        return tuple(means for pair in fit(mixtures, support_feature, foreground, background) for means in pair)

    def stages(self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "M C h w"]) -> list[Tensor]:
        """Logits of each stage; the decision of one enters the next."""
        pairs = [Prototypes(*pair) for pair in zip(learnt[::2], learnt[1::2], strict=True)]
        sizes = [pair.foreground.shape[1] for pair in pairs]
        vectors = torch.cat([pair.foreground for pair in pairs], dim=1).to(query_feature.dtype)
        compared = iter(self.match(query_feature, vectors))
        history = torch.zeros_like(query_feature[:, :2])
        stages = []
        mixtures = cast(Iterable[PrototypeMixture], self.mixtures)
        for mixture, prototypes, size in zip(mixtures, pairs, sizes, strict=True):
            matched = torch.stack([next(compared) for _ in range(size)]).sum(0)
            probability = mixture.probability(query_feature, prototypes).to(query_feature.dtype)
            stages.append(self.decoder(self.refine(torch.cat([matched, probability], dim=1)), history))
            history = stages[-1].softmax(1)
        return stages

    def decide(self, stages: list[Tensor], shot: int) -> Float[Tensor, "M 2 u v"]:
        """Logits of the last stage, or the mean of the stages' probabilities in their place."""
        if self.answer == "last" or (self.answer == "code" and shot == 1):
            return stages[-1]
        return torch.stack([stage.float().softmax(1) for stage in stages]).mean(0)

    def look(self, batch: Batch) -> Look:
        """What the prototypes of the last stage's mixture see."""
        return self._look(batch, cast(PrototypeMixture, self.mixtures[-1]))
