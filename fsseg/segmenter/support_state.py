"""The state of a class from its supports, and the logits of a query from the states of all classes."""

from collections.abc import Sequence
from itertools import cycle, islice
from math import lcm
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from fsseg.episode import BACKGROUND, IGNORE, label_table
from fsseg.methods.base import Method, State, SupportMaps, own_way
from fsseg.methods.binary import BinaryMethod
from fsseg.ops.ways import merge_ways

# The state of one class: one per support or one for all, see `Method.state_per`. For ``episode``, feature maps and mask
# of each support instead. Empty for a rejected image that is part of the other classes' backgrounds.
ClassState = list[State]

_OTHER = 2  # label of another class of a support in an episode of one way
_NO_LABEL = IGNORE - 1  # label of no way
_NEVER = -1e4  # logit of a label that no pixel gets; finite, as logits are
_MOST = 1000  # supports of a class after repetition to a common number, a limit of memory


class Support(NamedTuple):
    """An image with a mask, or a rejected image, in ``m`` parts of ``S`` pixels a side.

    Attributes:
        feature: feature maps of the parts; one part, unless the image is cut into tiles.
        mask: labels of the parts, 1 and above for classes.
        size: ``(H, W)`` of the image.
        image: the parts, for a method that encodes supports with their masks; else None.
    """

    feature: tuple[Float[Tensor, "m _ _ _"], ...]
    mask: UInt8[Tensor, "m S S"]
    size: tuple[int, int]
    image: UInt8[Tensor, "m 3 S S"] | None = None


def shows(support: Support, label: int) -> Tensor:
    """Whether each part of a support shows a class."""
    return (support.mask == label).flatten(1).any(1)


def one_way(
    method: Method, supports: Sequence[Support], label: int, rejected: Sequence[int] = ()
) -> tuple[SupportMaps, UInt8[Tensor, "1 1 K S S"]]:
    """Feature maps and mask of a one-way episode of a class, from all parts of supports that show the class.

    Args:
        method: method in eval mode.
        supports: supports of the class, and those that show rejected labels.
        label: label of the class.
        rejected: labels of rejected images whose marked pixels are background.
    """
    wanted = (label, *rejected)
    each = [(support, torch.stack([shows(support, one) for one in wanted]).any(0)) for support in supports]
    shown = [(support, where) for support, where in each if where.any()]
    mask = torch.cat([support.mask[where] for support, where in shown])
    names = {**dict.fromkeys(range(1, IGNORE), _OTHER), **dict.fromkeys(rejected, BACKGROUND), label: 1}
    labels = torch.from_numpy(label_table(names)).to(mask.device)[mask.long()]
    # What a person did not mark on a rejected image may show the class.
    unmarked = torch.cat([~shows(support, label)[where] for support, where in shown])[:, None, None] & (
        mask == BACKGROUND
    )
    labels = labels.masked_fill(unmarked, IGNORE)[None, None]
    images = [support.image[where] for support, where in shown if support.image is not None]
    if images:
        maps = method.encode_support(torch.cat(images), own_way(labels)[0, 0])
    else:
        maps = tuple(map(torch.cat, zip(*(_parts(s, where) for s, where in shown), strict=True)))
    return tuple(one[None, None] for one in maps), labels


def _parts(support: Support, where: Tensor) -> tuple[Tensor, ...]:
    return support.feature if bool(where.all()) else tuple(one[where] for one in support.feature)


def class_state(method: Method, supports: Sequence[Support], label: int, rejected: Sequence[int] = ()) -> ClassState:
    """The state of a class, from `Method.adapt` in a one-way episode; see `one_way`."""
    maps, labels = one_way(method, supports, label, rejected)
    state = (*maps, labels) if method.state_per == "episode" else method.state(maps, labels)
    if method.state_per == "class":
        return [state]
    return [tuple(part[:, :, k : k + 1] for part in state) for k in range(labels.shape[2])]


def logits(
    method: Method,
    states: Sequence[ClassState],
    query: tuple[Float[Tensor, "_ _ _"], ...],
    encoded: tuple[int, int],
    size: tuple[int, int],
) -> Float[Tensor, "L H W"]:
    """Logits of a query: background, then the classes.

    A binary method segments each class separately, so that numbers of supports may differ. For other methods, supports
    are repeated to a common number, because repeated supports do not change a mean over shots.

    Args:
        method: method in eval mode.
        states: state of each class.
        query: feature maps of the query.
        encoded: ``(H, W)`` of the query in the encoder.
        size: ``(H, W)`` of the logits.
    """
    if not all(states):
        return with_empty(logits(method, [own for own in states if own], query, encoded, size), [*map(bool, states)])
    maps = tuple(one[None, None] for one in query)
    if isinstance(method, BinaryMethod) and method.state_per != "episode":
        each = [method.segment_resized(joined([own]), maps, encoded, size) for own in states]
        return merge_ways(torch.cat(each, dim=1))[0]
    if method.state_per == "episode":
        *support, mask = joined([_as_way(own, way) for way, own in enumerate(states, 1)])
        state = method.state(tuple(support), mask)
    else:
        state = joined(states)
    return method.segment_resized(state, maps, encoded, size)[0, 0]


def with_empty(found: Float[Tensor, "l H W"], kept: Sequence[bool]) -> Float[Tensor, "L H W"]:
    """Logits with those of labels that are not kept in between, which never win."""
    every = found.new_full((1 + len(kept), *found.shape[1:]), _NEVER)
    every[[0, *(label for label, is_kept in enumerate(kept, 1) if is_kept)]] = found
    return every


def joined(states: Sequence[ClassState]) -> State:
    """The states of several classes as the state of one episode, for `Method.predict`."""
    counts = [len(own) for own in states]
    count = min(lcm(*counts), max(_MOST, *counts))
    ways = [_over_shots(list(islice(cycle(own), count))) for own in states]
    return tuple(torch.cat(parts, dim=1) for parts in zip(*ways, strict=True))


def _over_shots(own: ClassState) -> State:
    return own[0] if len(own) == 1 else tuple(torch.cat(parts, dim=2) for parts in zip(*own, strict=True))


def _as_way(own: ClassState, way: int) -> ClassState:
    """Feature maps and masks of a one-way episode as those of a way of a larger episode."""
    table = torch.from_numpy(label_table({1: way, _OTHER: _NO_LABEL}))
    return [(*maps, table.to(mask.device)[mask.long()]) for *maps, mask in own]
