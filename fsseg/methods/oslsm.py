"""OSLSM: Shaban et al., "One-Shot Learning for Semantic Segmentation", BMVC 2017.

The network of the authors' Caffe files. A conditioning branch, which is VGG16 with its 1,000 outputs, sees a support
whose background is the mean colour. Fixed, random weights hash its outputs to the weights of a logistic regression,
which scores the cells of the query's map. A pixel's score for several shots is the largest of all shots: their union.

The code's loss is the sum of a sigmoid loss over pixels; `cross_entropy` of these logits is its mean. A rate ``r`` and
a weight decay ``d`` of the sum over ``P`` pixels are ``r P`` and ``d / P`` of the mean.

Ours: the hashing is drawn as the paper's supplement describes it (the trained network's is not published), with no
bias; torch resizes the images to 224x224; dropout drops channels of the query's map (the code: single numbers); with
another encoder than `FCN32`, the conditioning branch is the mean over the cells of a copy of it; batches; several ways.
"""

import copy
from typing import ClassVar

import torch
from jaxtyping import Float, Integer, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders import FCN32, Encoder
from fsseg.encoders.weights import load_pretrained
from fsseg.episode import Batch
from fsseg.losses import LossMean, cross_entropy
from fsseg.methods.base import Features, Maps, QueryMaps, State, StatePer, named
from fsseg.methods.binary import BinaryMethod, WayMaps, binary_targets
from fsseg.ops.feature_maps import concatenated

_SIDE = 224  # pixels of a side of the conditioning branch's images (deploy_1shot.prototxt)
_OUTPUTS = 1000  # of VGG16's classifier
_BACKGROUND = (0, 0, 0, 0, 1, 0)  # padding of scores by a map of zeros


class OSLSM(BinaryMethod):
    """A query's map, scored by the weights that each support gives.

    Args:
        encoder: image encoder of the queries; the code uses `FCN32` with ``fc7`` and ``padding`` 121. The supports have
            a copy of it: of `FCN32` with ``fc7`` VGG16 with its classifier, whose last layer starts from the encoder's
            weights too.
        loss_mean: see `fsseg.losses.cross_entropy`.

    Attributes:
        kappa: number of the conditioning branch's output that each weight is; the last weight is the bias.
        zeta: sign of each weight, 1 or -1.
    """

    state_per: ClassVar[StatePer] = "shot"
    kappa: Tensor
    zeta: Tensor

    def __init__(self, encoder: Encoder, loss_mean: LossMean = "episodes") -> None:
        super().__init__(encoder, loss_mean)
        self.name = named(self, OSLSM, "OSLSM", {})
        self.support_encoder = copy.deepcopy(encoder)
        self.outputs = nn.Linear(encoder.channels, _OUTPUTS)
        if isinstance(encoder, FCN32):
            _as_vgg(self.support_encoder, self.outputs)
        self.register_buffer("kappa", torch.randint(_OUTPUTS, (encoder.channels + 1,)))
        self.register_buffer("zeta", torch.randint(2, (encoder.channels + 1,)) * 2.0 - 1)

    def encode_support(self, images: UInt8[Tensor, "M 3 H W"], masks: UInt8[Tensor, "M H W"]) -> Maps:
        """Outputs of the conditioning branch, as maps of one cell. All pixels that are not 1 have the mean colour."""
        size = (_SIDE, _SIDE)
        small = F.interpolate(images.to(self.encoder.mean.dtype), size, mode="bilinear")
        way = F.interpolate((masks == 1).to(small.dtype).unsqueeze(1), size, mode="nearest-exact")
        maps = concatenated(self.support_encoder.features(self.encoder.normalise(small) * way))
        return (self.outputs(maps.mean((2, 3)))[:, :, None, None],)

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """Weights and bias of each shot, ``M K C+1``."""
        return (support[0].flatten(2)[..., self.kappa] * self.zeta.to(support[0].dtype),)

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Logits of the cells, of the union of the shots."""
        scores = _scores(state[0].unsqueeze(1), query[0].unsqueeze(1))
        return [_united(scores).squeeze(1)]

    def segment(
        self, state: State, query: QueryMaps, size: tuple[int, int] | Integer[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at pixel resolution, where the shots are united."""
        scores = _scores(state[0], query[0])
        large = self.sized(scores.flatten(2, 3), size)
        return _united(large.unflatten(2, scores.shape[2:4]))

    def losses(self, features: Features, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Cross-entropy at pixel resolution of the united shots, with one binary problem per way."""
        state = self.state(features.support, batch.support_mask)
        size = (batch.query_mask.shape[-2], batch.query_mask.shape[-1])
        scores = self.segment(state, features.query, size)[:, :, 1:].transpose(1, 2)
        logits = F.pad(scores.unsqueeze(3), _BACKGROUND).flatten(0, 2)
        return {"loss": cross_entropy(logits, binary_targets(batch), self.loss_mean)}

    def learns_fast(self, parameter: str) -> bool:
        """The conditioning branch has a tenth of the segmentation branch's rate (train_ss_os_fc.prototxt)."""
        return parameter.startswith("encoder.")


def _scores(weights: Float[Tensor, "B N K _"], query: Float[Tensor, "B Q C h w"]) -> Float[Tensor, "B Q N K h w"]:
    """The score of each cell by each shot of each way."""
    bias = weights[:, None, :, :, -1, None, None]
    return torch.einsum("bnkc,bqchw->bqnkhw", weights[..., :-1], query) + bias


def _united(scores: Float[Tensor, "B Q N K H W"]) -> Float[Tensor, "B Q L H W"]:
    """Logits of the background, which are 0, and of the ways: the largest score of the shots."""
    return F.pad(scores.amax(3), _BACKGROUND)


def _as_vgg(encoder: Encoder, outputs: nn.Linear) -> None:
    """Turn a copy of `FCN32` into VGG16's layers up to its last one, and start that one from the encoder's weights."""
    first = encoder.get_submodule("network.features.0")
    assert isinstance(first, nn.Conv2d)
    first.padding = (1, 1)
    encoder.crop = None
    last = nn.ModuleDict({"classifier": nn.ModuleDict({"6": outputs})})
    if encoder.widths == (4096,) and encoder.weights is not None:
        load_pretrained(last, "vgg16", encoder.weights, ("features.", "classifier.0.", "classifier.3."))
