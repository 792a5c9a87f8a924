"""Segmentation of a user's own images, see `Segmenter`."""

from fsseg.segmenter.prediction import Prediction
from fsseg.segmenter.segmenter import Segmenter

__all__ = ["Prediction", "Segmenter"]
