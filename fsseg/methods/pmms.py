"""PMMs: Yang et al., "Prototype Mixture Models for Few-shot Semantic Segmentation", ECCV 2020.

Where paper and official code differ, the code is followed. `fsseg.ops.em` lists the differences of the mixture. Others:

- Three residual blocks, inherited from CANet and missing from figure 2, come before ASPP. P-Conv's probabilities enter
  the first block; the paper concatenates them with the features that enter ASPP (eq. 9).
- P-Match sums the comparisons with all prototypes; it neither averages nor concatenates them.
- No gradient passes the mixture or P-Conv, so the encoder is trained through queries only.
- BatchNorm of the comparison runs once per prototype, so its running statistics are updated K times per step.
- The loss of a batch is one mean over all its labelled pixels (`loss_mean`).

Ours: P-Match alone has no history channels (the paper does not describe them). The start of the mixture is seeded and
part of the state dict; the code draws it in every process and does not store it, so that its tests are random. Batches
and several ways.
"""

from typing import ClassVar

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from fsseg.encoders import Encoder
from fsseg.losses import LossMean
from fsseg.methods.base import Explanation, Maps, QueryMaps, State, SupportMaps, named
from fsseg.methods.binary import BinaryMethod, WayMaps, explain_mixture, sides
from fsseg.ops.blocks import Decoder, block
from fsseg.ops.em import INFERENCE_OPTIONS, Mixture, PrototypeMixture, Prototypes
from fsseg.ops.matching import DenseComparison


class PMMs(BinaryMethod):
    """Prototypes from a mixture model. P-Match compares; P-Conv gives the decoder probabilities as history.

    "PMMs+" of tables 1 to 3, P-Match alone, is ``p_conv=False``.

    Args:
        encoder: image encoder; the paper uses `ResNet` (50 layers) and VGG16 (`DeepLabVGG16`).
        components: K, number of prototypes of the foreground and of the background each (section 4.3, table 2: 3).
        mixture: settings of expectation maximisation.
        p_conv: use P-Conv beside P-Match ("duplex", section 3.3).
        channels: C of features and prototypes (256).
        dropout: probability of dropping a channel in ASPP, in training (0.5 in the code).
        loss_mean: ``pixels`` (the code): one mean over all labelled pixels of a batch. ``episodes``: a mean per
            episode, then over episodes. Both are equal if no pixel is void.
    """

    inference_options: ClassVar[frozenset[str]] = INFERENCE_OPTIONS | {"dropout"}

    def __init__(
        self,
        encoder: Encoder,
        components: int = 3,
        mixture: Mixture = Mixture(),  # noqa: B008 - frozen
        p_conv: bool = True,
        channels: int = 256,
        dropout: float = 0.5,
        loss_mean: LossMean = "pixels",
    ) -> None:
        super().__init__(encoder, loss_mean)
        self.support_gradient = mixture.gradient
        self.p_conv = p_conv
        self.reduce = block(encoder.channels, channels, "batch_norm", dilation=2)
        self.mixture = PrototypeMixture(channels, components, mixture)
        departures = {"components": "" if components == 3 else f"K={components}", **mixture.departures}
        self.name = named(self, PMMs, "PMMs" if p_conv else "PMMs+", departures)
        self.match = DenseComparison(channels, "batch_norm")
        self.refine = block(channels, channels, "batch_norm")
        self.decoder = Decoder(channels, "batch_norm", history=2 if p_conv else 0, dropout=dropout)

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> Prototypes:
        """Prototypes of foreground and background. One mixture takes the cells of all shots (section 3.1)."""
        prototypes: Prototypes = self.mixture(support[0], foreground, background)
        return prototypes

    def stages(self, state: State, query: Maps) -> list[Tensor]:
        """Logits after P-Match, P-Conv (section 3.3) and the decoder."""
        prototypes, feature = Prototypes(*state), query[0]
        matched = torch.stack(self.match(feature, prototypes.foreground.to(feature.dtype))).sum(0)
        history = self.mixture.probability(feature, prototypes).to(feature.dtype) if self.p_conv else None
        return [self.decoder(self.refine(matched), history)]

    def explain(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"], query: QueryMaps) -> Explanation:
        """Responses of the mixture's prototypes (figure 6), also without P-Conv."""
        (support_map,), (query_map,) = support, query
        prototypes = self.mixture(support_map.flatten(0, 1), *sides(mask))
        return explain_mixture(self.mixture, prototypes, support_map, mask, query_map)
