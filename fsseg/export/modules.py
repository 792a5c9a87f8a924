"""Modules for one episode that are traced into graphs."""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from fsseg.methods.base import Maps, Method, State, own_way

LEAST = 2  # pixels of a side of logits; torch.export specialises sizes 0 and 1

# Feature maps of an episode's supports, or their images if masks enter the encoder.
SupportInput = tuple[Float[Tensor, "N K _ _ _"], ...] | UInt8[Tensor, "N K 3 H W"]


class Encode(nn.Module):
    """Images to feature maps: `Method.encode`."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: UInt8[Tensor, "M 3 H W"]) -> Maps:
        """Feature maps of images."""
        return self.method.encode(images)


class Adapt(nn.Module):
    """Supports to the state of an episode: `Method.adapt`."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, support: SupportInput, mask: UInt8[Tensor, "N K H W"]) -> State:
        """The state, in contiguous tensors, because a graph of torch checks the strides of its inputs."""
        if isinstance(support, Tensor):
            encoded = self.method.encode_support(support.flatten(0, 1), own_way(mask[None]).flatten(0, 2))
            support = tuple(one.unflatten(0, mask.shape[:2]) for one in encoded)
        state = self.method.state(tuple(one[None] for one in support), mask[None])
        return tuple(part[0].contiguous() for part in state)


class Match(nn.Module):
    """The state and queries to logits at pixel resolution: `Method.segment`."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(
        self, state: State, query: tuple[Float[Tensor, "Q _ _ _"], ...], size: Int[Tensor, "2"]
    ) -> Float[Tensor, "Q L H W"]:
        """Logits of background and ways.

        Args:
            state: from `Adapt`.
            query: feature maps from `Encode`.
            size: ``(H, W)`` of the logits.
        """
        height, width = size.tolist()
        for side in (height, width):
            torch._check(side >= LEAST)  # tells the tracer the range of the unknown sizes
        return self.method.segment(
            tuple(part[None] for part in state), tuple(one[None] for one in query), (height, width)
        )[0]
