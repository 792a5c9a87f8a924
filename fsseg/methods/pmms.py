"""PMMs: Yang et al., "Prototype Mixture Models for Few-shot Semantic Segmentation", ECCV 2020.

Where paper and official code differ, the code's way is the default; the module `fsseg.ops.em` lists what that means for
the mixture. Besides:

- residual blocks, inherited from CANet and not in the paper's figure 2, come before ASPP, and P-Conv's probabilities
  enter the first of them (the paper concatenates them with the features that enter ASPP: eq. 9).
- P-Match adds the comparisons with the prototypes up; they are neither averaged nor concatenated.
- no gradient passes the mixture nor P-Conv: the supports' features are not trained as supports, only as queries.
- BatchNorm of the comparison runs once per prototype, so its running statistics move K times per step.
- the loss of a batch is one mean over all its labelled pixels; with void, episodes weigh by their labels (`loss_mean`).

Ours: P-Match alone has no history channels (the paper doesn't say what becomes of them); the mixture's start is seeded
and part of the state dict (the code draws it anew in every process and stores it nowhere, so that its tests are
random); batches; several ways.
"""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.losses import LossMean
from fsseg.methods.base import BinaryMethod, Look, named
from fsseg.ops.blocks import Decoder, block
from fsseg.ops.em import Kernel, PrototypeMixture, Prototypes
from fsseg.ops.matching import DenseComparison


class PMMs(BinaryMethod):
    """Prototypes by a mixture model; P-Match compares, P-Conv gives the decoder a first decision.

    "PMMs+" of tables 1 to 3, P-Match alone, is ``p_conv=False``.

    Args:
        encoder: image encoder; the paper's are `ResNet` (50 layers) and `DeepLabVGG16`.
        components: K, prototypes of the foreground and of the background (section 4.3, table 2: 3).
        rounds: of expectation maximisation (section 4.1: 10).
        kappa: concentration of the vMF kernel (section 3.2: 20).
        kernel: ``vmf`` or ``gaussian`` (table 3).
        p_conv: use P-Conv beside P-Match ("duplex", section 3.3).
        em_gradient: train through the mixture and P-Conv.
        normalise_samples: cosine kernel, as the paper defines vMF (section 3.2).
        hard_selection: samples chosen by the mask instead of weighted by it, as in the paper.
        channels: C of features and prototypes (256).
        dropout: probability that a channel is dropped in ASPP, in training (0.5 in the code).
        seed: of the mixture's start.
        loss_mean: what the loss of a batch is a mean over: all ``pixels`` (the code), or pixels, then ``episodes``; the
            same where no pixel is void.
    """

    inference_options: ClassVar[frozenset[str]] = frozenset({"rounds", "kappa", "dropout", "seed"})

    def __init__(
        self,
        encoder: Encoder,
        components: int = 3,
        rounds: int = 10,
        kappa: float = 20.0,
        kernel: Kernel = "vmf",
        p_conv: bool = True,
        em_gradient: bool = False,
        normalise_samples: bool = False,
        hard_selection: bool = False,
        channels: int = 256,
        dropout: float = 0.5,
        seed: int = 0,
        loss_mean: LossMean = "pixels",
    ) -> None:
        super().__init__(encoder, loss_mean)
        self.support_gradient = em_gradient
        self.p_conv = p_conv
        self.reduce = block(encoder.channels, channels, "batch_norm", dilation=2)
        self.mixture = PrototypeMixture(
            channels, components, rounds, kappa, kernel, em_gradient, normalise_samples, hard_selection, seed=seed
        )
        departures = {f"K={components}": components != 3, **self.mixture.departures}
        self.name = named(self, PMMs, "PMMs" if p_conv else "PMMs+", departures)
        self.match = DenseComparison(channels, "batch_norm")
        self.refine = block(channels, channels, "batch_norm")
        self.decoder = Decoder(channels, "batch_norm", history=2 if p_conv else 0, dropout=dropout)

    def learn(
        self,
        support_feature: Float[Tensor, "M K C h w"],
        foreground: Float[Tensor, "M K H W"],
        background: Float[Tensor, "M K H W"],
    ) -> tuple[Tensor, ...]:
        """Prototypes of foreground and background; the cells of all shots make one mixture (section 3.1)."""
        return self.mixture(support_feature, foreground, background)  # type: ignore[no-any-return]

    def stages(self, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "M C h w"]) -> list[Tensor]:
        """P-Match and P-Conv (section 3.3), then the decoder."""
        prototypes = Prototypes(*learnt)
        dtype = query_feature.dtype
        matched = torch.stack(self.match(query_feature, prototypes.foreground.to(dtype))).sum(0)
        history = self.mixture.probability(query_feature, prototypes).to(dtype) if self.p_conv else None
        return [self.decoder(self.refine(matched), history)]

    def look(self, batch: Batch) -> Look:
        """What the prototypes of the mixture see (figure 6), with P-Conv and without."""
        return self._look(batch, self.mixture)
