"""Loads the tensors of episodes."""

import os
import signal
from collections.abc import Callable, Sequence
from multiprocessing.queues import Queue

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from fsseg.datasets.base import Dataset
from fsseg.episode import BACKGROUND, IGNORE, NO_WAY, Batch, Episode, Image, Mask
from fsseg.episodes.resizing import View
from fsseg.episodes.sampler import EpisodeOrder, Key
from fsseg.episodes.transforms import Augmentation
from fsseg.episodes.unreadable import Readable
from fsseg.episodes.weak_annotations import Annotator
from fsseg.machine_errors import check_temporary_folder

_MEAN_COLOUR = (124, 116, 104)  # ImageNet's mean: padding is about zero after the encoder's normalisation


class Episodes(TorchDataset[Batch]):
    """Loads episodes: decode, relabel, augment, resize.

    A view may leave images at their own sizes. Supports of different sizes are then padded right and bottom to the
    largest height and width, with the mean colour and label 255; several queries likewise. Padding is an approximation:
    it changes the features near the border. A single support or query is not padded.

    Args:
        dataset: opened data set.
        episode: gives the episode of a key.
        view: sizes of images and masks, and the meaning of void.
        augmentation: applied to each image of the episode separately.
        seed: seed of the augmentation, together with run, number and position within the episode.
        annotator: makes the annotation of supports; masks by default.
        pixels: load images; otherwise images have no channel (``0 H W``), for steps on cached features.
    """

    def __init__(
        self,
        dataset: Dataset,
        episode: Callable[[Key], Episode],
        view: View,
        augmentation: Augmentation,
        seed: int,
        annotator: Annotator | None = None,
        pixels: bool = True,
    ) -> None:
        self.dataset, self.episode, self.view, self.augmentation, self.seed = dataset, episode, view, augmentation, seed
        self.annotator, self.pixels = annotator or Annotator(dataset), pixels

    def __getitem__(self, key: Key) -> Batch:
        """One episode as a `Batch` without its first dimension."""
        episode = self.episode(key)
        seeds = np.random.SeedSequence([self.seed, key.run, key.number]).generate_state(len(episode.images)) >> 1
        # Way, if any, and role of each image.
        roles = [(n, "support") for n, shots in enumerate(episode.support) for _ in shots]
        roles += [(n, "query") for n in episode.query_way]
        pairs = [
            self._load(number, episode.classes, None if way == NO_WAY else way, role, int(seed))
            for number, (way, role), seed in zip(episode.images, roles, seeds, strict=True)
        ]
        variants = torch.tensor([self.augmentation.variant(int(seed)) for seed in seeds])
        way, shot = len(episode.support), len(episode.support[0])
        support, query = pairs[: way * shot], pairs[way * shot :]
        return Batch(
            support_image=stack([image for image, _ in support], _MEAN_COLOUR).unflatten(0, (way, shot)),
            support_mask=stack([mask for _, mask in support], IGNORE).unflatten(0, (way, shot)),
            query_image=stack([image for image, _ in query], _MEAN_COLOUR),
            query_mask=stack([mask for _, mask in query], IGNORE),
            query_size=torch.tensor([mask.shape for _, mask in query]),
            query_way=torch.tensor(episode.query_way),
            classes=torch.tensor(episode.classes),
            support_id=torch.tensor(episode.support),
            query_id=torch.tensor(episode.query),
            support_variant=variants[: way * shot].unflatten(0, (way, shot)),
            query_variant=variants[way * shot :],
            run=torch.tensor(key.run),
            number=torch.tensor(-1 if key.padding else key.number),
        )

    def _load(self, number: int, classes: Sequence[int], own: int | None, role: str, seed: int) -> tuple[Image, Mask]:
        mask = self._mask(number, classes, own)
        image = np.zeros((*mask.shape, 3), dtype=np.uint8)  # costs no time before an augmentation reads it
        if self.pixels:
            image = self.dataset.image(number)
            self.dataset.refuse_other_size(number, image, mask)
        mask = self._annotated(number, mask, classes, own, role, seed)
        image, mask = self.augmentation(image, mask, seed, number)
        image = self.view.image(image) if self.pixels else self.view.no_channel(image)
        return image, self.view.mask(mask) if role == "support" else self.view.true_mask(mask)

    def _mask(self, number: int, classes: Sequence[int], own: int | None) -> Mask:
        """The mask in episode labels, or with 1 for the view's foreground."""
        if not self.view.foreground:
            return self.dataset.episode_mask(number, classes, own)
        mask = self.dataset.episode_mask(number, self.view.foreground)
        return np.where(mask == IGNORE, mask, np.minimum(mask, 1))

    def _annotated(
        self, number: int, mask: Mask, classes: Sequence[int], own: int | None, role: str, seed: int
    ) -> Mask:
        """The mask, or the weak annotation of a support."""
        if number in self.dataset.weak:
            return mask
        shown = self.view.void(mask, role)
        if own is None or role == "query" or self.annotator.annotation == "mask":
            return shown
        annotated = self.annotator(number, shown, classes, own, seed)
        # Void inside a box belongs to the box; void outside keeps the view's label.
        return np.where((shown == IGNORE) & (annotated == BACKGROUND), np.uint8(IGNORE), annotated)


def collate(episodes: Sequence[Batch]) -> Batch:
    """Stack episodes to a batch; query masks are padded with 255 to the largest size."""
    size = [max(side) for side in zip(*(episode.query_mask.shape[1:] for episode in episodes), strict=True)]
    padded = [episode._replace(query_mask=_filled(episode.query_mask, (size[0], size[1]))) for episode in episodes]
    batch = Batch(*(torch.stack(tensors) for tensors in zip(*padded, strict=True)))
    # Shared memory is allocated here, where a full one raises an error; in the queue's thread the batch would be lost.
    return Batch(*(tensor.share_memory_() for tensor in batch)) if get_worker_info() else batch


def _filled(mask: Tensor, size: tuple[int, int]) -> Tensor:
    missing = (0, size[1] - mask.shape[-1], 0, size[0] - mask.shape[-2])
    return F.pad(mask, missing, value=IGNORE) if any(missing) else mask


def stack(pictures: Sequence[npt.NDArray[np.uint8]], fill: int | tuple[int, int, int]) -> Tensor:
    """Stack images to ``M 3 H W`` or masks to ``M H W``, padded right and bottom to the largest height and width."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    stack = np.empty((len(pictures), *pictures[0].shape[2:], height, width), dtype=np.uint8)
    if any(picture.shape[:2] != (height, width) for picture in pictures):
        stack[:] = np.asarray(fill, dtype=np.uint8).reshape(-1, 1, 1) if stack.ndim == 4 else fill
    for place, picture in zip(stack, pictures, strict=True):
        place[..., : picture.shape[0], : picture.shape[1]] = np.moveaxis(picture, 2, 0) if stack.ndim == 4 else picture
    return torch.from_numpy(stack)


def start_worker(worker: int) -> None:
    """Ignore signals, which the main process handles, and turn off OpenCV's thread pool in the worker."""
    for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU"):  # torch ends workers with SIGTERM
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    Queue._on_queue_feeder_error = staticmethod(_end_worker)  # type: ignore[attr-defined]
    try:
        import cv2
    except ImportError:
        return
    cv2.setNumThreads(0)


def _end_worker(error: BaseException, batch: object) -> None:
    """End a worker that cannot send a batch: Python would drop the batch, and the main process would wait forever."""
    os._exit(1)


def loader(
    source: Episodes, order: EpisodeOrder, batch_size: int, workers: int, skip: bool = False
) -> DataLoader[Batch]:
    """Batches of episodes.

    Args:
        source: loads an episode.
        order: keys of the episodes, in order.
        batch_size: episodes per batch.
        workers: worker processes; 0 loads in this process.
        skip: skip episodes with unreadable images.

    Raises:
        MachineError: workers cannot send batches to this process.
    """
    if workers:
        check_temporary_folder()
    return DataLoader(
        Readable(source, order, skip),
        batch_size=batch_size,
        sampler=order,  # type: ignore[arg-type]
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # the default would take numbers from dropout's generator
        worker_init_fn=start_worker if workers else None,
        collate_fn=collate,
    )
