"""A method that learns from a person's pictures and segments others: supports are encoded once and can be repainted."""

import threading
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from fsseg.datasets.base import Image, Mask
from fsseg.errors import FssegError
from fsseg.methods.base import Method
from fsseg.segmenter.feature_cache import ImageFeatures
from fsseg.segmenter.inputs import Given, as_image, as_labels, as_list, as_masks, as_names, relabelled
from fsseg.segmenter.presence_score import similarity
from fsseg.segmenter.state import SegmenterState, changed, labels_of, without
from fsseg.segmenter.support_state import Support, logits
from fsseg.segmenter.tiling import Canvas, Fit, Window

Device = str | torch.device | None


class Prediction(NamedTuple):
    """What was found in a picture.

    Attributes:
        mask: ``H W`` uint8, 0 background, then the classes in their order.
        probability: ``1+N H W`` float32, of background, with all that was rejected, and classes; None where it was not
            asked for. The mask is the largest of them all, each rejected picture by itself.
        score: of each class, 0..1: above 0.5 what was found is more like the supports than like what they are not.
            None where nothing can be said: the class has one support, or was not found.
    """

    mask: npt.NDArray[np.uint8]
    probability: npt.NDArray[np.float32] | None
    score: dict[str, float | None]


class _Part(NamedTuple):
    """What was found in a part of a picture, see `Prediction`."""

    label: UInt8[Tensor, "h w"]
    probability: Float[Tensor, "L h w"]
    score: dict[str, float | None]


class Segmenter:
    """Learns classes from pictures with masks and finds them in others, with any method of fsseg; for several threads.

    A picture passes the encoder once: another mask for a support, or a query that was seen before, costs no pass.

    Args:
        method: is put into eval mode.
        size: pixels of a side at which pictures are shown to the method (PANet's are trained at 417).
        fit: ``square``: all are resized to that, as in training and tests; ``long_side``: proportions are kept;
            ``tile``: pictures keep their size and are cut into overlapping squares.
        device: e.g. ``cuda:0``; a GPU where there is one.

    Attributes:
        method: in eval mode, on its device.
        canvas: size and fit.

    Raises:
        FssegError: a size below 32, another fit, or no such device.
    """

    def __init__(self, method: Method, size: int = 417, fit: Fit = "square", device: Device = None) -> None:
        self.canvas = Canvas(size, fit).checked()
        try:
            self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            self.method = method.to(self.device).eval()
        # Torch's, of a name that is none, or of what is not there.
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            raise FssegError(f"device {device}: torch has no such device here. Give cpu, or leave it out.") from error
        self._features = ImageFeatures(self.method, self.canvas, self.device)
        self._state, self._next = SegmenterState(), 1
        self._changing = threading.Lock()

    @classmethod
    def load(cls, path: str | PathLike[str], device: Device = None) -> "Segmenter":
        """A segmenter from a checkpoint of `fsseg fit`, which has learnt no class yet, or from what `save` wrote.

        Raises:
            FssegError: it is neither, or broken.
        """
        from fsseg.segmenter.persistence import load

        return load(Path(path), device)

    def save(self, path: str | PathLike[str]) -> None:
        """Keep the method and all that was learnt, prototypes and supports' features, in a file for `load`.

        Raises:
            FssegError: nothing was learnt, or the file cannot be written.
        """
        from fsseg.segmenter.persistence import save

        save(self, Path(path))

    @property
    def known(self) -> tuple[SegmenterState, int]:
        """All that was learnt, and the number of the next support; for files."""
        return self._state, self._next

    @known.setter
    def known(self, known: tuple[SegmenterState, int]) -> None:
        with self._changing:
            self._state, self._next = known

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels in a mask, from 1 on."""
        return self._state.names

    def learn(
        self,
        images: Given | Sequence[Given],
        masks: Given | Sequence[Given],
        classes: str | Sequence[str] = "object",
    ) -> list[int]:
        """Learn from pictures and their masks; more of a known class add to what is known.

        Args:
            images: one or a list: files, PIL pictures, arrays ``H W 3`` or tensors ``3 H W``.
            masks: one for each image, ``H W``. With one class all that is not 0 is it; with several, 1 is the first.
                255 is where nothing is said, e.g. between scribbles, unless the mask is black and white.
            classes: one name, or several.

        Returns:
            A number for each picture, for `repaint` and `forget`.

        Raises:
            FssegError: an image or a mask that is none, of another size, or that marks nothing.
        """
        names = as_names(classes)
        pictures = [as_image(picture) for picture in as_list(images, 4)]
        labels = as_masks(pictures, as_list(masks, 3), len(names))
        encoded = [self._features.support(picture) for picture in pictures]
        with self._changing:
            known = [*self._state.classes, *(name for name in names if name not in self._state.classes)]
            table = {label: 1 + known.index(name) for label, name in enumerate(names, 1)}
            return self._add(known, encoded, [relabelled(mask, table) for mask in labels])

    def reject(self, images: Given | Sequence[Given], masks: Given | Sequence[Given] | None = None) -> list[int]:
        """Learn what is none of the classes: whole pictures, or what masks mark in them.

        Each is looked for like a class of its own, and shown as background where it is found.

        Returns:
            A number for each picture.

        Raises:
            FssegError: see `learn`.
        """
        pictures = [as_image(picture) for picture in as_list(images, 4)]
        whole: list[Given] = [np.ones(picture.shape[:2], dtype=np.bool_) for picture in pictures]
        labels = as_masks(pictures, whole if masks is None else as_list(masks, 3), 1)
        encoded = [self._features.support(picture) for picture in pictures]
        with self._changing:
            first = len(self._state.classes) + 1
            marked = [np.where(mask == 1, np.uint8(first + i), mask) for i, mask in enumerate(labels)]
            return self._add([*self._state.classes, *[None] * len(pictures)], encoded, marked)

    def repaint(self, number: int, mask: Given) -> None:
        """Give a support another mask, without encoding it again.

        Args:
            number: that `learn` gave.
            mask: of the class that the support shows; of several, labels in the order of `classes`.

        Raises:
            FssegError: no such support, no mask of its size, or a class would be without support.
        """
        with self._changing, torch.inference_mode():
            state = self._state
            support = state.support(number)
            before = labels_of([support])
            table = {1: before.pop()} if len(before) == 1 else dict(enumerate(state.found, 1))
            labels = relabelled(as_labels(mask, len(table), support.size), table)
            new = support._replace(mask=self._features.mask(labels))
            self._state = changed(self.method, state, state.classes, {**state.supports, number: new})

    def forget(self, number: int) -> None:
        """Forget a support, and its class where it was the last of it.

        Raises:
            FssegError: no such support.
        """
        with self._changing, torch.inference_mode():
            self._state = without(self.method, self._state, number)

    def segment(self, image: Given, threshold: float = 0.0) -> npt.NDArray[np.uint8]:
        """The mask of a picture: ``H W`` uint8, 0 background, then the classes in the order of `classes`.

        Args:
            image: a file, a PIL picture, an array ``H W 3`` or a tensor ``3 H W``.
            threshold: classes whose score is below are left out, see `Prediction`; 0 leaves none out.

        Raises:
            FssegError: no image, or nothing was learnt.
        """
        return self.predict(image, threshold, probability=False, score=threshold > 0).mask

    @torch.inference_mode()
    def predict(self, image: Given, threshold: float = 0.0, probability: bool = True, score: bool = True) -> Prediction:
        """Mask, probabilities and scores of a picture.

        Args:
            image: see `segment`.
            threshold: see `segment`.
            probability: give probabilities, which are large.
            score: give scores; for the first, supports are segmented by each other.

        Raises:
            FssegError: see `segment`.
        """
        state, picture = self._state, as_image(image)
        if not state.names:
            raise FssegError("nothing was learnt yet: learn(images, masks) comes before segment(image).")
        if not (isinstance(threshold, int | float) and 0 <= threshold <= 1) or (threshold > 0 and not score):
            raise FssegError(f"threshold {threshold}: a score of 0..1 is needed, and score=True.")
        height, width = picture.shape[:2]
        mask = np.zeros((height, width), dtype=np.uint8)
        maps = np.zeros((1 + len(state.names), height, width), dtype=np.float32) if probability else None
        scores: dict[str, float | None] = dict.fromkeys(state.names)
        for window in self.canvas.windows(height, width):
            part = self._part(state, picture, window, threshold, score)
            place = (window.own_rows, window.own_columns)
            mask[place] = part.label.cpu().numpy()
            if maps is not None:
                maps[(slice(None), *place)] = part.probability.cpu().numpy()
            for name, value in part.score.items():
                if value is not None:
                    scores[name] = max(value, scores[name] or 0.0)
        return Prediction(mask, maps, scores)

    @torch.inference_mode()
    def feature(self, image: Given) -> tuple[Float[Tensor, "_ _ _"], ...]:
        """Feature maps of a whole image, shown as a query; cached ones, if it was segmented."""
        return self._features.query(as_image(image))

    def _part(self, state: SegmenterState, picture: Image, window: Window, threshold: float, score: bool) -> _Part:
        """What is found in a part of a picture; what was rejected is background."""
        part = picture[window.rows, window.columns]
        feature = self._features.query(part)
        found = logits(self.method, state.states, feature, (part.shape[0], part.shape[1]))
        if not found.isfinite().all():
            raise FssegError("the logits are not finite: the checkpoint's training has diverged. Take another one.")
        scores = self._scores(state, feature, found.max(0).indices) if score else {}
        for label, name in state.found.items():
            value = scores.get(name)
            if value is not None and value < threshold:
                found[label] = -torch.inf
        own, classes = window.own(found), torch.tensor(list(state.found), device=found.device)
        probability = own.softmax(0)[classes]
        background = 1 - probability.sum(0, keepdim=True)
        table = torch.zeros(len(found), dtype=torch.uint8, device=found.device)
        table[classes] = torch.arange(1, len(classes) + 1, dtype=torch.uint8, device=found.device)
        return _Part(table[own.max(0).indices], torch.cat([background, probability]), scores)

    def _scores(
        self, state: SegmenterState, feature: tuple[Tensor, ...], best: Int[Tensor, "H W"]
    ) -> dict[str, float | None]:
        """Of each class that can be found."""
        scores: dict[str, float | None] = {}
        for label, name in state.found.items():
            calibration, region = state.calibration(self.method, label), best == label
            scores[name] = None
            if calibration is not None and bool(region.any()):
                scores[name] = calibration.score(similarity(feature, region, calibration.shown))
        return scores

    @torch.inference_mode()
    def _add(
        self,
        classes: Sequence[str | None],
        encoded: Sequence[Support],
        labels: Sequence[Mask],
    ) -> list[int]:
        """Take supports up, with labels as `SegmenterState.classes` will have them; the lock is held."""
        numbers = list(range(self._next, self._next + len(encoded)))
        added = {
            number: support._replace(mask=self._features.mask(mask))
            for number, support, mask in zip(numbers, encoded, labels, strict=True)
        }
        if not all(labels_of([support]) for support in added.values()):
            size = self.canvas.size
            raise FssegError(f"what the mask marks is too small to be left at {size} pixels: give a larger size.")
        self._state = changed(self.method, self._state, classes, {**self._state.supports, **added})
        self._next += len(encoded)
        return numbers
