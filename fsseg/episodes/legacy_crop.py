"""The random crop of PMMs' code, a copy of torchvision 0.2's RandomResizedCrop; later versions draw differently.

Use in training, after the flip::

    augment:
      - {class_path: HorizontalFlip, init_args: {p: 0.5}}
      - {class_path: fsseg.episodes.legacy_crop.OldRandomResizedCrop}

This module only crops; `Episodes` resizes the result to size x size. No other module imports this one, because
albumentations takes seconds to import.
"""

import random
from math import sqrt
from typing import Any

from albumentations.augmentations.crops.transforms import BaseCrop

_TRIES = 10  # as in torchvision 0.2 and PMMs' copy of it


def crop_box(
    random: random.Random,
    height: int,
    width: int,
    scale: tuple[float, float] = (0.5, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> tuple[int, int, int, int]:
    """``(top, left, height, width)`` of a random part of an image.

    The aspect ratio is drawn uniformly (newer versions draw its logarithm), and inverted with probability 1/2. After
    ten boxes that do not fit into the image, the result is the centre square of the short side.

    Args:
        random: generator; it draws area, aspect ratio, inversion, top and left, in this order.
        height: height of the image.
        width: width of the image.
        scale: smallest and largest share of the image's area (PMMs: half to all).
        ratio: smallest and largest width / height before the inversion.
    """
    for _ in range(_TRIES):
        area = random.uniform(*scale) * height * width
        aspect = random.uniform(*ratio)
        w, h = round(sqrt(area * aspect)), round(sqrt(area / aspect))
        if random.random() < 0.5:
            w, h = h, w
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, height - h), random.randint(0, width - w), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


class OldRandomResizedCrop(BaseCrop):
    """Crops image and mask to a `crop_box`, as a step of ``data.images.augment``. A crop may lose the object.

    Args:
        scale: see `crop_box`.
        ratio: see `crop_box`.
        p: probability of a crop.

    Raises:
        ValueError: scale or ratio is no range of positive numbers, or scale exceeds 1.
    """

    def __init__(
        self, scale: tuple[float, float] = (0.5, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3), p: float = 1.0
    ) -> None:
        super().__init__(p=p)
        for name, given in (("scale", scale), ("ratio", ratio)):
            if len(given) != 2 or not 0 < given[0] <= given[1]:
                raise ValueError(f"{name} {list(given)}: the least and the greatest value are needed, both above 0")
        if scale[1] > 1:
            raise ValueError(f"scale {list(scale)}: at most 1, the area of the image, is needed")
        self.scale, self.ratio = scale, ratio

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The box in the order of albumentations: left, top, right, bottom."""
        rows, columns = params["shape"][:2]
        top, left, height, width = crop_box(self.py_random, rows, columns, self.scale, self.ratio)
        return {"crop_coords": (left, top, left + width, top + height)}
