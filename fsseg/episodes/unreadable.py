"""Episodes with an image or a mask that cannot be read: an error that names the file, or a skipped episode.

A loader must return a batch for every key, so another episode replaces a skipped one. The replacement depends on the
key alone: a resumed training, or one with another number of workers, takes the same episode.
"""

import torch
from torch.utils.data import Dataset as TorchDataset

from fsseg.episode import Batch
from fsseg.episodes.sampler import EpisodeOrder, Key
from fsseg.errors import FssegError, UnreadableError

LEAVE_OUT = "To leave out its episodes: `data.loading.unreadable_images` skip."
_TRIES = 100  # replacements before giving up: most files are then unreadable
_APART = 1 << 40  # distance between the numbers of a training episode and its replacements


class Readable(TorchDataset[Batch]):
    """Episodes of a source, without those that cannot be read.

    In training, another episode replaces a skipped one. Validation and test have a fixed list of episodes: there a
    replacement is loaded too, but is marked and not counted.

    Args:
        source: loads an episode.
        order: order of the keys; only a training's has ``first``.
        skip: skip episodes that cannot be read; otherwise they raise.
    """

    def __init__(self, source: TorchDataset[Batch], order: EpisodeOrder, skip: bool) -> None:
        self.source, self.skip = source, skip
        self.listed = order.episodes if order.first is None else None

    def __getitem__(self, key: Key) -> Batch:
        """One episode.

        Raises:
            UnreadableError: an image or a mask cannot be read; with ``skip``, also those of 99 replacements.
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
        raise UnreadableError(
            f"{wrong} {f'{_TRIES - 1} replacements cannot be read either.' if self.skip else LEAVE_OUT}"
        )

    def _instead(self, key: Key, attempt: int) -> Key:
        if self.listed:
            return key._replace(number=(key.number + attempt) % self.listed)
        return key._replace(number=key.number + attempt * _APART)

    def reason(self, key: Key) -> str:
        """The reason why an episode was skipped."""
        try:
            self.source[key]
        except FssegError as error:
            return str(error)
        return "it could be read a moment later."  # e.g. from a disk on a network


def skipped(batch: Batch) -> list[Key]:
    """Keys of the skipped episodes that the episodes of a batch replace."""
    found = []
    for run, number in zip(batch.run.tolist(), batch.number.tolist(), strict=True):
        if number < -1:
            found.append(Key(run, -2 - number))
        elif number >= _APART:
            found.append(Key(run, number % _APART))
    return found
