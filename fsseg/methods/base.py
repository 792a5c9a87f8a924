"""The method contract: what a few-shot segmentation method is to the rest of fsseg."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Integer
from torch import Tensor, nn

from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.losses import upsample


class Features(NamedTuple):
    """Feature maps of a batch, in the roles of its images."""

    support: Float[Tensor, "B N K C h w"]
    query: Float[Tensor, "B Q C h w"]


class Method(nn.Module, ABC):
    """A plain module: no Lightning, no device, no data set inside; the same return type in train and eval.

    Attributes:
        name: the name that tables and `published.csv` use.
        inference_options: arguments that may differ between training and testing, because they leave the meaning of
            the trained weights alone.
    """

    name: str
    inference_options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def encode(self, images: Integer[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Features of images, free of any episode."""
        features: Tensor = self.encoder(images)
        return features

    def features(self, batch: Batch) -> Features:
        """Features of all images of a batch, by one pass of the encoder."""
        support, query = batch.support_image, batch.query_image
        flat = torch.cat([support.flatten(0, 2), query.flatten(0, 1)])
        encoded = self.encode(flat)
        supports = support.shape[:3].numel()
        return Features(
            encoded[:supports].unflatten(0, support.shape[:3]), encoded[supports:].unflatten(0, query.shape[:2])
        )

    @abstractmethod
    def segment(
        self,
        support_feature: Float[Tensor, "B N K C h w"],
        support_mask: Integer[Tensor, "B N K H W"],
        query_feature: Float[Tensor, "B Q C h w"],
    ) -> Float[Tensor, "B Q L h w"]:
        """Logits of the queries at feature resolution, ``L = 1 + N``: background, then the ways."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Losses of a batch: ``loss`` is what training minimises, the other entries are its parts."""

    def forward(self, batch: Batch) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at pixel resolution."""
        support, query = self.features(batch)
        with full_precision(query):
            logits = self.segment(support.float(), batch.support_mask, query.float())
            height, width = batch.query_mask.shape[-2:]
            return upsample(logits, (height, width))


def full_precision(tensor: Tensor) -> torch.autocast:
    """Context in which heads run: float32 whatever the precision around them.

    Epsilons of 1e-5 and sums over 417 x 417 pixels don't survive 16 bits. Inputs must be cast with ``.float()`` too:
    leaving autocast does not change what is already narrow.
    """
    return torch.autocast(device_type=tensor.device.type, enabled=False)
