"""Results of a session, and how uncertain they are."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fsseg.demo.maps import Map
from fsseg.demo.pictures import Picture
from fsseg.episode import Mask


class Result(NamedTuple):
    """The prediction for a query.

    Attributes:
        query: the image.
        mask: ``H W`` of ``query.image``: 0 background, or the label of a class.
        scores: presence score of each known class by label; None where the segmenter has no score.
        maps: maps of prototypes, if the session shows them.
        uncertainty: see `uncertainty`; None unless requested.
        milliseconds: time from the change to the result.
        passes: number of images that were encoded for the result.
    """

    query: Picture
    mask: Mask
    scores: Mapping[int, float | None]
    maps: list[Map]
    milliseconds: float
    passes: int
    uncertainty: float | None = None


def uncertainty(probability: npt.NDArray[np.float32]) -> float:
    """Mean over the pixels of 1 minus the difference of the two largest probabilities of ``1+N H W``; 0..1."""
    second, first = np.partition(probability, -2, axis=0)[-2:]
    return float(np.mean(1 - (first - second)))
