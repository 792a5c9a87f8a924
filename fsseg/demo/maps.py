"""What prototypes see of a query, from features that were kept: `Method.look` without an encoder pass."""

import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fsseg.datasets.base import Image
from fsseg.methods.base import Features, Look
from fsseg.segmenter import Segmenter
from fsseg.segmenter.support_state import one_way, query_of


class Map(NamedTuple):
    """Probability of one prototype on a query.

    Attributes:
        label: of the class whose prototype it is, or that is held against background.
        name: such as ``object 2``.
        probability: ``h w``.
    """

    label: int
    name: str
    probability: npt.NDArray[np.float32]


@torch.inference_mode()
def prototype_maps(segmenter: Segmenter, image: Image, labels: list[int]) -> list[Map]:
    """Maps of all prototypes, class by class; none where the method has no prototypes to show.

    Args:
        segmenter: that has learnt.
        image: the query; one that was segmented costs no encoder pass.
        labels: what to call each class of the segmenter, in their order.
    """
    query = segmenter.feature(image)
    found = [
        (label, _look(segmenter, place, query)) for place, label in zip(segmenter.known[0].found, labels, strict=True)
    ]
    return [item for label, look in found if look is not None for item in _maps(label, look)]


def _look(segmenter: Segmenter, place: int, query: Tensor) -> Look | None:
    """At one class, in an episode of one way whose features are those that were kept."""
    feature, labels = one_way(segmenter.known[0].showing(place), place)
    batch = query_of(feature.shape[2], 1, (query.shape[-2], query.shape[-1]))._replace(support_mask=labels)
    method = copy.copy(segmenter.method)  # with the same weights
    kept = Features(feature, query[None, None])
    method.features = lambda batch: kept  # type: ignore[method-assign]
    return method.look(batch)


def _maps(label: int, look: Look) -> list[Map]:
    maps = look.probability[0, 0, 0].float().cpu().numpy()
    sides = {"object": maps[: look.foreground], "background": maps[look.foreground :]}
    return [
        Map(label, what if len(side) == 1 else f"{what} {i}", one)
        for what, side in sides.items()
        for i, one in enumerate(side, 1)
    ]
