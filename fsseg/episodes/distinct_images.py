"""Distinct images of episodes, augmented and resized as in the episodes, so that each is encoded once."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from fsseg.datasets.base import Dataset
from fsseg.episode import Batch
from fsseg.episodes.loading import Episodes, stack, start_worker
from fsseg.episodes.resizing import View
from fsseg.episodes.sampler import Key, Numbers
from fsseg.episodes.transforms import Augmentation
from fsseg.episodes.unreadable import LEAVE_OUT
from fsseg.errors import UnreadableError


class Images(TorchDataset[Tensor]):
    """Images ``3 H W`` at the view's size.

    Args:
        dataset: opened data set.
        view: sizes of images.
        keys: ``number * variants + variant`` of each image.
        augmentation: gives the variants of an image, finitely many.
    """

    def __init__(
        self, dataset: Dataset, view: View, keys: Sequence[int], augmentation: Augmentation | None = None
    ) -> None:
        self.dataset, self.view, self.keys = dataset, view, keys
        self.augmentation = augmentation or Augmentation([])

    def __getitem__(self, place: int) -> Tensor:
        """One image.

        Raises:
            UnreadableError: the image or its mask cannot be read.
        """
        try:
            return self._shown(*divmod(self.keys[place], self.augmentation.variants or 1))
        except UnreadableError as error:
            raise UnreadableError(f"{error} {LEAVE_OUT}") from error

    def __len__(self) -> int:
        return len(self.keys)

    def _shown(self, number: int, variant: int) -> Tensor:
        """A variant of an image at the view's size; the image's size is compared with the mask's first."""
        image = self.dataset.image(number)
        self.dataset.refuse_other_size(number, image, self.dataset.episode_mask(number, ()))
        return stack([self.view.image(self.augmentation.image(image, number, variant))], 0)[0]


def with_pixels(batch: Batch, dataset: Dataset, view: View) -> Batch:
    """A batch with its images, which are loaded if the batch has none."""
    if batch.query_image.shape[-3]:
        return batch
    shown = [Images(dataset, view, numbers.flatten().tolist()) for numbers in (batch.support_id, batch.query_id)]
    support, query = (torch.stack([images[place] for place in range(len(images))]) for images in shown)
    return batch._replace(
        support_image=support.unflatten(0, batch.support_id.shape), query_image=query.unflatten(0, batch.query_id.shape)
    )


def shown(source: Episodes, keys: Iterable[Key]) -> tuple[list[int], int]:
    """Distinct image numbers of episodes, ascending, and the number of their uses."""
    seen = [number for key in keys for number in source.episode(key).images]
    return sorted(set(seen)), len(seen)


def all_keys(images: Mapping[int, Numbers], variants: int) -> list[int]:
    """Keys of all variants of the images of all classes, see `Images`, ascending."""
    numbers = sorted({int(number) for found in images.values() for number in found})
    return [number * variants + variant for number in numbers for variant in range(variants)]


def image_loader(images: Images, batch_size: int, workers: int) -> DataLoader[Tensor]:
    """Batches of images ``M 3 H W``, in order.

    Args:
        images: images to load.
        batch_size: images per batch.
        workers: worker processes; 0 loads in this process.
    """
    return DataLoader(
        images,
        batch_size=batch_size,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),
        worker_init_fn=start_worker if workers else None,
    )
