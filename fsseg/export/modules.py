"""What each graph computes, as modules of one episode; a graph has no Python left in it."""

from typing import cast

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from fsseg.losses import upsample
from fsseg.methods.base import BinaryMethod, Method
from fsseg.ops.ways import merge_ways

LEAST = 2  # pixels of a side that logits are brought to


class Encode(nn.Module):
    """Images to features: `Method.encode`."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: UInt8[Tensor, "M 3 H W"]) -> Float[Tensor, "M C h w"]:
        """Features of images, each on its own."""
        return self.method.encode(images)


class Learn(nn.Module):
    """What supports teach: `Method.learn_supports`."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(
        self, support_feature: Float[Tensor, "N K C h w"], support_mask: UInt8[Tensor, "N K H W"]
    ) -> tuple[Tensor, ...]:
        """Tensors ``N ...``. They are contiguous: a graph of torch's asks for the strides that it was traced with."""
        learnt = self.method.learn_supports(support_feature[None], support_mask[None])
        return tuple(part[0].contiguous() for part in learnt)


class Match(nn.Module):
    """Logits of queries: `Method.segment_by`, and upsampling as in `Method.at_masks`.

    Args:
        method: in eval mode.
        asks_shot: the answer depends on whether a way has one support or several (RPMMs): the graph has both, and
            each way chooses.
    """

    def __init__(self, method: Method, asks_shot: bool) -> None:
        super().__init__()
        self.method, self.asks_shot = method, asks_shot

    def forward(
        self,
        learnt: tuple[Tensor, ...],
        query_feature: Float[Tensor, "Q C h w"],
        size: Int[Tensor, "2"],
        shot: Int[Tensor, " N"] | None = None,
    ) -> Float[Tensor, "Q L H W"]:
        """Logits of background and ways.

        Args:
            learnt: what `Learn` gave.
            query_feature: what `Encode` gave.
            size: ``(H, W)`` of the answer.
            shot: supports of each way, where the method asks.
        """
        height, width = size.tolist()
        for side in (height, width):
            torch._check(side >= LEAST)  # told to the tracer, for which the numbers are unknown
        if self.asks_shot and shot is not None:
            logits = self._by_shot(learnt, query_feature, shot)
        else:
            logits = self.method.segment_by(tuple(part[None] for part in learnt), query_feature[None], _shots(learnt))[
                0
            ]
        return upsample(logits.float(), (height, width), self.method.align_corners)

    def _by_shot(self, learnt: tuple[Tensor, ...], query_feature: Tensor, shot: Tensor) -> Tensor:
        """`BinaryMethod.segment_by`, with the decision of each way by its own number of shots."""
        method, (way, queries) = cast(BinaryMethod, self.method), (learnt[0].shape[0], query_feature.shape[0])
        parts = tuple(part[:, 0] for part in learnt) if method.teaching == "together" else learnt
        each = tuple(part.unsqueeze(1).expand(-1, queries, *part.shape[1:]).flatten(0, 1) for part in parts)
        stages = method.stages(each, query_feature.expand(way, -1, -1, -1, -1).flatten(0, 1))
        one, several = (method.decide(stages, number).unflatten(0, (way, queries)) for number in (1, 2))
        chosen = torch.where(shot.view(-1, 1, 1, 1, 1) == 1, one, several)  # N Q 2 h w
        return merge_ways(chosen.transpose(0, 1))


def _shots(learnt: tuple[Tensor, ...]) -> int:
    """Shots, as far as what was learnt tells; methods that want to know more are not exported, see `checked`."""
    return learnt[0].shape[1]


@torch.no_grad()
def asks_shot(method: Method, learnt: tuple[Tensor, ...], query_feature: Float[Tensor, "Q C h w"]) -> bool:
    """Whether one support and several of the same teaching give different answers."""
    if not isinstance(method, BinaryMethod) or type(method).segment_by is not BinaryMethod.segment_by:
        return False
    parts = tuple(part[None] for part in learnt)
    one, several = (method.segment_by(parts, query_feature[None], shot) for shot in (1, 2))
    return not torch.equal(one, several)
