"""Few-shot segmentation of a user's images. Each image is encoded once, and masks of supports can be replaced."""

import threading
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from jaxtyping import Float
from torch import Tensor

from fsseg.episode import Mask
from fsseg.errors import FssegError
from fsseg.methods.base import Method
from fsseg.segmenter.default_method import SIZE, method_of
from fsseg.segmenter.feature_cache import ImageFeatures
from fsseg.segmenter.inputs import Given, as_image, as_images, as_list, as_names, naming, relabelled
from fsseg.segmenter.mask_inputs import GivenMask, as_masks, mask_of
from fsseg.segmenter.prediction import Prediction
from fsseg.segmenter.query_parts import Threshold, predict_part
from fsseg.segmenter.state import SegmenterState, changed, labels_of, without
from fsseg.segmenter.support_state import Support
from fsseg.segmenter.tiling import Canvas, Fit

Device = str | torch.device | None
_SIZE = 417  # pixels of a side (PANet, section 4.1)
_SHOWN = 1024  # pixels of the longer side in a notebook


class Segmenter:
    """Adapts a method to classes from images with masks, and segments other images. Thread-safe.

    An image passes the encoder once. Another mask for a support, or a cached query, needs no pass.

    Args:
        method: method, which is put into eval mode; or an encoder by name (docs/encoders.md) for the kernel density
            ratio. None: that of `fsseg predict` without a checkpoint, on DINOv2's ViT-S, which the first use downloads.
        size: pixels of a side of the method's input, by default 417 (PANet, section 4.1), or 420 without a method.
        fit: ``square``: resize both sides, as in training and tests; ``long_side``: resize the longer side and preserve
            proportions; ``tile``: cut images into overlapping squares without resizing.
        device: device, e.g. ``cuda:0``; by default a GPU, if there is one.
        refine: let masks follow the borders of the image, remove specks below a feature cell, and tell several classes
            apart by region. None: if no method is given, as the commands do.
        thorough: segment a query in four views, also mirrored and larger.
        weights: file of the weights of an encoder by name, without a download.

    Attributes:
        method: method in eval mode on its device.
        canvas: size and fit; ``refine`` and ``thorough`` can be changed at any time.
        features: feature maps of the latest images.

    Raises:
        FssegError: the size is below 32, the fit or the encoder is unknown, weights cannot be read or downloaded, or
            torch lacks the device.
    """

    def __init__(
        self,
        method: Method | str | None = None,
        size: int | None = None,
        fit: Fit = "square",
        device: Device = None,
        refine: bool | None = None,
        thorough: bool = False,
        weights: str | PathLike[str] | None = None,
    ) -> None:
        own = isinstance(method, Method)
        self.canvas = Canvas((_SIZE if own else SIZE) if size is None else size, fit).checked()
        self.refine, self.thorough = not own if refine is None else refine, thorough
        try:
            self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.method = method_of(method, weights).to(self.device).eval()
        # torch raises these for an unknown or missing device.
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise FssegError(f"device {device}: torch has no such device here. Give cpu, or omit device.") from error
        self.features = ImageFeatures(self.method, self.canvas, self.device)
        self._state, self._next = SegmenterState(), 1
        self._changing = threading.Lock()

    @classmethod
    def load(cls, path: str | PathLike[str], device: Device = None) -> "Segmenter":
        """A segmenter without classes from a checkpoint of `fsseg fit`, or one from a file of `save`.

        Raises:
            FssegError: the file is neither, or is broken.
        """
        from fsseg.segmenter.persistence import load

        return load(Path(path), device)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the method, the classes and the features of the supports to a file for `load`.

        Raises:
            FssegError: there are no classes, or the file cannot be written.
        """
        from fsseg.segmenter.persistence import save

        save(self, Path(path))

    @property
    def known(self) -> tuple[SegmenterState, int]:
        """The state and the number of the next support, for files."""
        return self._state, self._next

    @known.setter
    def known(self, known: tuple[SegmenterState, int]) -> None:
        with self._changing:
            self._state, self._next = known

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes in the order of their labels, from 1."""
        return self._state.names

    def learn(
        self,
        images: Given | Sequence[Given],
        masks: GivenMask | Sequence[GivenMask],
        classes: str | Sequence[str] = "object",
    ) -> list[int]:
        """Adapt to images and their masks. Supports of a known class are added to those it has.

        Args:
            images: one or a list: files, PIL images, arrays ``H W 3`` or tensors ``3 H W``.
            masks: one per image: ``H W``, ``H W 1`` or ``1 H W``, files (also annotations), boxes ``(left, top, right,
                bottom)``, or dicts ``{"boxes": ..., "points": ...}`` like a JSON (docs/3-data.md). With one class,
                pixels that are not 0 belong to it; with several, 1 is the first class. 255 is unlabelled (scribbles)
                unless the mask is black and white.
            classes: one or several names.

        Returns:
            Number of each support, for `repaint` and `forget`.

        Raises:
            FssegError: an image or a mask is invalid, their sizes differ, or a mask marks no pixel.
        """
        names = as_names(classes)
        inputs = as_images(images)
        labels = as_masks(inputs, as_list(images, 4), masks, names)
        encoded = [self.features.support(image) for image in inputs]
        with self._changing:
            known = [*self._state.classes, *(name for name in names if name not in self._state.classes)]
            table = {label: 1 + known.index(name) for label, name in enumerate(names, 1)}
            return self._add(known, encoded, [relabelled(mask, table) for mask in labels])

    def reject(
        self, images: Given | Sequence[Given], masks: GivenMask | Sequence[GivenMask] | None = None
    ) -> list[int]:
        """Adapt to images, or to masked regions of images, that show none of the classes.

        Each image is segmented like a separate class, whose pixels become background in a prediction.

        Args:
            images: see `learn`.
            masks: one per image, of the region that is none of the classes; None for full images.

        Returns:
            Number of each support.

        Raises:
            FssegError: see `learn`.
        """
        inputs = as_images(images)
        full = [np.ones(image.shape[:2], dtype=np.bool_) for image in inputs]
        labels = as_masks(inputs, as_list(images, 4), full if masks is None else masks, ())
        encoded = [self.features.support(image) for image in inputs]
        with self._changing:
            first = len(self._state.classes) + 1
            marked = [np.where(mask == 1, np.uint8(first + i), mask) for i, mask in enumerate(labels)]
            return self._add([*self._state.classes, *[None] * len(inputs)], encoded, marked)

    def repaint(self, number: int, mask: GivenMask) -> None:
        """Replace the mask of a support, without encoding it again.

        Args:
            number: number from `learn`.
            mask: mask of the support's class, or labels in the order of `classes` if the support shows several.

        Raises:
            FssegError: no support has this number, the mask is invalid, or a class would have no support.
        """
        with self._changing, torch.inference_mode():
            state = self._state
            support = state.support(number)
            before = labels_of([support])
            table = {1: min(before)} if len(before) == 1 else dict(enumerate(state.found, 1))
            names = [state.classes[label - 1] or "" for label in table.values()]
            with naming("mask", mask):
                labels = relabelled(mask_of(mask, None, support.size, names), table)
            new = support._replace(mask=self.features.mask(labels))
            self._state = changed(self.method, state, state.classes, {**state.supports, number: new})

    def forget(self, number: int) -> None:
        """Remove a support, and its class if the class has no other support.

        Raises:
            FssegError: no support has this number.
        """
        with self._changing, torch.inference_mode():
            self._state = without(self.method, self._state, number)

    def segment(self, image: Given, threshold: Threshold = 0.0) -> npt.NDArray[np.uint8]:
        """The mask of an image: ``H W`` uint8, 0 background, then the classes in the order of `classes`.

        Args:
            image: a file, a PIL image, an array ``H W 3`` or a tensor ``3 H W``.
            threshold: smallest score of a class, see `Prediction`; classes below become background. 0 admits all;
                ``auto`` takes for each class the smallest score of its supports, each segmented by the others.

        Raises:
            FssegError: the image is invalid, or there are no classes.
        """
        return self.predict(image, threshold, probability=False, score=threshold != 0).mask

    @torch.inference_mode()
    def predict(
        self, image: Given, threshold: Threshold = 0.0, probability: bool = True, score: bool = True
    ) -> Prediction:
        """Mask, probabilities and scores of an image.

        Args:
            image: see `segment`.
            threshold: see `segment`.
            probability: compute probabilities, which need memory.
            score: compute scores. The first call calibrates them on the supports.

        Raises:
            FssegError: see `segment`.
        """
        state = self._state
        with naming("image", image):
            pixels = as_image(image)
        if not state.names:
            raise FssegError("there are no classes: call learn(images, masks) before segment(image).")
        is_known = threshold == "auto" or (isinstance(threshold, int | float) and 0 <= threshold <= 1)
        if not is_known or (threshold != 0 and not score):
            raise FssegError(f"`threshold` {threshold}: a score of 0..1 or auto is needed, and score=True.")
        height, width = pixels.shape[:2]
        mask = np.zeros((height, width), dtype=np.uint8)
        maps = np.zeros((1 + len(state.names), height, width), dtype=np.float32) if probability else None
        scores: dict[str, float | None] = dict.fromkeys(state.names)
        for window in self.canvas.windows(height, width):
            part = predict_part(self, state, pixels, window, threshold, score)
            place = (window.own_rows, window.own_columns)
            mask[place] = part.label.cpu().numpy()
            if maps is not None:
                maps[(slice(None), *place)] = part.probability.cpu().numpy()
            for name, value in part.score.items():
                if value is not None:
                    scores[name] = max(value, scores[name] or 0.0)
        return Prediction(mask, maps, scores)

    def show(self, image: Given, threshold: Threshold = 0.0) -> PIL.Image.Image:
        """An image with its predicted classes outlined, and a legend; a notebook displays it.

        Args:
            image: see `segment`; a large one is drawn smaller.
            threshold: see `segment`.

        Raises:
            FssegError: see `segment`.
        """
        from fsseg.plots.overlays import draw_prediction

        found = self.predict(image, threshold, probability=False)
        return draw_prediction(as_image(image), found.mask, found.words, _SHOWN)

    @torch.inference_mode()
    def feature(self, image: Given) -> tuple[Float[Tensor, "_ _ _"], ...]:
        """Feature maps of an image as a query without tiles, from the cache if possible."""
        return self.features.query(as_image(image))

    @torch.inference_mode()
    def _add(
        self,
        classes: Sequence[str | None],
        encoded: Sequence[Support],
        labels: Sequence[Mask],
    ) -> list[int]:
        """Add supports with labels of the new `SegmenterState.classes`. The caller holds the lock."""
        numbers = list(range(self._next, self._next + len(encoded)))
        added = {
            number: support._replace(mask=self.features.mask(mask))
            for number, support, mask in zip(numbers, encoded, labels, strict=True)
        }
        if not all(labels_of([support]) for support in added.values()):
            size = self.canvas.size
            raise FssegError(f"what the mask marks is too small to be left at {size} pixels: give a larger size.")
        self._state = changed(self.method, self._state, classes, {**self._state.supports, **added})
        self._next += len(encoded)
        return numbers
