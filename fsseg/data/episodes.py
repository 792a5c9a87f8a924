"""From an episode's integers to its tensors."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from fsseg.data.base import Dataset, Image, Mask
from fsseg.data.sampler import Key
from fsseg.data.transforms import Augmentation, resize_image, resize_mask
from fsseg.episode import IGNORE, Batch, Episode
from fsseg.errors import FssegError

_MEAN_COLOUR = (124, 116, 104)  # of ImageNet, so that padding is about zero once the encoder has normalised it


class Episodes(TorchDataset[Batch]):
    """Loads episodes: decode, relabel, augment, resize.

    Without a size, images keep their own. Supports of an episode that differ in size are then padded right and bottom
    to the largest height and width, with the mean colour and label 255: exact at one shot, an approximation at more,
    where features near the padding see it. So are queries, where an episode has more than one.

    Args:
        dataset: opened data set.
        episode: the episode of a key.
        size: side of the square that images and masks are resized to, aspect ratio not kept (PANet: 417); None for
            the images' own sizes.
        augmentation: applied to each image of the episode on its own.
        seed: of the augmentation, together with run, number and position within the episode.
        original_truth: leave the query's mask at its own size, whatever the images' size is; for one query.
    """

    def __init__(
        self,
        dataset: Dataset,
        episode: Callable[[Key], Episode],
        size: int | None,
        augmentation: Augmentation,
        seed: int,
        original_truth: bool = False,
    ) -> None:
        self.dataset, self.episode, self.augmentation, self.seed = dataset, episode, augmentation, seed
        self.size = None if size is None else (size, size)
        self.truth_size = None if original_truth else self.size

    def __getitem__(self, key: Key) -> Batch:
        """One episode as a `Batch` without its first dimension."""
        episode = self.episode(key)
        seeds = np.random.SeedSequence([self.seed, key.run, key.number]).generate_state(len(episode.images)) >> 1
        # Of each image the way that it was drawn for, and its mask's size.
        roles = [(n, self.size) for n, shots in enumerate(episode.support) for _ in shots]
        roles += [(n, self.truth_size) for n in episode.query_way]
        pairs = [
            self._load(number, episode.classes, *role, int(seed))
            for number, role, seed in zip(episode.images, roles, seeds, strict=True)
        ]
        way, shot = len(episode.support), len(episode.support[0])
        support, query = pairs[: way * shot], pairs[way * shot :]
        return Batch(
            support_image=_stack([image for image, _ in support], _MEAN_COLOUR).unflatten(0, (way, shot)),
            support_mask=_stack([mask for _, mask in support], IGNORE).unflatten(0, (way, shot)),
            query_image=_stack([image for image, _ in query], _MEAN_COLOUR),
            query_mask=_stack([mask for _, mask in query], IGNORE),
            classes=torch.tensor(episode.classes),
            support_id=torch.tensor(episode.support),
            query_id=torch.tensor(episode.query),
            run=torch.tensor(key.run),
            number=torch.tensor(-1 if key.padding else key.number),
        )

    def _load(
        self, number: int, classes: Sequence[int], own: int, mask_size: tuple[int, int] | None, seed: int
    ) -> tuple[Image, Mask]:
        image, mask = self.dataset.image(number), self.dataset.episode_mask(number, classes, own)
        if image.shape[:2] != mask.shape:
            raise FssegError(
                f"image {self.dataset.image_name(number)} is {image.shape[1]}x{image.shape[0]}, its mask "
                f"{mask.shape[1]}x{mask.shape[0]}. Replace one."
            )
        image, mask = self.augmentation(image, mask, seed)
        image = resize_image(image, self.size) if self.size else image
        return image, resize_mask(mask, mask_size) if mask_size else mask


def _stack(pictures: Sequence[npt.NDArray[np.uint8]], fill: int | tuple[int, int, int]) -> Tensor:
    """Images ``M 3 H W`` or masks ``M H W``, filled right and bottom to the largest height and width."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    stack = np.empty((len(pictures), height, width, *pictures[0].shape[2:]), dtype=np.uint8)
    stack[:] = fill
    for place, picture in zip(stack, pictures, strict=True):
        place[: picture.shape[0], : picture.shape[1]] = picture
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(stack, 3, 1)) if stack.ndim == 4 else stack)
