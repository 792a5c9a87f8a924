"""Episodes that show an image or a mask that cannot be read: refused by name, or skipped, and the batch says so.

A loader must give a batch for every key, so another episode takes a skipped one's place. Which one is a function of the
key alone, so that a resumed training, or one with other workers, takes the same.
"""

import torch
from torch.utils.data import Dataset as TorchDataset

from fsseg.episode import Batch
from fsseg.episodes.sampler import EpisodeOrder, Key
from fsseg.errors import FssegError, UnreadableError

LEAVE_OUT = "To leave out its episodes: --data.loading.unreadable_images skip."
_TRIES = 100
_APART = 1 << 40  # between the numbers of a training's episode and of those that may take its place


class Readable(TorchDataset[Batch]):
    """Episodes of a source, without those that cannot be loaded.

    In training, another episode takes the place of one that is skipped. Of validation and test episodes, whose number
    is what a result is of, nothing may take the place: what is loaded instead is marked so that it is not counted.

    Args:
        source: loads an episode.
        order: of the keys; with a first number of its own where it is a training's.
        skip: skip such episodes; otherwise they are refused.
    """

    def __init__(self, source: TorchDataset[Batch], order: EpisodeOrder, skip: bool) -> None:
        self.source, self.skip = source, skip
        self.listed = order.episodes if order.first is None else None

    def __getitem__(self, key: Key) -> Batch:
        """One episode.

        Raises:
            UnreadableError: it shows an image that cannot be read, or a hundred others do too.
        """
        for attempt in range(_TRIES if self.skip else 1):
            try:
                batch = self.source[self._instead(key, attempt)]
            except UnreadableError as error:
                wrong = error
                continue
            if attempt and self.listed and not key.padding:
                return batch._replace(number=torch.tensor(-2 - key.number))
            return batch
        raise UnreadableError(f"{wrong} {f'So do {_TRIES - 1} more episodes.' if self.skip else LEAVE_OUT}")

    def _instead(self, key: Key, attempt: int) -> Key:
        if self.listed:
            return key._replace(number=(key.number + attempt) % self.listed)
        return key._replace(number=key.number + attempt * _APART)

    def reason(self, key: Key) -> str:
        """Why an episode was skipped."""
        try:
            self.source[key]
        except FssegError as error:
            return str(error)
        return "it could be read a moment later."  # e.g. from a disk on a network


def skipped(batch: Batch) -> list[Key]:
    """Keys of the episodes that others in a batch took the place of."""
    found = []
    for run, number in zip(batch.run.tolist(), batch.number.tolist(), strict=True):
        if number < -1:
            found.append(Key(run, -2 - number))
        elif number >= _APART:
            found.append(Key(run, number % _APART))
    return found
