"""The training augmentation of PFENet's code (util/transform.py), with OpenCV and its order of random numbers.

Use in training, alone::

    augment:
      - {class_path: fsseg.episodes.pfenet_augmentation.PFENetAugmentation, init_args: {size: 473}}

The code computes in float32 without rounding; here the result is rounded to 0..255. No other module imports this one,
because albumentations takes seconds to import.
"""

import random
from typing import Any

import cv2 as opencv
import numpy as np
import numpy.typing as npt
from albumentations.core.transforms_interface import DualTransform

from fsseg.episode import BACKGROUND, IGNORE, Image, Mask
from fsseg.episodes.transforms import rounded

_FILL = (123.675, 116.28, 103.53)  # of uncovered pixels: ImageNet's mean colour
_SHARE, _TRIES = 0.85, 31  # of the object that a crop keeps, and crops that are drawn again for it
_BLUR = 5  # pixels of the Gaussian filter's sides

Pixels = npt.NDArray[np.float32]

cv2: Any = opencv  # its types refuse float sizes and keyword arguments from a mapping


class PFENetAugmentation(DualTransform):
    """Scale, rotation, blur, flip and crop. The crop is drawn again while it loses much of the object.

    Args:
        size: height and width of the crop (473 on PASCAL-5i, 641 on COCO-20i).
        scale: smallest and largest scale (0.9 to 1.1 on PASCAL-5i, 0.8 to 1.25 on COCO-20i).
        angle: largest rotation in degrees, to either side.
        p: probability of the augmentation.

    Raises:
        ValueError: the size is below 1, scale is no range of positive numbers, or the angle is negative.
    """

    def __init__(
        self, size: int = 473, scale: tuple[float, float] = (0.9, 1.1), angle: float = 10.0, p: float = 1.0
    ) -> None:
        super().__init__(p=p)
        if size < 1 or len(scale) != 2 or not 0 < scale[0] <= scale[1] or angle < 0:
            raise ValueError(
                f"size {size}, scale {list(scale)}, angle {angle:g}: a size of 1 or more, two rising numbers above 0 "
                "and an angle of 0 or more are needed"
            )
        self.size, self.scale, self.angle = size, (scale[0], scale[1]), angle

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The augmented image and mask, which are computed together because the crop depends on the mask."""
        image, mask = augmented(self.py_random, data["image"], data["mask"], self.size, self.scale, self.angle)
        return {"augmented_image": image, "augmented_mask": mask}

    def apply(self, img: Any, augmented_image: Any = None, **params: Any) -> Any:
        """The augmented image."""
        return augmented_image

    def apply_to_mask(self, mask: Any, augmented_mask: Any = None, **params: Any) -> Any:
        """The augmented mask."""
        return augmented_mask


def augmented(
    generator: random.Random, image: Image, mask: Mask, size: int, scale: tuple[float, float], angle: float
) -> tuple[Image, Mask]:
    """An augmented image and its mask.

    Args:
        generator: draws scale, whether and by how much to rotate, blur, flip, then rows and columns of crops.
        image: RGB.
        mask: labels; 255 also marks uncovered pixels.
        size: see `PFENetAugmentation`.
        scale: see `PFENetAugmentation`.
        angle: see `PFENetAugmentation`.
    """
    factor = scale[0] + (scale[1] - scale[0]) * generator.random()
    zoom = {"dsize": None, "fx": factor, "fy": factor}
    pixels = cv2.resize(image.astype(np.float32), interpolation=cv2.INTER_LINEAR, **zoom)
    mask = cv2.resize(mask, interpolation=cv2.INTER_NEAREST, **zoom)
    if generator.random() < 0.5:
        pixels, mask = _rotated(pixels, mask, -angle + 2 * angle * generator.random())
    if generator.random() < 0.5:
        pixels = cv2.GaussianBlur(pixels, (_BLUR, _BLUR), 0)
    if generator.random() < 0.5:
        pixels, mask = cv2.flip(pixels, 1), cv2.flip(mask, 1)
    return _cropped(generator, *_padded(pixels, mask, size), size)


def _rotated(pixels: Pixels, mask: Mask, angle: float) -> tuple[Pixels, Mask]:
    height, width = mask.shape
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1)
    whole = {"M": matrix, "dsize": (width, height), "borderMode": cv2.BORDER_CONSTANT}
    turned = cv2.warpAffine(pixels, flags=cv2.INTER_LINEAR, borderValue=_FILL, **whole)
    return turned, cv2.warpAffine(mask, flags=cv2.INTER_NEAREST, borderValue=IGNORE, **whole)


def _padded(pixels: Pixels, mask: Mask, size: int) -> tuple[Pixels, Mask]:
    """Pad to the size of the crop, half before and half after."""
    lack = [max(size - side, 0) for side in mask.shape]
    margins = [part for each in lack for part in (each // 2, each - each // 2)]
    filled = cv2.copyMakeBorder(pixels, *margins, cv2.BORDER_CONSTANT, value=_FILL)
    return filled, cv2.copyMakeBorder(mask, *margins, cv2.BORDER_CONSTANT, value=IGNORE)


def _cropped(generator: random.Random, pixels: Pixels, mask: Mask, size: int) -> tuple[Image, Mask]:
    """A crop that keeps most of the object, or the last one drawn."""
    needed = _SHARE * _object(mask)
    for _ in range(1 + _TRIES):
        top, left = (generator.randint(0, side - size) for side in mask.shape)
        part = mask[top : top + size, left : left + size]
        if _object(part) >= needed:
            break
    return rounded(pixels[top : top + size, left : left + size]), np.ascontiguousarray(part)


def _object(mask: Mask) -> int:
    return int(((mask != BACKGROUND) & (mask != IGNORE)).sum())
