"""INSID3: "In-context segmentation with DINOv3", CVPR 2026 (arXiv 2603.28480); no training.

Features of a ViT tell where a cell lies in the image. INSID3 measures these directions on a black image and removes
them, keeps the query cells that match the object and whose nearest support cell lies in the mask, and decides per
cluster of the query. The official code is followed:

- The directions come from features of unit length, with their mean removed.
- Clusters and their similarity to the seed use the original features, everything else those without the directions.
- A cell is a candidate if its cosine with the prototype is positive (if no cell's is, if it is among the largest tenth)
  and its nearest cell lies in the mask in at least half of the supports.
- The seed is the cluster, among those with candidates, whose mean is nearest to the prototype. A cluster's score is the
  mean cosine with the prototype, times the cosine with the seed, times the share of candidates (1 for the seed).

Ours: the number of directions is a share of the channels, because the code's 500 are more than a ViT-S has; scores are
resized to pixels where the code resizes their decision; several ways are merged as in `fsseg.ops.ways`.
"""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor
from torch.nn import functional as F

from fsseg import limits
from fsseg.encoders import Encoder
from fsseg.losses import LossMean, upsample
from fsseg.methods.base import Maps, State, named
from fsseg.methods.binary import BinaryMethod, WayMaps
from fsseg.ops.precision import full_precision

_SHARE = 500 / 1024  # of the channels: 500 directions of DINOv3 ViT-L (models/insid3.py)
_LARGEST = 0.9  # quantile of the cosines, if none is positive (models/insid3.py)
_SCALE = 20.0  # of the scores, which are cosines, before a softmax; ours, as PANet's


class INSID3(BinaryMethod):
    """Candidates by matching in both directions, decided per cluster of the query.

    Args:
        encoder: image encoder; the paper uses DINOv3 (``dinov3_l`` at 1024 pixels).
        tau: cosine above which clusters are merged (average linkage).
        merge_threshold: smallest score of a cluster of the object.
        positional_share: share of the channels whose directions are removed. 0 for convolutional networks, which hardly
            tell positions.
        loss_mean: see `fsseg.losses.cross_entropy`.

    Raises:
        FssegError: tau or merge_threshold is outside -1..1, or positional_share is outside 0..1.
    """

    exportable: ClassVar[bool] = False
    training_free: ClassVar[bool] = True
    inference_options: ClassVar[frozenset[str]] = frozenset({"tau", "merge_threshold", "positional_share"})

    def __init__(
        self,
        encoder: Encoder,
        tau: float = 0.6,
        merge_threshold: float = 0.2,
        positional_share: float = _SHARE,
        loss_mean: LossMean = "episodes",
    ) -> None:
        super().__init__(encoder, loss_mean)
        given = {"tau": tau, "merge_threshold": merge_threshold, "positional_share": positional_share}
        limits.check(given, limits.ARGUMENTS, "INSID3: {}")
        self.tau, self.merge_threshold, self.positional_share = tau, merge_threshold, positional_share
        self._bases: dict[tuple[int, ...], Tensor] = {}
        departures = {
            "tau": "" if tau == 0.6 else f"tau {tau:g}",
            "positional_share": "" if positional_share == _SHARE else f"{positional_share:.2g} of directions removed",
        }
        self.name = named(self, INSID3, "INSID3", departures)

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """Prototype ``M C``, cells ``M K n C`` without positions, and whether each lies in the mask ``M K n``."""
        with full_precision(support[0]):
            cell = self._without_positions(support[0].float())
            inside = _in_mask(foreground, (support[0].shape[-2], support[0].shape[-1]))
            mean = (cell * inside.unsqueeze(-1)).sum(2) / inside.sum(2, keepdim=True).clamp(min=1)
            shown = (inside.sum(2, keepdim=True) > 0).to(mean.dtype)
            prototype = (mean * shown).sum(1) / shown.sum(1).clamp(min=1)
            return F.normalize(prototype, dim=-1), cell, inside

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Zero for the background; for the object the cluster's score above the threshold."""
        prototype, support, inside = state
        with full_precision(query[0]):
            feature = query[0].float()
            cell = self._without_positions(feature.unsqueeze(1)).squeeze(1)
            candidate = _candidates(cell, prototype, support, inside)
            original = F.normalize(feature.flatten(2).mT, dim=-1)
            each = [self._score(*one) for one in zip(original, cell, prototype, candidate, strict=True)]
            margin = (_SCALE * (torch.stack(each) - self.merge_threshold)).unflatten(-1, feature.shape[-2:])
            return [torch.stack([torch.zeros_like(margin), margin], 1)]

    def _score(
        self,
        original: Float[Tensor, "n C"],
        cell: Float[Tensor, "n C"],
        prototype: Float[Tensor, " C"],
        candidate: Float[Tensor, " n"],
    ) -> Float[Tensor, " n"]:
        """Score of the cluster of each cell; 0 if there is no candidate."""
        if not candidate.any():
            return 0 * (cell @ prototype)
        label = clusters(original.detach(), self.tau)
        member = F.one_hot(label).to(original.dtype).T
        member = member / member.sum(1, keepdim=True)
        share, mean = member @ candidate, member @ cell
        seed = int((F.normalize(mean, dim=-1) @ prototype).masked_fill(share == 0, -torch.inf).argmax())
        own = F.normalize(member @ original, dim=-1)
        weight = share.index_fill(0, torch.tensor([seed], device=share.device), 1)
        score: Tensor = (mean @ prototype) * (own @ own[seed]) * weight
        return score[label]

    def _without_positions(self, feature: Float[Tensor, "M K C h w"]) -> Float[Tensor, "M K n C"]:
        """Cells of unit length, without the directions of positions."""
        cell = F.normalize(feature.flatten(-2).mT, dim=-1)
        if self.positional_share == 0:
            return cell
        basis = self._basis(feature.shape[-2], feature.shape[-1])
        return F.normalize(cell - cell @ basis @ basis.T, dim=-1)

    def _basis(self, height: int, width: int) -> Float[Tensor, "C r"]:
        """Directions of positions, from a black image with about so many cells; kept while the weights stay."""
        mean = self.encoder.mean
        versions = tuple(parameter._version for parameter in self.encoder.parameters() if not parameter.is_inference())
        key = (height, width, mean.get_device(), hash(versions))
        if key not in self._bases:
            stride = self.encoder.stride
            black = mean.new_zeros((1, 3, height * stride, width * stride), dtype=torch.uint8)
            with torch.no_grad():
                cells = self.neck(self.encoder(black))[0][0].float().flatten(1)
            cells = F.normalize(cells, dim=0)
            directions = torch.linalg.svd(cells - cells.mean(1, keepdim=True), full_matrices=False).U
            self._bases = {key: directions[:, : round(self.positional_share * len(directions))]}
        return self._bases[key]


def clusters(cell: Float[Tensor, "n C"], tau: float) -> Int[Tensor, " n"]:
    """Cluster of each cell, from 0: average linkage of cosine distances, up to the distance ``1 - tau``."""
    tree = linkage(cell.double().cpu().numpy(), "average", metric="cosine")
    return torch.from_numpy(fcluster(tree, 1 - tau, "distance").astype("int64") - 1).to(cell.device)


def _candidates(
    cell: Float[Tensor, "M q C"],
    prototype: Float[Tensor, "M C"],
    support: Float[Tensor, "M K n C"],
    inside: Float[Tensor, "M K n"],
) -> Float[Tensor, "M q"]:
    """1 for query cells that match the object in both directions, else 0."""
    similarity = (cell @ prototype.unsqueeze(-1)).squeeze(-1)
    largest = similarity.quantile(_LARGEST, 1, keepdim=True)
    least = largest.where((similarity <= 0).all(1, keepdim=True), 0)
    votes = [inside[:, shot].gather(1, (cell @ support[:, shot].mT).argmax(-1)) for shot in range(support.shape[1])]
    backward = torch.stack(votes).sum(0) >= (len(votes) + 1) // 2
    return ((similarity > least) & backward).to(cell.dtype)


def _in_mask(mask: Float[Tensor, "M K H W"], cells: tuple[int, int]) -> Float[Tensor, "M K n"]:
    """1 for cells in a mask: bilinear above one half, or the largest cells of a small object."""
    small = upsample(mask, cells).flatten(-2)
    return (small > small.amax(-1, keepdim=True).clamp(max=0.5).mul(0.999)).to(mask.dtype)
