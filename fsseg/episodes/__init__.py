"""Episodes of a data set as batches: draws, loading, transforms, and the data module."""

from fsseg.episodes.datamodule import EpisodeData
from fsseg.episodes.options import EpisodeOptions, ImageOptions, LoadingOptions

__all__ = ["EpisodeData", "EpisodeOptions", "ImageOptions", "LoadingOptions"]
