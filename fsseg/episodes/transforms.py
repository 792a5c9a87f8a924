"""Resizing as in the official codes, and training augmentation."""

import inspect
import os
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image

from fsseg import class_paths
from fsseg.episode import IGNORE, Image, Mask
from fsseg.errors import FssegError

_CORNERS = np.array([[0, 1], [2, 3]], dtype=np.uint8)  # shows which flips took place
_PROBE, _PROBES = 640, 8  # side of the images, and number of seeds, that show whether image and mask are independent


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """Resize to ``(height, width)`` by PIL's bilinear filter, which averages when it shrinks (PANet transforms.py)."""
    return np.asarray(PIL.Image.fromarray(image).resize(size[::-1], PIL.Image.Resampling.BILINEAR))


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize to ``(height, width)`` by PIL's NEAREST, which samples at pixel centres."""
    return np.asarray(PIL.Image.fromarray(mask).resize(size[::-1], PIL.Image.Resampling.NEAREST))


def resize_mask_by_corners(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize to ``(height, width)`` by torch's ``nearest``, which samples at pixels' upper left corners (HSNet)."""
    rows, columns = (
        np.minimum(np.arange(new, dtype=np.float32) * np.float32(side / new), side - 1).astype(np.int64)
        for side, new in zip(mask.shape, size, strict=True)
    )
    resized: Mask = mask[rows[:, None], columns]
    return resized


def opencv_image(image: Image, size: tuple[int, int]) -> Image:
    """Resize to ``(height, width)`` by OpenCV's bilinear filter, which does not average (PFENet's transform.py).

    The code resizes images in float32 and does not round; here the result is rounded to 0..255.
    """
    import cv2

    return rounded(cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR))


def opencv_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize to ``(height, width)`` by OpenCV's nearest, which samples at the upper left of pixels (PFENet)."""
    import cv2

    return np.asarray(cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST), dtype=np.uint8)


def rounded(image: npt.NDArray[Any]) -> Image:
    """An image of numbers 0..255, rounded to uint8."""
    return np.asarray(np.rint(image).clip(0, 255), dtype=np.uint8)


class Augmentation:
    """Albumentations for an image and its mask, deterministic for a seed.

    The augmented images of a training are *variants* of its images. Their number is finite if ``variants`` is given, or
    if all steps are flips. A cache can hold the features of finitely many variants.

    Args:
        steps: transforms as ``{class_path: albumentations.HorizontalFlip, init_args: {p: 0.5}}``, or as class paths
            alone; ``albumentations.`` may be left out. Pixels that a transform uncovers become 255 in the mask, unless
            ``fill_mask`` is given.
        variants: draw each image's augmentations once, so many per image; None draws anew in every episode.

    Attributes:
        variants: number of variants per image; None if infinite.

    Raises:
        FssegError: a transform is unknown, refuses its arguments, or depends on the mask while ``variants`` is given.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any] | str], variants: int | None = None) -> None:
        self._chain, self._drawn = None, bool(steps) and variants is not None
        self._flips = [(1, 1)]  # steps over rows and columns of each variant
        self.variants = variants if steps else 1
        if not steps:
            return
        # Otherwise albumentations asks a server for its newest version at every import.
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
        import albumentations

        self._chain = albumentations.Compose([_build(step) for step in steps])
        if self._drawn:
            self._refuse_mixed_inputs()
            return
        kinds = {type(step) for step in self._chain.transforms}
        if kinds <= {albumentations.HorizontalFlip, albumentations.VerticalFlip}:
            columns = (1, -1) if albumentations.HorizontalFlip in kinds else (1,)
            rows = (1, -1) if albumentations.VerticalFlip in kinds else (1,)
            self._flips = [(row, column) for row in rows for column in columns]
            self.variants = len(self._flips)

    def variant(self, seed: int) -> int:
        """The variant that a seed chooses; 0 if their number is infinite."""
        if self._drawn:
            return seed % self.variants if self.variants else 0
        if len(self._flips) == 1:
            return 0
        flipped = self._apply(_CORNERS, _CORNERS, seed)[1].tolist()
        return [_CORNERS[::row, ::column].tolist() for row, column in self._flips].index(flipped)

    def image(self, image: Image, number: int, variant: int) -> Image:
        """A variant of an image, as `__call__` makes it; the number of variants must be finite."""
        if self._drawn:
            return self._apply(image, image[..., 0], _variant_seed(number, variant))[0]
        rows, columns = self._flips[variant]
        return np.ascontiguousarray(image[::rows, ::columns])

    def __call__(self, image: Image, mask: Mask, seed: int, number: int = 0) -> tuple[Image, Mask]:
        """Augment an image and its mask; seed and image number decide everything.

        Raises:
            FssegError: a transform fails on this image, or its result is no uint8 image.
        """
        return self._apply(image, mask, _variant_seed(number, self.variant(seed)) if self._drawn else seed)

    def _apply(self, image: Image, mask: Mask, seed: int) -> tuple[Image, Mask]:
        if self._chain is None:
            return image, mask
        # The steps share one generator. The chain would give each step a generator with the same seed, and a vertical
        # flip would then happen exactly with a horizontal one.
        generators = np.random.default_rng(seed), random.Random(seed)
        for step in self._chain.transforms:
            step.set_random_state(*generators)
        try:
            result = self._chain(image=image, mask=mask)
        except Exception as error:  # albumentations raises various classes, e.g. for crops larger than the image
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise FssegError(
                f"`data.images.augment` fails on an image of {size}: {' '.join(str(error).split())}"
            ) from error
        if getattr(result["image"], "dtype", None) != np.uint8:
            raise FssegError(
                f"`data.images.augment` makes {type(result['image']).__name__} of {result['image'].dtype} where "
                "uint8 images of 0..255 are needed: leave out Normalize and ToTensorV2, the encoder normalises."
            )
        return result["image"], result["mask"]

    def _refuse_mixed_inputs(self) -> None:
        """Refuse steps whose image depends on the mask, or whose mask depends on the image.

        The mask of an image differs between episodes, so that such an image would have further variants.
        """
        noise = np.random.default_rng(0).integers(256, size=(2, _PROBE, _PROBE, 3), dtype=np.uint8)
        masks = np.zeros((2, _PROBE, _PROBE), dtype=np.uint8)
        masks[1, : _PROBE // 8, : _PROBE // 8] = 1
        for seed in range(_PROBES):
            first, second, third = (self._apply(noise[i], masks[j], seed) for i, j in ((0, 1), (0, 0), (1, 1)))
            if not (np.array_equal(first[0], second[0]) and np.array_equal(first[1], third[1])):
                raise FssegError(
                    "`data.images.variants`: a step of `data.images.augment` depends on the mask, which differs "
                    "between episodes. Leave the step or variants out."
                )


def _variant_seed(number: int, variant: int) -> int:
    """Seed of a variant of an image."""
    return int(np.random.SeedSequence([number, variant]).generate_state(1)[0])


def _build(step: Mapping[str, Any] | str) -> Any:
    path = step if isinstance(step, str) else str(step.get("class_path", ""))
    arguments = {} if isinstance(step, str) else dict(step.get("init_args") or {})
    try:
        transform = class_paths.load(path, "albumentations")
        if not (inspect.isclass(transform) and hasattr(transform, "available_keys")):
            raise AttributeError(path)
        if "fill_mask" in inspect.signature(transform.__init__).parameters:
            arguments.setdefault("fill_mask", IGNORE)
        with warnings.catch_warnings():
            # albumentations only warns of an unknown argument and ignores it.
            warnings.filterwarnings("error", message=".*not valid for transform")
            return transform(**arguments)
    except (ImportError, AttributeError) as error:
        raise FssegError(f"`data.images.augment` {path!r}: albumentations has no such transform.") from error
    except (TypeError, ValueError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise FssegError(f"`data.images.augment` {path} with {arguments}: {reason}") from error
