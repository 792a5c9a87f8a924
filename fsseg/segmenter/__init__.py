"""Segmentation of a user's own images, see `Segmenter`."""

from fsseg.segmenter.segmenter import Prediction, Segmenter

__all__ = ["Prediction", "Segmenter"]
