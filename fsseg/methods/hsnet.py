"""HSNet: Min, Kang and Cho, "Hypercorrelation Squeeze for Few-Shot Segmentation", ICCV 2021.

As in the official code (juhongm999/hsnet). Maps of several depths correlate all cells of the query with all masked
cells of the support. Centre-pivot 4D convolutions squeeze the support plane of each pyramid level to a few cells, and
mix the levels from coarse to fine. A 2-D decoder gives the logits.

Where the code departs from the paper, the code is followed, because the published numbers came from it:

- Maps are those before the ReLU of each layer, and VGG16's last pool is one of them (the paper: "intermediate layers").
- A support's mask is resized to each map bilinearly with ``align_corners=True``, and its soft values weight the
  features.
- 1e-5 is added to each norm.
- Several shots vote. A pixel is foreground where it has at least half of the votes of the image's best pixel, which has
  at least one. The paper divides by the maximum score too, and does not say of what.
- Void pixels are background in the loss; this is ``data.images.query_void`` background in the experiments. The metric
  ignores them.

Other than in the code, images need not be square, and the support grids of a module may differ from call to call.
Several ways are ours, and so is training with several shots, whose losses are averaged.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor, nn
from torch.nn import functional as F

from fsseg.encoders import Encoder
from fsseg.episode import Batch
from fsseg.errors import FssegError
from fsseg.losses import LossMean
from fsseg.methods.base import Features, Maps, QueryMaps, State, StatePer, named
from fsseg.methods.binary import BinaryMethod, WayMaps
from fsseg.ops.centre_pivot import PivotEncoder, resize_query_plane
from fsseg.ops.hypercorrelation import ImagePair, unit_vectors
from fsseg.ops.ways import merge_ways

_SQUEEZED = (16, 64, 128)  # channels after each convolution of a squeeze
_MIXED = (128,) * 4
_FINEST = 8  # largest ratio of strides that three convolutions can squeeze
_HALF = 0.5 - 2**-10  # share of votes above which a pixel is foreground: half itself is enough


class HSNet(BinaryMethod):
    """Correlations of many maps, squeezed by centre-pivot 4D convolutions.

    Args:
        encoder: image encoder with maps of one to four strides (`fsseg.encoders.Encoder.strides`), of which each is a
            pyramid level. The paper uses frozen ones, `build("resnet50_blocks")`, ``resnet101_blocks`` and
            ``vgg16_layers``.
        loss_mean: see `fsseg.losses.cross_entropy`.

    Raises:
        FssegError: the strides of the encoder's maps are further apart than a factor of 8.
    """

    state_per: ClassVar[StatePer] = "shot"
    align_corners = True
    exportable = False  # a graph would fix the sizes of its correlations and the number of shots

    def __init__(self, encoder: Encoder, loss_mean: LossMean = "pixels") -> None:
        super().__init__(encoder, loss_mean)
        self.name = named(self, HSNet, "HSNet", {"encoder": "" if encoder.fixed else "trained encoder"})
        strides = encoder.strides or (encoder.stride,) * len(encoder.widths)
        coarsest = max(strides)
        if coarsest > _FINEST * min(strides):
            raise FssegError(
                f"HSNet: maps of strides {', '.join(map(str, sorted(set(strides))))}; give taps whose strides differ "
                f"by a factor of at most {_FINEST}."
            )
        # Numbers of the maps of each level, coarse to fine.
        self._levels = [[i for i, own in enumerate(strides) if own == s] for s in sorted(set(strides), reverse=True)]
        # The finer a level, the more it is squeezed, so that all levels have the same support grid.
        finer = [(coarsest // strides[level[0]]).bit_length() - 1 for level in self._levels]
        kernels = [(5,) * more + (3,) * (3 - more) for more in finer]
        self._strides = [(4,) * more + (2,) * (3 - more) for more in finer]
        self.squeeze = nn.ModuleList(
            PivotEncoder((len(level), *_SQUEEZED), kernel, stride)
            for level, kernel, stride in zip(self._levels, kernels, self._strides, strict=True)
        )
        self.mix = nn.ModuleList(PivotEncoder(_MIXED, (3, 3, 3), (1, 1, 1)) for _ in self._levels[1:])
        self.decode = nn.ModuleList([_convolutions(128, 128, 64), _convolutions(64, 64, 2)[:-1]])

    def neck(self, maps: Maps) -> Maps:
        """The encoder's maps."""
        return maps

    def adapt_way(
        self, support: WayMaps, foreground: Float[Tensor, "M K H W"], background: Float[Tensor, "M K H W"]
    ) -> State:
        """Unit vectors of the masked features of each shot, one tensor ``M K C h w`` per map.

        Raises:
            FssegError: at this size of images the levels have different support grids.
        """
        if not torch.compiler.is_exporting():
            self._check_grids([(one.shape[-2], one.shape[-1]) for one in support], foreground.shape)
        return tuple(unit_vectors(one, _resized(foreground, one.shape[-2:])) for one in support)

    def _check_grids(self, sizes: Sequence[tuple[int, int]], mask: Sequence[int]) -> None:
        grids = self.support_grids(sizes)
        if len(set(grids)) > 1:
            found = ", ".join(f"{rows}x{columns}" for rows, columns in grids)
            raise FssegError(
                f"HSNet with {self.encoder.name}: supports of {mask[-2]}x{mask[-1]} pixels have the grids {found} at "
                f"its {len(grids)} levels, but one grid is needed. Give another size, such as `data.images.size` 400."
            )

    def support_grids(self, sizes: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Rows and columns of the squeezed support plane at each level, coarse to fine.

        Args:
            sizes: cells of each map of the encoder.
        """
        grids = []
        for level, strides in zip(self._levels, self._strides, strict=True):
            rows, columns = sizes[level[0]]
            for stride in strides:
                rows, columns = -(-rows // stride), -(-columns // stride)
            grids.append((rows, columns))
        return grids

    def stages(self, state: State, query: Maps) -> list[Float[Tensor, "M 2 h w"]]:
        """Logits of each shot, at twice the resolution of the finest map."""
        units = [unit_vectors(one) for one in query]
        return [self._decoded(units, [part[:, k] for part in state]) for k in range(state[0].shape[1])]

    def _decoded(self, query: Sequence[Tensor], support: Sequence[Tensor]) -> Float[Tensor, "M 2 h w"]:
        squeezed = [
            squeeze(ImagePair([query[i] for i in level], [support[i] for i in level]))
            for level, squeeze in zip(self._levels, self.squeeze, strict=True)
        ]
        return self.decoded(squeezed)

    def decoded(self, squeezed: Sequence[Float[Tensor, "M _ _ u v C"]]) -> Float[Tensor, "M 2 h w"]:
        """Logits from the squeezed correlations of each level, coarse to fine."""
        mixed = squeezed[0]
        for finer, mix in zip(squeezed[1:], self.mix, strict=True):
            mixed = mix(resize_query_plane(mixed, (finer.shape[1], finer.shape[2])) + finer)
        low: Tensor = self.decode[0](mixed.mean((3, 4)).permute(0, 3, 1, 2))
        twice = (2 * low.shape[-2], 2 * low.shape[-1])
        logits: Tensor = self.decode[1](F.interpolate(low, twice, mode="bilinear", align_corners=True))
        return logits

    def losses(self, features: Features, batch: Batch) -> dict[str, Float[Tensor, ""]]:
        """Cross-entropy at pixel resolution, as a mean over shots."""
        losses = super().losses(features, batch)
        return {"loss": losses["loss"] / batch.support_mask.shape[2]}

    def decide(self, stages: list[Tensor], state: State) -> Float[Tensor, "M 2 u v"]:
        """The logits of one shot; the votes of several shots at the resolution of their logits."""
        return stages[0] if len(stages) == 1 else voted(torch.stack([one[:, 1] > one[:, 0] for one in stages]))

    def segment(
        self, state: State, query: QueryMaps, size: tuple[int, int] | Integer[Tensor, "B Q 2"]
    ) -> Float[Tensor, "B Q L H W"]:
        """Logits of the queries at pixel resolution, where several shots vote."""
        if state[0].shape[2] == 1:
            return super().segment(state, query, size)
        votes = []
        for k in range(state[0].shape[2]):
            logits = super().segment(tuple(part[:, :, k : k + 1] for part in state), query, size)
            votes.append(logits[:, :, 1:] > logits[:, :, :1])  # the margin of a way is that of its binary logits
        return merge_ways(voted(torch.stack(votes)))


def voted(maps: Bool[Tensor, "K *b H W"]) -> Float[Tensor, "*b 2 H W"]:
    """Logits of background and foreground from the shots' foreground, as in the code.

    A pixel is foreground if its votes are at least half of the largest number of votes in its image, or of 1.
    """
    votes = maps.sum(0).float()
    share = votes / votes.amax((-2, -1), keepdim=True).clamp(min=1)
    return torch.stack([torch.full_like(share, _HALF), share], dim=-3)


def _resized(mask: Float[Tensor, "M K H W"], size: Sequence[int]) -> Float[Tensor, "M K h w"]:
    return F.interpolate(mask, (size[0], size[1]), mode="bilinear", align_corners=True)


def _convolutions(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
