"""The random crop of PMMs' code, which is torchvision 0.2's; today's crops of that name draw otherwise.

For training, behind the flip::

    augment:
      - {class_path: HorizontalFlip, init_args: {p: 0.5}}
      - {class_path: fsseg.episodes.legacy_crop.OldRandomResizedCrop}

Only the crop is done here: `Episodes` resizes its result to size x size. Imported by class path alone, since
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

    The aspect ratio is drawn uniformly, not its logarithm, and turned upside down half of the time. Where ten boxes
    stick out of the image it is the centre square of the short side.

    Args:
        random: draws area, aspect ratio, whether to turn, top and left, in this order.
        height: of the image.
        width: of the image.
        scale: least and greatest share of the image's area (PMMs: half to all).
        ratio: least and greatest width / height before turning.
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
    """Crops image and mask to a `crop_box`, as a step of ``--data.images.augment``. A crop may lose the object.

    Args:
        scale: see `crop_box`.
        ratio: see `crop_box`.
        p: probability.

    Raises:
        ValueError: scale or ratio is no range of positive numbers, or scale goes beyond 1.
    """

    def __init__(
        self, scale: tuple[float, float] = (0.5, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3), p: float = 1.0
    ) -> None:
        super().__init__(p=p)
        for name, given in (("scale", scale), ("ratio", ratio)):
            if len(given) != 2 or not 0 < given[0] <= given[1]:
                raise ValueError(f"{name} {list(given)}: the least and the greatest value are needed, both above 0")
        if scale[1] > 1:
            raise ValueError(f"scale {list(scale)}: no more than 1, all of the image, can be cut out")
        self.scale, self.ratio = scale, ratio

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The box as albumentations wants it: left, top, right, bottom."""
        rows, columns = params["shape"][:2]
        top, left, height, width = crop_box(self.py_random, rows, columns, self.scale, self.ratio)
        return {"crop_coords": (left, top, left + width, top + height)}
