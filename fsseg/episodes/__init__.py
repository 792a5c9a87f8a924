"""From a data set to batches: draws, loading, transforms, and the data module."""

from fsseg.episodes.datamodule import EpisodeData

__all__ = ["EpisodeData"]
