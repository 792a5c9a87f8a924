"""Results of a segmenter."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, UInt8
from torch import Tensor

from fsseg.segmenter.instances import instances_of


class Prediction(NamedTuple):
    """Prediction for an image.

    Attributes:
        mask: ``H W`` uint8, 0 background, then the classes in their order.
        probability: ``1+N H W`` float32, background including rejected images, then the classes; None if not requested.
            The mask is the argmax before rejected images are added to background.
        score: presence score of each class, 0..1. At 0.5, the image shows the class as likely as not, see
            `fsseg.segmenter.presence_score`. None if the class has one support or no predicted pixel.
    """

    mask: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.float32] | None
    score: dict[str, float | None]

    def __repr__(self) -> str:
        """One line: size, and for each class its share of the pixels and its score."""
        height, width = self.mask.shape
        return f"Prediction({width}x{height} pixels: {'; '.join(self.words)})"

    @property
    def words(self) -> list[str]:
        """Name, share of the pixels and score of each class."""
        found = []
        for label, (name, score) in enumerate(self.score.items(), 1):
            share = f"{name} {float((self.mask == label).mean()):.1%}"
            found.append(share if score is None else f"{share}, score {score:.2f}")
        return found

    @property
    def instances(self) -> npt.NDArray[np.int32]:
        """Numbers of objects ``H W``: 0 none, then 1, 2, ... class by class, see `fsseg.segmenter.instances`."""
        return instances_of(self.mask)


class Part(NamedTuple):
    """Prediction for a part of an image, see `Prediction`."""

    label: UInt8[Tensor, "h w"]
    probability: Float[Tensor, "L h w"]
    score: dict[str, float | None]
