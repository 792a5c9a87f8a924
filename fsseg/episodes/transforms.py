"""Resizing as the official codes do it, and training augmentation."""

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
    picture = PIL.Image.fromarray(image).resize(size[::-1], PIL.Image.Resampling.BILINEAR)
    return np.asarray(picture)


def resize_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resize to ``(height, width)`` by PIL's NEAREST, which samples at pixel centres."""
    return np.asarray(PIL.Image.fromarray(mask).resize(size[::-1], PIL.Image.Resampling.NEAREST))


class Augmentation:
    """A chain of albumentations for image and mask together, deterministic per call.

    Args:
        steps: transforms as ``{class_path: albumentations.HorizontalFlip, init_args: {p: 0.5}}``, or bare class
            paths; ``albumentations.`` may be left out. Pixels that a transform uncovers become 255 in the mask, unless
            its ``fill_mask`` says otherwise.

    Raises:
        FssegError: no such transform, or arguments it does not take.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any] | str]) -> None:
        self._chain = None
        if steps:
            # Without this albumentations asks a server for its newest version at every import.
            os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
            import albumentations

            self._chain = albumentations.Compose([_build(step) for step in steps])

    def __call__(self, image: Image, mask: Mask, seed: int) -> tuple[Image, Mask]:
        """Augment an image and its mask; the seed decides everything.

        Raises:
            FssegError: a transform fails on this image, or makes something else of it than an image of 0..255.
        """
        if self._chain is None:
            return image, mask
        # One generator, which the steps draw from in turn. Seeded by the chain each would have its own of the same
        # seed, so that e.g. a vertical flip would come along with every horizontal one.
        generators = np.random.default_rng(seed), random.Random(seed)
        for step in self._chain.transforms:
            step.set_random_state(*generators)
        try:
            result = self._chain(image=image, mask=mask)
        except Exception as error:  # albumentations has exceptions of its own, e.g. for crops larger than the image
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
            # albumentations only warns of an argument that it doesn't know, and goes on without it.
            warnings.filterwarnings("error", message=".*not valid for transform")
            return transform(**arguments)
    except (ImportError, AttributeError) as error:
        raise FssegError(f"--data.images.augment {path!r}: albumentations has no such transform.") from error
    except (TypeError, ValueError, UserWarning) as error:
        reason = " ".join(str(error).split())
        raise FssegError(f"--data.images.augment {path} with {arguments}: {reason}") from error
