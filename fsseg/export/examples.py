"""Random input for a method, and what the method itself makes of it: to trace graphs with, and to check them by."""

from typing import NamedTuple

import torch
from torch import Tensor

from fsseg.episode import IGNORE
from fsseg.export.modules import Learn, asks_shot
from fsseg.methods.base import Method
from fsseg.segmenter.support_state import query_of

_CELL = 8  # pixels of a side of a random mask's patches: smaller ones would vanish at the features' resolution


# What a graph is given, in order.
Given = tuple[Tensor | tuple[Tensor, ...], ...]


class Sizes(NamedTuple):
    """Of an example's images and of its episode."""

    height: int
    width: int
    way: int
    shot: int
    queries: int


class Example(NamedTuple):
    """What each graph is given, and what it is to give, by its name."""

    given: dict[str, Given]
    wanted: dict[str, tuple[Tensor, ...]]


@torch.no_grad()
def example(method: Method, sizes: Sizes, seed: int = 0) -> Example:
    """Random images and masks, and what the method gives for them.

    Args:
        method: in eval mode, on the CPU.
        sizes: of the example; logits are wanted at another size than the images', as for photos that were resized.
        seed: of the example.
    """
    random = torch.Generator().manual_seed(seed)
    count = sizes.way * sizes.shot
    images = torch.randint(
        256, (count + sizes.queries, 3, sizes.height, sizes.width), generator=random, dtype=torch.uint8
    )
    features = torch.cat([method.encode(image[None]) for image in images])  # one by one, for large ones fill memory
    support = features[:count].unflatten(0, (sizes.way, sizes.shot)).contiguous()
    query = features[count:].contiguous()
    mask = _masks(sizes, random)
    learnt = Learn(method)(support, mask)
    size = (sizes.height + 7, sizes.width + 3)
    last = (torch.full((sizes.way,), sizes.shot),) if asks_shot(method, learnt, query) else ()
    given: dict[str, Given] = {
        "encoder": (images[count:],),
        "learner": (support, mask),
        "matcher": (learnt, query, torch.tensor(size), *last),
    }
    own = tuple(part[None] for part in learnt)
    frame = query_of(sizes.shot, sizes.way, size)
    logits = [method.decode(own, one[None, None], frame)[0, 0] for one in query]
    return Example(given, {"encoder": (query,), "learner": learnt, "matcher": (torch.stack(logits),)})


def _masks(sizes: Sizes, random: torch.Generator) -> Tensor:
    """Episode labels in patches; each support shows its way, background and pixels that are ignored."""
    shape = (sizes.way, sizes.shot, -(-sizes.height // _CELL), -(-sizes.width // _CELL))
    labels = torch.randint(sizes.way + 2, shape, generator=random, dtype=torch.uint8)
    labels[labels == sizes.way + 1] = IGNORE
    labels[:, :, 1:3, 1:3] = torch.arange(1, sizes.way + 1, dtype=torch.uint8).view(-1, 1, 1, 1)
    labels[:, :, 0] = 0
    large = labels.repeat_interleave(_CELL, -2).repeat_interleave(_CELL, -1)
    return large[..., : sizes.height, : sizes.width].contiguous()


def leaves(given: Given) -> list[Tensor]:
    """What a graph is given, as a flat list, which is how ONNX takes it."""
    return [one for part in given for one in (part if isinstance(part, tuple) else (part,))]
