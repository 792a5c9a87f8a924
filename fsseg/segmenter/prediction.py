"""Results of a segmenter."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, UInt8
from torch import Tensor


class Prediction(NamedTuple):
    """Prediction for an image.

    Attributes:
        mask: ``H W`` uint8, 0 background, then the classes in their order.
        probability: ``1+N H W`` float32, background including rejected images, then the classes; None if not requested.
            The mask is the argmax before rejected images are added to background.
        score: presence score of each class, 0..1. Above 0.5, the predicted region is closer to the class than to the
            supports' backgrounds and rejected images. None if the class has one support or no predicted pixel.
    """

    mask: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.float32] | None
    score: dict[str, float | None]


class Part(NamedTuple):
    """Prediction for a part of an image, see `Prediction`."""

    label: UInt8[Tensor, "h w"]
    probability: Float[Tensor, "L h w"]
    score: dict[str, float | None]
