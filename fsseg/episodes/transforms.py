"""Resizing as in the official codes, and training augmentation."""

import importlib
import inspect
import os
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import PIL.Image

from fsseg.datasets.base import Image, Mask
from fsseg.episode import IGNORE
from fsseg.errors import FssegError


def resize_image(image: Image, size: tuple[int, int]) -> Image:
    """Resize to ``(height, width)`` by PIL's bilinear filter, which averages when it shrinks (PANet transforms.py)."""
    return np.asarray(PIL.Image.fromarray(image).resize(size[::-1], PIL.Image.Resampling.BILINEAR))


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize to ``(height, width)`` by PIL's NEAREST, which samples at pixel centres."""
    return np.asarray(PIL.Image.fromarray(mask).resize(size[::-1], PIL.Image.Resampling.NEAREST))


class Augmentation:
    """Albumentations for an image and its mask, deterministic for a seed.

    Args:
        steps: transforms as ``{class_path: albumentations.HorizontalFlip, init_args: {p: 0.5}}``, or as class paths
            alone; ``albumentations.`` may be left out. Pixels that a transform uncovers become 255 in the mask, unless
            ``fill_mask`` is given.

    Raises:
        FssegError: a transform is unknown, or refuses its arguments.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any] | str]) -> None:
        self._chain = None
        if steps:
            # Otherwise albumentations asks a server for its newest version at every import.
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
            import albumentations

            self._chain = albumentations.Compose([_build(step) for step in steps])

    def __call__(self, image: Image, mask: Mask, seed: int) -> tuple[Image, Mask]:
        """Augment an image and its mask; the seed decides everything.

        Raises:
            FssegError: a transform fails on this image, or its result is no uint8 image.
        """
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
                f"--data.images.augment fails on an image of {size}: {' '.join(str(error).split())}"
            ) from error
        if getattr(result["image"], "dtype", None) != np.uint8:
            raise FssegError(
                f"--data.images.augment makes {type(result['image']).__name__} of {result['image'].dtype} where "
                "uint8 images of 0..255 are needed: leave out Normalize and ToTensorV2, the encoder normalises."
            )
        return result["image"], result["mask"]


def _build(step: Mapping[str, Any] | str) -> Any:
    path = step if isinstance(step, str) else str(step.get("class_path", ""))
    arguments = {} if isinstance(step, str) else dict(step.get("init_args") or {})
    module, _, name = path.rpartition(".")
    try:
        transform = getattr(importlib.import_module(module or "albumentations"), name)
        if not (inspect.isclass(transform) and hasattr(transform, "available_keys")):
            raise AttributeError(path)
        if "fill_mask" in inspect.signature(transform.__init__).parameters:
            arguments.setdefault("fill_mask", IGNORE)
        with warnings.catch_warnings():
            # albumentations only warns of an unknown argument and ignores it.
            warnings.filterwarnings("error", message=".*not valid for transform")
            return transform(**arguments)
    except (ImportError, AttributeError) as error:
        raise FssegError(f"--data.images.augment {path!r}: albumentations has no such transform.") from error
    except (TypeError, ValueError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise FssegError(f"--data.images.augment {path} with {arguments}: {reason}") from error
