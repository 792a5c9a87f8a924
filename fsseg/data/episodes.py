"""From an episode's integers to its tensors."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from fsseg.data.base import Dataset
from fsseg.data.sampler import Key
from fsseg.data.transforms import Augmentation, resize_image, resize_mask
from fsseg.episode import Batch, Episode, relabel
from fsseg.errors import FssegError


class Episodes(TorchDataset[Batch]):
    """Loads episodes: decode, augment, resize, relabel.

    Args:
        dataset: opened data set.
        episode: the episode of a key.
        size: side of the square that images and masks are resized to, aspect ratio not kept (PANet: 417).
        augmentation: applied to each image of the episode on its own.
        seed: of the augmentation, together with run, number and position within the episode.
    """

    def __init__(
        self,
        dataset: Dataset,
        episode: Callable[[Key], Episode],
        size: int,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.dataset, self.episode, self.size = dataset, episode, (size, size)
        self.augmentation, self.seed = augmentation, seed

    def __getitem__(self, key: Key) -> Batch:
        """One episode as a `Batch` without its first dimension."""
        episode = self.episode(key)
        seeds = np.random.SeedSequence([self.seed, key.run, key.number]).generate_state(len(episode.images)) >> 1
        pairs = [self._load(number, episode, int(seed)) for number, seed in zip(episode.images, seeds, strict=True)]
        image = torch.stack([pair[0] for pair in pairs])
        mask = torch.stack([pair[1] for pair in pairs])
        way, shot = len(episode.support), len(episode.support[0])
        supports = way * shot
        return Batch(
            support_image=image[:supports].unflatten(0, (way, shot)),
            support_mask=mask[:supports].unflatten(0, (way, shot)),
            query_image=image[supports:],
            query_mask=mask[supports:],
            classes=torch.tensor(episode.classes),
            support_id=torch.tensor(episode.support),
            query_id=torch.tensor(episode.query),
            run=torch.tensor(key.run),
            number=torch.tensor(-1 if key.padding else key.number),
        )

    def _load(self, number: int, episode: Episode, seed: int) -> tuple[Tensor, Tensor]:
        image, mask = self.dataset.image(number), self.dataset.mask(number)
        if image.shape[:2] != mask.shape:
            raise FssegError(
                f"image {self.dataset.image_name(number)} is {image.shape[1]}x{image.shape[0]}, its mask "
                f"{mask.shape[1]}x{mask.shape[0]}. Replace one."
            )
        image, mask = self.augmentation(image, mask, seed)
        image = resize_image(image, self.size)
        mask = relabel(resize_mask(mask, self.size), episode.classes)
        return torch.from_numpy(image.copy()).permute(2, 0, 1).contiguous(), torch.from_numpy(mask)
