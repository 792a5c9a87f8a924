"""What a method has learnt from supports, class by class, and its logits of a query."""

from collections.abc import Sequence
from itertools import cycle, islice
from math import lcm
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fsseg.episode import BACKGROUND, IGNORE, Batch
from fsseg.methods.base import BinaryMethod, Method
from fsseg.ops.ways import merge_ways

# What one class's supports teach: once for all of them, or for each.
Lessons = list[tuple[Tensor, ...]]

_OTHER = 2  # label of another class of a support in an episode of one way
_NOBODY = IGNORE - 1  # label of no way
_MOST = 1000  # lessons of a class, where classes with different numbers of supports are brought to one


class Support(NamedTuple):
    """A picture that was learnt from, or that was told not to be it.

    Attributes:
        feature: of its parts; one, unless it was cut into tiles.
        mask: labels of its parts, 1 and on the classes.
        size: ``(H, W)`` of the picture.
    """

    feature: Float[Tensor, "m C h w"]
    mask: UInt8[Tensor, "m S S"]
    size: tuple[int, int]


def shows(support: Support, label: int) -> Tensor:
    """Which parts of a support show a class."""
    return (support.mask == label).flatten(1).any(1)


def one_way(supports: Sequence[Support], label: int) -> tuple[Float[Tensor, "1 1 K C h w"], UInt8[Tensor, "1 1 K S S"]]:
    """Features and labels of an episode whose one way is a class: all parts of supports that show it."""
    chosen = [
        (support.feature[shown], support.mask[shown]) for support in supports if (shown := shows(support, label)).any()
    ]
    feature, mask = (torch.cat(parts)[None, None] for parts in zip(*chosen, strict=True))
    labels = torch.full_like(mask, _OTHER)
    for value, meant in ((label, 1), (BACKGROUND, BACKGROUND), (IGNORE, IGNORE)):
        labels[mask == value] = meant
    return feature, labels


def lesson(method: Method, supports: Sequence[Support], label: int) -> Lessons:
    """What supports teach of a class: `Method.learn_supports` in an episode of one way.

    Returns:
        One lesson, of all parts that show the class; or one of each, where the method's supports teach alone.
    """
    feature, labels = one_way(supports, label)
    learnt = method.learn_supports(feature, labels)
    if method.teaching == "together":
        return [learnt]
    return [tuple(part[:, :, k : k + 1] for part in learnt) for k in range(feature.shape[2])]


def logits(
    method: Method,
    lessons: Sequence[Lessons],
    shots: Sequence[int],
    query_feature: Float[Tensor, "C h w"],
    size: tuple[int, int],
) -> Float[Tensor, "L H W"]:
    """Logits of a query: background, then the classes.

    Methods that tell one class from background look for each class on its own, so that each may have its own number of
    supports. Of others, lessons of classes with fewer are repeated: to them, equal supports are as good as one.

    Args:
        method: in eval mode.
        lessons: of each class.
        shots: how many supports each class has.
        query_feature: of the query.
        size: ``(H, W)`` of the answer.
    """
    query = query_feature[None, None]
    if isinstance(method, BinaryMethod):
        each = [
            method.decode(joined([own], len(own)), query, query_of(shot, 1, size))
            for own, shot in zip(lessons, shots, strict=True)
        ]
        return merge_ways(torch.cat(each, dim=1))[0]
    if method.teaching == "features":
        lessons = [_as_way(own, way) for way, own in enumerate(lessons, 1)]
    common = common_count(lessons)
    return method.decode(joined(lessons, common), query, query_of(common, len(lessons), size))[0, 0]


def common_count(lessons: Sequence[Lessons]) -> int:
    """The number of lessons to which those of all classes are brought."""
    counts = [len(own) for own in lessons]
    return min(lcm(*counts), max(_MOST, *counts))


def _as_way(own: Lessons, way: int) -> Lessons:
    """Features and masks of one class's episode as those of a way of a larger one."""
    table = torch.arange(IGNORE + 1, dtype=torch.uint8)
    table[1], table[_OTHER] = way, _NOBODY
    return [(feature, table.to(mask.device)[mask.long()]) for feature, mask in own]


def joined(lessons: Sequence[Lessons], count: int) -> tuple[Tensor, ...]:
    """Lessons of several classes, each brought to a number, in the form that `Method.segment_by` takes."""
    ways = [list(islice(cycle(own), count)) for own in lessons]
    each = [tuple(torch.cat(parts, dim=2) for parts in zip(*way, strict=True)) for way in ways]
    return tuple(torch.cat(parts, dim=1) for parts in zip(*each, strict=True))


def query_of(shot: int, way: int, size: tuple[int, int]) -> Batch:
    """The frame of an episode that `Method.decode` asks for: numbers and sizes, no picture."""
    none = torch.zeros(1, way, shot, dtype=torch.long)
    nothing = torch.zeros(0, dtype=torch.uint8)
    mask = torch.zeros(1, dtype=torch.uint8).expand(1, 1, *size)
    one = torch.zeros(1, 1, dtype=torch.long)
    return Batch(
        support_image=nothing.view(1, way, 0, 3, 0, 0),
        support_mask=nothing.view(1, way, 0, 0, 0),
        query_image=nothing.view(1, 1, 3, 0, 0),
        query_mask=mask,
        query_size=torch.tensor([[list(size)]]),
        query_way=one,
        classes=torch.zeros(1, way, dtype=torch.long),
        support_id=none,
        query_id=one,
        run=one[0],
        number=one[0],
    )
