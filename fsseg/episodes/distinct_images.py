"""Distinct images of test episodes, resized as in the episodes, so that each is encoded once."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from fsseg.datasets.base import Dataset
from fsseg.episode import Batch
from fsseg.episodes.loading import Episodes, stack, start_worker
from fsseg.episodes.resizing import View
from fsseg.episodes.sampler import EpisodeOrder
from fsseg.episodes.unreadable import LEAVE_OUT
from fsseg.errors import UnreadableError


class Images(TorchDataset[Tensor]):
    """Images ``3 H W`` of the given numbers, at the view's size."""

    def __init__(self, dataset: Dataset, view: View, numbers: Sequence[int]) -> None:
        self.dataset, self.view, self.numbers = dataset, view, numbers

    def __getitem__(self, place: int) -> Tensor:
        """One image.

        Raises:
            UnreadableError: the image or its mask cannot be read.
        """
        try:
            return shown_image(self.dataset, self.view, self.numbers[place])
        except UnreadableError as error:
            raise UnreadableError(f"{error} {LEAVE_OUT}") from error

    def __len__(self) -> int:
        return len(self.numbers)


def shown_image(dataset: Dataset, view: View, number: int) -> Tensor:
    """An image ``3 H W`` at the view's size; its size is compared with the mask's first."""
    image = dataset.image(number)
    dataset.refuse_other_size(number, image, dataset.episode_mask(number, ()))
    return stack([view.image(image)], 0)[0]


def with_pixels(batch: Batch, dataset: Dataset, view: View) -> Batch:
    """A batch with its images, which are loaded if the batch has none."""
    if batch.query_image.shape[-1]:
        return batch
    support, query = (
        torch.stack([shown_image(dataset, view, i) for i in numbers.flatten().tolist()]).unflatten(0, numbers.shape)
        for numbers in (batch.support_id, batch.query_id)
    )
    return batch._replace(support_image=support, query_image=query)


def shown(source: Episodes, order: EpisodeOrder) -> tuple[list[int], int]:
    """Distinct image numbers of this process's episodes, ascending, and the number of their uses."""
    seen = [number for key in order for number in source.episode(key).images]
    return sorted(set(seen)), len(seen)


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
