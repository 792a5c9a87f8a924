"""Probability maps of prototypes on a query, from cached features: `Method.explain` without an encoder pass."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from fsseg.episode import Image
from fsseg.methods.base import Explanation
from fsseg.segmenter import Segmenter
from fsseg.segmenter.support_state import one_way


class Map(NamedTuple):
    """Probability map of one prototype on a query.

    Attributes:
        label: label of the class; a background prototype has the label of the class that it belongs to.
        name: such as ``object 2``.
        probability: ``h w``.
    """

    label: int
    name: str
    probability: npt.NDArray[np.float32]


@torch.inference_mode()
def prototype_maps(segmenter: Segmenter, image: Image, labels: list[int]) -> list[Map]:
    """Maps of all prototypes, class by class; an empty list if the method explains no prototypes.

    Args:
        segmenter: a segmenter that knows classes.
        image: the query; a query that was segmented before needs no encoder pass.
        labels: label of each class, in the order of the segmenter.
    """
    query = tuple(one[None, None] for one in segmenter.feature(image))
    state, maps = segmenter.known[0], []
    for place, label in zip(state.found, labels, strict=True):
        support, mask = one_way(segmenter.method, state.showing(place), place)
        explanation = segmenter.method.explain(support, mask, query)
        if explanation is not None:
            maps += _maps(label, explanation)
    return maps


def _maps(label: int, explanation: Explanation) -> list[Map]:
    probability = explanation.probability[0, 0, 0].float().cpu().numpy()
    sides = {"object": probability[: explanation.foreground], "background": probability[explanation.foreground :]}
    return [
        Map(label, what if len(side) == 1 else f"{what} {i}", one)
        for what, side in sides.items()
        for i, one in enumerate(side, 1)
    ]
