"""Random inputs and the method's outputs for them, to trace graphs and to check them."""

from typing import NamedTuple

import torch
from torch import Tensor

from fsseg.episode import IGNORE
from fsseg.export.modules import Adapt, SupportInput
from fsseg.methods.base import Method

_CELL = 8  # pixels of a side of a patch in random masks; smaller patches would vanish at feature resolution


# Inputs of a graph, in order.
Given = tuple[Tensor | tuple[Tensor, ...], ...]


class Sizes(NamedTuple):
    """Sizes of an example's images and of its episode."""

    height: int
    width: int
    way: int
    shot: int
    queries: int


class Example(NamedTuple):
    """Inputs and expected outputs by the name of the graph."""

    given: dict[str, Given]
    wanted: dict[str, tuple[Tensor, ...]]


@torch.no_grad()
def example(method: Method, sizes: Sizes, seed: int = 0) -> Example:
    """Random images and masks, and the method's outputs for them.

    Args:
        method: method in eval mode on the CPU.
        sizes: sizes of the example. Logits have another size than images, as for resized images.
        seed: seed of the random inputs.
    """
    random = torch.Generator().manual_seed(seed)
    count = sizes.way * sizes.shot
    images = torch.randint(
        256, (count + sizes.queries, 3, sizes.height, sizes.width), generator=random, dtype=torch.uint8
    )
    each = [method.encode(image[None]) for image in images]  # one by one to save memory
    maps = tuple(map(torch.cat, zip(*each, strict=True)))
    query = tuple(one[count:].contiguous() for one in maps)
    mask = _masks(sizes, random)
    support: SupportInput = tuple(one[:count].unflatten(0, (sizes.way, sizes.shot)).contiguous() for one in maps)
    if method.masks_enter_encoder:
        support = images[:count].unflatten(0, (sizes.way, sizes.shot)).contiguous()
    state = Adapt(method)(support, mask)
    size = (sizes.height + 7, sizes.width + 3)
    given: dict[str, Given] = {
        "encoder": (images[count:],),
        "learner": (support, mask),
        "matcher": (state, query, torch.tensor(size)),
    }
    batch = tuple(part[None] for part in state)
    logits = [method.segment(batch, tuple(one[None, None] for one in o), size)[0, 0] for o in zip(*query, strict=True)]
    return Example(given, {"encoder": query, "learner": state, "matcher": (torch.stack(logits),)})


def _masks(sizes: Sizes, random: torch.Generator) -> Tensor:
    """Episode labels in patches. Each support shows its way, background and ignored pixels."""
    shape = (sizes.way, sizes.shot, -(-sizes.height // _CELL), -(-sizes.width // _CELL))
    labels = torch.randint(sizes.way + 2, shape, generator=random, dtype=torch.uint8)
    labels[labels == sizes.way + 1] = IGNORE
    labels[:, :, 1:3, 1:3] = torch.arange(1, sizes.way + 1, dtype=torch.uint8).view(-1, 1, 1, 1)
    labels[:, :, 0] = 0
    large = labels.repeat_interleave(_CELL, -2).repeat_interleave(_CELL, -1)
    return large[..., : sizes.height, : sizes.width].contiguous()


def leaves(given: Given) -> list[Tensor]:
    """Inputs of a graph as a flat list, for ONNX."""
    return [one for part in given for one in (part if isinstance(part, tuple) else (part,))]
