"""PL, ours: after Dong and Xing, "Few-Shot Semantic Segmentation with Prototype Learning", BMVC 2018.

The authors' code was never published, so this is a reconstruction from what others report (PANet, sections 2 and 3.3,
tables 2 and 3): masks enter before the network; a prototype is the global mean of a network that sees the masked image;
prototypes are learnt by a loss over whole images; they guide the segmentation, and do not classify pixels themselves.

Chosen by us: both networks start as the same encoder and are trained together; guidance is the sum of a query's cell
and a prototype, less the mean of all prototypes, with ReLU; the background's prototype is the mean over the images
without their way; the loss over whole images is a softmax of squared distances to all prototypes. The paper's three
stages of training, its order of ways at random and the weights of its last classifier, which come from masked queries,
are left out.

Why the mean is subtracted: maps of ResNets end with ReLU. A sum of cell and prototype is then never negative, a second
ReLU leaves it as it is, and after one convolution every cell of an image has the same answer.
"""

import copy

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders import Encoder
from fsseg.episode import BACKGROUND, Batch
from fsseg.errors import FssegError
from fsseg.losses import LossMean, cross_entropy
from fsseg.methods.base import Features, Maps, Method, QueryMaps, State, SupportMaps, named, way_labels
from fsseg.ops.feature_maps import concatenated
from fsseg.ops.pooling import class_prototypes


class PL(Method):
    """A query's map, guided by the prototype of each way, and scored by one convolution.

    Args:
        encoder: image encoder of the queries. The prototypes have a copy of it.
        metric_weight: weight of the loss over whole images.
        loss_mean: see `fsseg.losses.cross_entropy`.

    Raises:
        FssegError: metric_weight is below 0.
    """

    state_per = "shot"
    reconstructed = "its code was never published"

    def __init__(self, encoder: Encoder, metric_weight: float = 1.0, loss_mean: LossMean = "episodes") -> None:
        super().__init__(encoder)
        if not metric_weight >= 0:
            raise FssegError(f"PL: metric_weight {metric_weight:g}; a weight of at least 0 is needed.")
        self.name = named(self, PL, "PL", {})
        self.metric_weight, self.loss_mean = metric_weight, loss_mean
        self.support_encoder = copy.deepcopy(encoder)
        self.score = nn.Conv2d(encoder.channels, 1, 1, bias=False)
        nn.init.constant_(self.score.weight, encoder.channels**-0.5)

    def encode_support(self, images: UInt8[Tensor, "M 3 H W"], masks: UInt8[Tensor, "M H W"]) -> Maps:
        """Prototypes of way and background, as a map of one cell with twice the encoder's channels."""
        sides = [self._prototype(images, masks == side) for side in (1, BACKGROUND)]
        return (torch.cat(sides, dim=1)[:, :, None, None],)

    def _prototype(self, images: Integer[Tensor, "M 3 H W"], region: Tensor) -> Float[Tensor, "M C"]:
        """The global mean of an image's features. Pixels out of the region have the mean colour."""
        shown = self.encoder.normalise(images) * region.unsqueeze(1)
        return concatenated(self.support_encoder.features(shown)).mean((2, 3))

    def adapt(self, support: SupportMaps, mask: Integer[Tensor, "B N K H W"]) -> State:
        """Prototypes of way and background of each support, ``B N K C``."""
        foreground, background = support[0].flatten(3).chunk(2, dim=3)
        return foreground, background

    def prototypes(self, state: State) -> Float[Tensor, "B L C"]:
        """Prototypes of background and ways; see `class_prototypes`."""
        return class_prototypes(*state)

    def predict(self, state: State, query: QueryMaps) -> Float[Tensor, "B Q L h w"]:
        """Scores of the guided maps of background and ways."""
        prototypes = self.prototypes(state)
        contrasts = (prototypes - prototypes.mean(1, keepdim=True))[:, None, :, :, None, None]
        each = [self.score((query[0] + one).relu().flatten(0, 1)) for one in contrasts.unbind(2)]
        found: Tensor = torch.cat(each, dim=1).unflatten(0, (len(query[0]), -1))
        return found

    def losses(self, features: Features, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Cross-entropy at pixel resolution."""
        size = (batch.query_mask.shape[-2], batch.query_mask.shape[-1])
        logits = self.predict(self.state(features.support, batch.support_mask), features.query)
        return {"loss": cross_entropy(self.to_pixels(logits, size), batch.query_mask, self.loss_mean)}

    def loss(self, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """``segmentation``, ``metric``, which needs the queries' images, and their sum ``loss``."""
        features = self.features(batch)
        segmentation = self.losses(features, batch)["loss"]
        metric = self.metric_loss(self.prototypes(self.state(features.support, batch.support_mask)), batch)
        return {"loss": segmentation + self.metric_weight * metric, "segmentation": segmentation, "metric": metric}

    def metric_loss(self, prototypes: Float[Tensor, "B L C"], batch: Batch) -> Float[Tensor, ""]:
        """Cross-entropy of the queries' masked images, by their distances to all prototypes."""
        way = batch.classes.shape[1]
        region = batch.query_mask.unsqueeze(2) == way_labels(way, batch.query_mask).view(-1, 1, 1)
        shown = region.flatten(-2).any(-1)
        if not shown.any():
            return torch.zeros_like(prototypes[0, 0, 0])
        images = batch.query_image.unsqueeze(2).expand(-1, -1, way, -1, -1, -1)
        own = self._prototype(images[shown], region[shown])
        episode, _, number = shown.nonzero(as_tuple=True)
        distance = (own.unsqueeze(1) - prototypes[episode]).square().sum(2)
        return F.cross_entropy(-distance.float(), number + 1)

    def learns_fast(self, parameter: str) -> bool:
        """Both encoders start from pretrained weights."""
        return parameter.startswith("score.")
